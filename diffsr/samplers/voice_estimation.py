"""The M-step of a talker's voice."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from diffsr.diffusion import ToldPrior
from diffsr.likelihoods.base import mean_over_restarts
from diffsr.samplers.problem import Problem
from diffsr.samplers.telling import can_be_told
from diffsr.speakers import SpeakerEncoder
from diffsr.typing import Sources


class UpdateVoice:
    """Hears the voice in the estimate of each talker, and tells the prior of it from the next level on.

    A prior that knows the voice takes less of the noise for speech (docs/enhancement_trials.md). It costs no
    call, and little time. Restarts of one talker share a voice, heard in the mean of their estimates. For one
    talker: of several, a voice that is heard in a track holds on to what is wrong there, and `TellVoices`
    tells what other restarts have found.

    Nobody is told where the prior takes no talkers of this encoder, and of recordings below 0.5 s.

    Args:
        encoder: What `SpeakerEncoder.from_pretrained` takes; the prior must have been trained with it.

    Raises:
        CheckpointError: The encoder cannot be loaded.
    """

    def __init__(self, encoder: str | Path = "speaker-16k") -> None:
        self.encoder = SpeakerEncoder.from_pretrained(encoder)

    def update(self, x0: Sources, sigma: Tensor, problem: Problem) -> None:
        """See class."""
        prior = problem.prior
        if can_be_told(prior, self.encoder, x0.shape[-1]):
            models = problem.model_of_row
            mean = mean_over_restarts(x0, models)
            voices = self.encoder.to(x0.device)(mean.flatten(0, 1)).unflatten(0, mean.shape[:2])
            problem.told = ToldPrior(prior, voices[models])
