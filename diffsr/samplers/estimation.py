"""M-steps: parameters of the observation model, updated on the current estimate."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from diffsr.samplers.problem import Problem
from diffsr.typing import Sources


class Estimator(Protocol):
    """One update of parameters at each noise level."""

    def update(self, x0: Sources, sigma: Tensor, problem: Problem) -> None:
        """`x0 [rows, S, T]`: the prior's estimate, before guidance; `sigma [rows]`."""
        ...


class UpdateNoise:
    """Refits the noise model to what the estimate does not explain.

    Args:
        sigma_start: Above this level the noise model stays as it started: the estimate is still vague there,
            and the noise model would take over the speech that it lacks.
        sigma_freeze: Below this level the noise model stays as it is.
        n_updates: Updates at each level.
    """

    def __init__(self, sigma_start: float = 0.05, sigma_freeze: float = 0.005, n_updates: int = 1) -> None:
        self.sigma_start, self.sigma_freeze, self.n_updates = sigma_start, sigma_freeze, n_updates

    def update(self, x0: Sources, sigma: Tensor, problem: Problem) -> None:
        """See class."""
        if not self.sigma_freeze <= float(sigma.max()) <= self.sigma_start:
            return
        extra = problem.observed_variance(x0, sigma)
        residual = problem.residual(x0)
        for _ in range(self.n_updates):
            problem.likelihood.update(residual, extra)
