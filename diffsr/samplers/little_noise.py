"""Recordings that turn out to have little noise."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from torch import Tensor

from diffsr.likelihoods import Likelihood
from diffsr.samplers.annealed import AnnealedSampler
from diffsr.samplers.estimation import Estimator
from diffsr.signal.levels import active_rms, db, rms


class LittleNoise:
    """Another noise model with M-steps of its own, for recordings that turn out to have little noise.

    What finds clicks and dense noise in a noisy recording takes bursts of speech for them in one that is
    nearly clean, and no look at the recording tells the two apart (docs/enhancement_trials.md). What has been
    removed does: where its level is far below that of the speech all is done again, with what is given here.

    Args:
        likelihood: Noise model, with the STFT of the one that it replaces. What it does not describe is
            reported as the first restoration found it.
        estimators: M-steps in place of those of the sampler.
        snr_db: From which signal-to-noise ratio on, active speech over all that was removed.
    """

    def __init__(self, likelihood: Likelihood, estimators: Sequence[Estimator], snr_db: float = 14.0) -> None:
        self.likelihood, self.estimators, self.snr_db = likelihood, list(estimators), snr_db

    def is_found(self, y: Tensor, x: Tensor, rate_hz: int) -> Tensor:
        """Whether the restorations `x [..., T]` of the recordings `y [..., T]` say so, `[...]`."""
        return db(active_rms(x, rate_hz)) - db(rms(y - x)) >= self.snr_db

    def sampler(self, sampler: AnnealedSampler) -> AnnealedSampler:
        """A copy with the M-steps for little noise."""
        twin = copy.copy(sampler)
        twin.estimators = self.estimators
        return twin
