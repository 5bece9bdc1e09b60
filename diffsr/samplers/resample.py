"""A level taken several times: forget, and step again."""

from __future__ import annotations

from torch import Tensor

from diffsr.errors import ConfigError
from diffsr.samplers.problem import Problem
from diffsr.samplers.solvers import Euler, PosteriorMean, Solver
from diffsr.typing import Sources


class Resample:
    """Another solver n times at each level, the state noised back to the level in between.

    `z <- step(z)`, then `z + sqrt(sigma^2 - sigma_next^2) e` and again (RePaint, arXiv 2201.09865, Alg. 1;
    corrector of MSDM, arXiv 2302.02257). What a step decided wrongly can still change; each repetition is one
    call of the prior more.

    Args:
        solver: What makes a step; None is `Euler`.
        n: Steps at each level; 2 is published.

    Raises:
        ConfigError: n is below 1.
    """

    def __init__(self, solver: Solver | None = None, n: int = 2) -> None:
        if n < 1:
            raise ConfigError(f"Resample has n = {n}; expected 1 or more steps at each level.")
        self.solver, self.n = solver or Euler(), n

    def step(
        self,
        z: Sources,
        x0: Sources,
        sigma: Tensor,
        sigma_next: Tensor,
        posterior: PosteriorMean,
        problem: Problem,
    ) -> Sources:
        """See class."""
        deviation = (sigma.square() - sigma_next.square()).sqrt()[:, None, None]
        z = self.solver.step(z, x0, sigma, sigma_next, posterior, problem)
        for _ in range(self.n - 1):
            z = z + deviation * problem.noise.normal_like(z)
            z = self.solver.step(z, posterior(z, sigma), sigma, sigma_next, posterior, problem)
        return z
