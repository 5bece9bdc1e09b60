"""Moves from one noise level to the next."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from diffsr.errors import ConfigError
from diffsr.samplers.innovation import Innovation
from diffsr.samplers.problem import Problem
from diffsr.typing import Sources

PosteriorMean: TypeAlias = Callable[[Sources, Tensor], Sources]
"""`(z [rows, S, T], sigma [rows]) -> [rows, S, T]`: prior and guidance together; every call is counted."""


class Solver(Protocol):
    """One move of the state."""

    def step(
        self,
        z: Sources,
        x0: Sources,
        sigma: Tensor,
        sigma_next: Tensor,
        posterior: PosteriorMean,
        problem: Problem,
    ) -> Sources:
        """`z, x0 [rows, S, T]`, `sigma, sigma_next [rows]` -> state at sigma_next."""
        ...


class Euler:
    """First-order step of the probability-flow ODE (EDM, arXiv 2206.00364, Alg. 1)."""

    def step(
        self,
        z: Sources,
        x0: Sources,
        sigma: Tensor,
        sigma_next: Tensor,
        posterior: PosteriorMean,
        problem: Problem,
    ) -> Sources:
        """`x0 + sigma_next / sigma (z - x0)`."""
        return x0 + (sigma_next / sigma)[:, None, None] * (z - x0)


class Heun:
    """Second-order step of the probability-flow ODE: the mean slope of both ends (EDM, Alg. 1, lines 4 to 8).

    Two calls of the prior a level, one at the last: 30 levels cost as much as 59 of `Euler`.
    """

    def step(
        self,
        z: Sources,
        x0: Sources,
        sigma: Tensor,
        sigma_next: Tensor,
        posterior: PosteriorMean,
        problem: Problem,
    ) -> Sources:
        """See class. The last move, to sigma 0, is Euler's."""
        if is_last(sigma_next):
            return x0
        start, end = sigma[:, None, None], sigma_next[:, None, None]
        slope = (z - x0) / start
        euler = z + (end - start) * slope
        slope_at_end = (euler - posterior(euler, sigma_next)) / end
        return z + (end - start) * (slope + slope_at_end) / 2


class Renoise:
    """Forget the state: noise the estimate to the next level.

    Args:
        sampled: Draw the clean signal from its posterior `N(x0', R - R A' (V + A R A')^-1 A R)` first (DAPS,
            arXiv 2407.01521), which keeps the spread of the posterior right for Gaussian priors; without,
            the mean is noised (DiffPIR, arXiv 2305.08995), which makes it too narrow.
        share: Noise as a multiple of what the prior is told. Above 1 makes up for some of what the mean is
            too narrow by.
        kept: Correlation of the noise with what the state has now, `z - x0` (DiffPIR, Alg. 1, with the root
            of 1 - zeta for it), from -1 to 1. Where some samples are known, the noise on them misleads the
            estimate of the others; the opposite noise at the next level takes that back.

    Raises:
        ConfigError: A share that is not above 0, or a correlation beyond -1 and 1.
    """

    def __init__(self, sampled: bool = True, share: float = 1.0, kept: float = 0.0) -> None:
        if not share > 0:
            raise ConfigError(f"Renoise has share = {share:g}; expected a multiple of the noise above 0.")
        self.sampled, self.share, self.kept = sampled, share, checked_correlation(kept)

    def step(
        self,
        z: Sources,
        x0: Sources,
        sigma: Tensor,
        sigma_next: Tensor,
        posterior: PosteriorMean,
        problem: Problem,
    ) -> Sources:
        """See class. The last move, to sigma 0, returns the mean."""
        if is_last(sigma_next):
            return x0
        old = z - x0
        if self.sampled:
            x0 = x0 + Innovation(problem, x0, problem.source_variance(x0, sigma)).draw()
        level = self.share * sigma_next[:, None, None]
        return x0 + level * correlated(problem.noise.normal_like(x0), old, self.kept)


def checked_correlation(kept: float) -> float:
    """It, if it is one.

    Raises:
        ConfigError: It is beyond -1 and 1.
    """
    if not -1 <= kept <= 1:
        raise ConfigError(
            f"kept is {kept:g}; expected a correlation of the noise with that of the state, from -1 (the "
            "opposite) to 1 (the same)."
        )
    return kept


def correlated(fresh: Tensor, old: Tensor, kept: float) -> Tensor:
    """White noise `fresh [rows, S, T]` with a correlation of `kept` with the noise `old`, of any level."""
    if kept == 0:
        return fresh
    rms = old.square().mean((1, 2), keepdim=True).sqrt().clamp_min(torch.finfo(old.dtype).tiny)
    return kept * old / rms + math.sqrt(1 - kept**2) * fresh


def is_last(sigma_next: Tensor) -> bool:
    """Whether a move goes to sigma 0; all rows are at the same place in the schedule."""
    return not bool((sigma_next > 0).any())
