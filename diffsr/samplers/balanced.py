"""Noise that cancels in the sum of the talkers: how talkers in one channel are searched for."""

from __future__ import annotations

import math

from torch import Tensor

from diffsr.errors import ConfigError
from diffsr.samplers.problem import Problem
from diffsr.samplers.solvers import PosteriorMean, checked_correlation, correlated, is_last
from diffsr.typing import Sources


class BalancedRenoise:
    """Noise the estimates to the next level, with noise that cancels in the sum of the talkers.

    As `Renoise` without draws, but the states sum to what the estimates sum to, and each holds the noise
    `sigma_next` times a share. What one talker has of the noise, the others have with the opposite sign, so
    that the prior's errors differ and their estimates inform each other. With `Projection` this is close to
    the exact posterior of two Gaussians. A share below 1 is less noise than the prior is told, a colder
    search that changes its mind about less and whose restarts spread less: no draw from the posterior, but
    better splits. With fresh noise, warm at large noise and cold at small noise separates best; with
    partly opposite noise, all of it at small noise (docs/separation_trials.md).

    The share follows the logarithm of the noise level between the two given, and is constant beyond.

    Args:
        share_high: Share of the noise at `sigma_high` and above.
        share_low: Share at `sigma_low` and below.
        sigma_high: Noise level where the share begins to change.
        sigma_low: Noise level where it has changed.
        kept: Correlation of the noise with what the states have now, from -1 (the opposite) to 1. Opposite
            noise at the next level takes back what the noise of this one has misled the estimates by.

    Raises:
        ConfigError: A share is not above 0, the levels are not `0 < sigma_low < sigma_high`, or a
            correlation is beyond -1 and 1.
    """

    def __init__(
        self,
        share_high: float = 0.86,
        share_low: float = 0.7,
        sigma_high: float = 0.5,
        sigma_low: float = 0.05,
        kept: float = 0.0,
    ) -> None:
        if not (share_high > 0 and share_low > 0 and 0 < sigma_low < sigma_high):
            raise ConfigError(
                f"BalancedRenoise has shares of {share_high:g} and {share_low:g} of the noise between "
                f"sigma_high = {sigma_high:g} and sigma_low = {sigma_low:g}; expected shares above 0, and "
                "0 < sigma_low < sigma_high."
            )
        self.kept = checked_correlation(kept)
        self.share_high, self.share_low = share_high, share_low
        self.sigma_high, self.sigma_low = sigma_high, sigma_low

    def step(
        self,
        z: Sources,
        x0: Sources,
        sigma: Tensor,
        sigma_next: Tensor,
        posterior: PosteriorMean,
        problem: Problem,
    ) -> Sources:
        """See class. The last move, to sigma 0, returns the estimates."""
        if is_last(sigma_next):
            return x0
        level = sigma_next * self.share(sigma_next)
        noise = correlated(balanced(problem.noise.normal_like(x0)), balanced(z - x0), self.kept)
        return x0 + level[:, None, None] * noise

    def share(self, sigma: Tensor) -> Tensor:
        """Share of the noise at a level, any shape."""
        place = (sigma / self.sigma_low).log() / math.log(self.sigma_high / self.sigma_low)
        return self.share_low + (self.share_high - self.share_low) * place.clamp(0, 1)


def balanced(white: Sources) -> Sources:
    """Noise of unit variance that is 0 in the sum of the talkers, out of white noise `[rows, S, T]`.

    Of one talker nothing would be left: its noise stays as it is.
    """
    n_talkers = white.shape[1]
    if n_talkers == 1:
        return white
    return (white - white.mean(1, keepdim=True)) * math.sqrt(n_talkers / (n_talkers - 1))
