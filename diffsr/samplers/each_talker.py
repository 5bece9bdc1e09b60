"""Talkers that were told apart, each restored once more by itself."""

from __future__ import annotations

from diffsr.degradations import Degradation, Mixing
from diffsr.errors import ConfigError
from diffsr.likelihoods import Likelihood
from diffsr.samplers.annealed import AnnealedSampler
from diffsr.samplers.initialise import speech_level
from diffsr.samplers.joining import Joiner
from diffsr.typing import Sources


class EachTalker:
    """How a talker is restored once he has a track of his own: as a recording of one talker.

    A search among several talkers has to keep them apart, and leaves what it cannot tell: late reverberation
    of both, noise, and what the other talker leaks. To a model of one talker all of that is noise and room,
    of which it knows more than the search could use: it can start at little noise, near the track, find out
    whose voice it is, and fit a response of the room to it (docs/separation.md).

    Args:
        sampler: The loop for one talker.
        likelihood: Its noise model.
        degradation: From the talker to the track; None is nothing but noise.
        n_samples: Posterior samples of each track.
        joiner: Makes the result of them; None takes their mean.

    Raises:
        ConfigError: Less than one sample.
    """

    def __init__(
        self,
        sampler: AnnealedSampler,
        likelihood: Likelihood,
        degradation: Degradation | None = None,
        n_samples: int = 1,
        joiner: Joiner | None = None,
    ) -> None:
        if n_samples < 1:
            raise ConfigError(f"EachTalker has n_samples = {n_samples}; expected 1 or more.")
        self.sampler, self.likelihood = sampler, likelihood
        self.degradation = degradation or Mixing()
        self.n_samples, self.joiner = n_samples, joiner

    def levels(self, tracks: Sources, rate_hz: int) -> Sources:
        """Of the speech in tracks `[S, T]` as the loop takes it, `[S]`; 0 of silent ones."""
        return speech_level(self.sampler.initialiser.reference(tracks, rate_hz), rate_hz)
