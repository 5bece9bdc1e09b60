"""Recordings that turn out to have little noise."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from torch import Tensor

from diffsr.errors import ConfigError
from diffsr.likelihoods import Likelihood
from diffsr.samplers.annealed import AnnealedSampler
from diffsr.samplers.estimation import Estimator
from diffsr.signal.levels import active_rms, db, rms


class LittleNoise:
    """Another noise model with M-steps of its own, for recordings that turn out to have little noise.

    What finds clicks and dense noise in a noisy recording takes bursts of speech for them in one that is
    nearly clean, and no look at the recording tells the two apart (docs/results.md). What has been removed
    does: where its level is far below that of the speech all is done again, with what is given here. Where it
    is not that far below, either may be right, and the result is the mean of both.

    Args:
        likelihood: Noise model, with the STFT of the one that it replaces. What it does not describe is
            reported as the first restoration found it.
        estimators: M-steps in place of those of the sampler.
        snr_db: From which signal-to-noise ratio on, active speech over all that was removed.
        alone_db: From which ratio on what is done again is the result by itself.

    Raises:
        ConfigError: `alone_db` is below `snr_db`.
    """

    def __init__(
        self,
        likelihood: Likelihood,
        estimators: Sequence[Estimator],
        snr_db: float = 11.0,
        alone_db: float = 16.0,
    ) -> None:
        if alone_db < snr_db:
            raise ConfigError(
                f"LittleNoise has alone_db {alone_db:g} and snr_db {snr_db:g}; expected alone_db at least as "
                "high. Raise it."
            )
        self.likelihood, self.estimators = likelihood, list(estimators)
        self.snr_db, self.alone_db = snr_db, alone_db

    def share(self, y: Tensor, x: Tensor, rate_hz: int) -> Tensor:
        """How much a second restoration counts, 0 for none, given the first `x [..., T]` of `y [..., T]`."""
        snr_db = db(active_rms(x, rate_hz)) - db(rms(y - x))
        return 0.5 * (snr_db >= self.snr_db) + 0.5 * (snr_db >= self.alone_db)

    def sampler(self, sampler: AnnealedSampler) -> AnnealedSampler:
        """A copy with the M-steps for little noise."""
        twin = copy.copy(sampler)
        twin.estimators = self.estimators
        return twin
