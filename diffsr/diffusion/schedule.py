"""Noise levels: the descending ones of sampling and the random ones of training."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from diffsr.errors import ConfigError


def rho_schedule(sigma_max: float, sigma_min: float, n_steps: int, rho: float = 7.0) -> Tensor:
    """`n_steps + 1` levels from sigma_max down to sigma_min, and then 0 (EDM, arXiv 2206.00364, Eq. 5).

    The last of the `n_steps` moves goes to 0, so a run of `n_steps` moves calls the network
    `n_steps` times with a first-order solver.
    """
    if not 0 < sigma_min < sigma_max < math.inf or n_steps < 1 or not 0 < rho < math.inf:
        raise ValueError(
            f"sigma_min={sigma_min}, sigma_max={sigma_max}, n_steps={n_steps}, rho={rho}; "
            "expected 0 < sigma_min < sigma_max, at least one step, and rho above 0."
        )
    ramp = torch.linspace(0, 1, n_steps, dtype=torch.float64)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    sigmas = (high + ramp * (low - high)) ** rho
    return torch.cat([sigmas, sigmas.new_zeros(1)]).float()


class NoiseLevels(Protocol):
    """Where training noise levels come from."""

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw `n` noise levels, `[n]`."""
        ...


def _check_levels(sigma_min: float, sigma_max: float, **above_zero: float) -> None:
    """Refuse levels that cannot be drawn."""
    if not 0 < sigma_min < sigma_max < math.inf:
        raise ConfigError(
            f"levels: sigma_min is {sigma_min:g} and sigma_max {sigma_max:g}; expected two numbers above 0, "
            "the first below the second."
        )
    for name, value in above_zero.items():
        if not 0 < value < math.inf:
            raise ConfigError(f"levels: {name} is {value:g}, expected a number above 0.")


class LogNormalLevels:
    """`ln sigma ~ N(ln(median), spread)`, truncated to `[sigma_min, sigma_max]`.

    Args:
        median: Noise level at which most is learned; about the RMS of speech.
        spread: Standard deviation of `ln sigma`.
        sigma_min: Smallest level.
        sigma_max: Largest level.

    Raises:
        ConfigError: An argument is out of range.
    """

    def __init__(
        self, median: float = 0.05, spread: float = 1.6, sigma_min: float = 1e-4, sigma_max: float = 10.0
    ) -> None:
        _check_levels(sigma_min, sigma_max, median=median, spread=spread)
        self.median, self.spread = median, spread
        self.sigma_min, self.sigma_max = sigma_min, sigma_max

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw by the inverse distribution function of the truncated normal."""
        low, high = (
            0.5 * math.erfc(math.log(self.median / s) / self.spread / math.sqrt(2))
            for s in (self.sigma_min, self.sigma_max)
        )
        u = low + (high - low) * torch.rand(n, generator=rng, device=rng.device, dtype=torch.float32)
        levels = (math.log(self.median) + self.spread * torch.special.ndtri(u)).exp()
        return levels.clamp(self.sigma_min, self.sigma_max)  # far from the median u is rounded to 0 or 1


class RhoUniformLevels:
    """Training levels with the density of the sampling schedule (BUDDy, arXiv 2405.04272).

    Args:
        sigma_min: Smallest level.
        sigma_max: Largest level.
        rho: Curvature of the schedule.

    Raises:
        ConfigError: An argument is out of range.
    """

    def __init__(self, sigma_min: float = 1e-4, sigma_max: float = 10.0, rho: float = 10.0) -> None:
        _check_levels(sigma_min, sigma_max, rho=rho)
        self.sigma_min, self.sigma_max, self.rho = sigma_min, sigma_max, rho

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw uniformly in `sigma ** (1 / rho)`."""
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        u = torch.rand(n, generator=rng, device=rng.device)
        return (high + u * (low - high)) ** self.rho
