"""Moves from one noise level to the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from torch import Tensor

from diffsr.samplers.problem import Problem
from diffsr.typing import Sources

PosteriorMean: TypeAlias = Callable[[Sources, Tensor], Sources]
"""`(z [rows, S, T], sigma [rows]) -> [rows, S, T]`: prior and guidance together."""


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


class Renoise:
    """Forget the state: noise the estimate afresh to the next level.

    Args:
        sampled: Draw the clean signal from its posterior `N(x0', r^2 v / (r^2 + v))` first (DAPS,
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
        if not bool((sigma_next > 0).any()):
            return x0
        if self.sampled:
            x0 = x0 + self._posterior_noise(x0, sigma, problem)
        return x0 + sigma_next[:, None, None] * problem.noise.normal_like(x0)

    def _posterior_noise(self, x0: Tensor, sigma: Tensor, problem: Problem) -> Tensor:
        stft = problem.likelihood.stft
        r2, v = problem.source_variance(x0, sigma), problem.likelihood.variance[:, None]
        white = stft(problem.noise.normal_like(x0))
        shaped = white * (r2 * v / (r2 + v) / stft.window_energy).sqrt()
        return stft.inverse(shaped, x0.shape[-1])
