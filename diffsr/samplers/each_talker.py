"""Talkers that were told apart, each restored once more by itself."""

from __future__ import annotations

import copy

from diffsr.degradations import Degradation, Mixing
from diffsr.errors import ConfigError
from diffsr.likelihoods import Likelihood
from diffsr.samplers.annealed import AnnealedSampler
from diffsr.samplers.early_reflections import EarlyReflections, Prepared, prepared
from diffsr.samplers.joining import Joiner
from diffsr.typing import Sources


class EachTalker:
    """How a talker is restored once he has a track of his own: as a recording of one talker.

    A search among several talkers has to keep them apart, and leaves what it cannot tell: late reverberation
    of both, noise, and what the other talker leaks. To a model of one talker all of that is noise and room,
    of which it knows more than the search could use: it can start at little noise, near the track, find out
    whose voice it is, and fit a response of the room to it (docs/joint.md).

    Restarts that were joined can be restored as well, before they are joined once more. What that gives is a
    second opinion, for a restart says what the mean of all does not, and it is wrong elsewhere: the result
    is the mean of both.

    Args:
        sampler: The loop for one talker.
        likelihood: Its noise model.
        degradation: From the talker to the track; None is nothing but noise.
        n_samples: Posterior samples of each track.
        joiner: Makes the result of them; None takes their mean.
        n_restart_samples: Posterior samples of each track of each restart, where restarts are joined; 0 asks
            for no second opinion.
        early_reflections: How those of the talker's room are taken away; None leaves them.

    Raises:
        ConfigError: Less than one sample of a track, or less than none of those of restarts.
    """

    def __init__(
        self,
        sampler: AnnealedSampler,
        likelihood: Likelihood,
        degradation: Degradation | None = None,
        n_samples: int = 1,
        joiner: Joiner | None = None,
        n_restart_samples: int = 0,
        early_reflections: EarlyReflections | None = None,
    ) -> None:
        for name, number, least in (("n_samples", n_samples, 1), ("n_restart_samples", n_restart_samples, 0)):
            if number < least:
                raise ConfigError(f"EachTalker has {name} = {number}; expected {least} or more.")
        self.sampler, self.likelihood = sampler, likelihood
        self.degradation = degradation or Mixing()
        self.n_samples, self.joiner, self.n_restart_samples = n_samples, joiner, n_restart_samples
        self.early_reflections = early_reflections

    def of_restarts(self) -> EachTalker:
        """How tracks of restarts are restored, for a second opinion."""
        twin = copy.copy(self)
        twin.n_samples, twin.n_restart_samples = self.n_restart_samples, 0
        return twin

    def prepared(self, tracks: Sources, rate_hz: int) -> Prepared:
        """Tracks `[S, T]` as the loop takes them, but for their scale."""
        return prepared(tracks, rate_hz, self.sampler.initialiser, self.early_reflections)
