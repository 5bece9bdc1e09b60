"""Talkers as parameters: the prior is adapted to each of them."""

from __future__ import annotations

import torch

from diffsr.diffusion import AdaptedPrior, Lesson, WindowedPrior, adapted
from diffsr.diffusion.prior import Prior
from diffsr.errors import ConfigError
from diffsr.samplers.annealed import OnStep
from diffsr.samplers.telling import Telling
from diffsr.typing import Denoiser, Sources

SHORTEST_S = 0.5
"""Of what there is something to be learnt from."""


class LearnVoices(Telling):
    """M-step on the talkers: the prior is adapted to the voices that the first restarts have found.

    The first half of the restarts has the prior as it is. Then an adaptation to each talker is learnt from
    what they give together (`diffsr.diffusion.adapted`), and the other half has that (`AdaptedPrior`). An
    embedding tells the prior less of a voice, and needs a second call to be exaggerated
    (docs/separation_trials.md).

    Args:
        sigma_low: Noise level below which the prior is as it was.
        n_steps: Steps of the learning.
        n_crops: Crops of each talker in a step.
        crop_s: Their length.
        learning_rate: The largest.

    Raises:
        ConfigError: No step, no crop, or a rate or a level that is not above 0.
    """

    def __init__(
        self,
        sigma_low: float = 0.05,
        n_steps: int = 24,
        n_crops: int = 2,
        crop_s: float = 2.5,
        learning_rate: float = 2e-2,
    ) -> None:
        if not (n_steps >= 1 and n_crops >= 1 and crop_s > 0 and learning_rate > 0 and sigma_low > 0):
            raise ConfigError(
                f"LearnVoices has {n_steps} steps of {n_crops} crops of {crop_s:g} s, a learning rate of "
                f"{learning_rate:g} and sigma_low = {sigma_low:g}; expected at least 1 step and crop, and "
                "numbers above 0."
            )
        self.lesson = Lesson(n_steps, n_crops, crop_s, learning_rate)
        self.sigma_low, self.n_calls = sigma_low, n_steps * n_crops

    def takes(self, prior: Denoiser, n_samples: int) -> bool:
        """See `Telling`."""
        if not isinstance(prior, WindowedPrior) or prior.adaptation_shape is None:
            return False
        return n_samples >= SHORTEST_S * prior.rate_hz

    def told(
        self, prior: WindowedPrior, tracks: Sources, n_restarts: int, on_step: OnStep | None = None
    ) -> AdaptedPrior:
        """See `Telling`; each recording is learnt by itself, with the same random numbers."""
        assert isinstance(prior.prior, Prior)  # as it `takes` that
        known = []
        for number, heard in enumerate(torch.where(tracks.isfinite(), tracks, 0.0)):
            known.append(adapted(prior.prior, heard, self.lesson))
            if on_step is not None:
                on_step(number + 1, len(tracks))
        return AdaptedPrior(prior, torch.stack(known).repeat_interleave(n_restarts, 0), self.sigma_low)
