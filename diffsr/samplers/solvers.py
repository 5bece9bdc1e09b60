"""Moves from one noise level to the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from torch import Tensor

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
    """Forget the state: noise the estimate afresh to the next level.

    Args:
        sampled: Draw the clean signal from its posterior `N(x0', R - R A' (V + A R A')^-1 A R)` first (DAPS,
            arXiv 2407.01521), which keeps the spread of the posterior right for Gaussian priors; without,
            the mean is noised (DiffPIR, arXiv 2305.08995), which makes it too narrow.
    """

    def __init__(self, sampled: bool = True) -> None:
        self.sampled = sampled

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
        if self.sampled:
            x0 = x0 + Innovation(problem, x0, problem.source_variance(x0, sigma)).draw()
        return x0 + sigma_next[:, None, None] * problem.noise.normal_like(x0)


def is_last(sigma_next: Tensor) -> bool:
    """Whether a move goes to sigma 0; all rows are at the same place in the schedule."""
    return not bool((sigma_next > 0).any())
