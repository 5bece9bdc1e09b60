"""The loop: from noise to a sample of the posterior."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffsr.diffusion.schedule import rho_schedule
from diffsr.errors import ConfigError
from diffsr.samplers.constraint import Constraint
from diffsr.samplers.divergence import FiniteRows, refuse_diverged
from diffsr.samplers.estimation import Estimator, UpdateNoise
from diffsr.samplers.exchange import Exchange, exchange
from diffsr.samplers.guidance import Guidance, Proximal
from diffsr.samplers.initialise import FromObservation, Initialiser
from diffsr.samplers.problem import Problem
from diffsr.samplers.solvers import Euler, Solver
from diffsr.typing import Sources

OnStep = Callable[[int, int], None]


@dataclass(frozen=True)
class Samples:
    """What a sampler returns.

    Attributes:
        x: Sources `[rows, S, T]`.
        n_calls: Calls of the prior for each row.
    """

    x: Sources
    n_calls: int


class Posterior:
    """Prior and guidance together, as solvers see them: `E[x | z, y]` at a noise level. Counts its calls.

    Args:
        guidance: How the observation enters.
        problem: What is to be explained.
        constraint: What states fulfil before the prior sees them; None is nothing.

    Attributes:
        seen: The prior's last estimate, before guidance; empty before the first call.
    """

    def __init__(self, guidance: Guidance, problem: Problem, constraint: Constraint | None = None) -> None:
        self.guidance, self.problem, self.constraint = guidance, problem, constraint
        self.n_calls = 0
        self.seen = problem.y.new_empty(0)

    def __call__(self, z: Sources, sigma: Tensor, estimators: Sequence[Estimator] = ()) -> Sources:
        """`z [rows, S, T]`, `sigma [rows]` -> corrected estimate `[rows, S, T]`, without gradient.

        M-steps, where given, see the prior's estimate before guidance corrects it.
        """
        self.n_calls += 1
        z = self.constrain(z)
        with torch.set_grad_enabled(self.guidance.needs_gradient):
            z = z.detach().requires_grad_(self.guidance.needs_gradient)
            x0 = self.problem.denoise(z, sigma[:, None].expand(z.shape[:2]))
            self.seen = x0.detach()
            for estimator in estimators:
                estimator.update(self.seen, sigma, self.problem)
            return self.guidance.correct(z, x0, sigma, self.problem).detach()

    def constrain(self, z: Sources) -> Sources:
        """The state that fulfils the constraint, `[rows, S, T]`."""
        return z if self.constraint is None else self.constraint.apply(z, self.problem)


def with_last(sigmas: Tensor, last: Sequence[float]) -> Tensor:
    """A schedule that ends in 0, with further levels before that.

    Raises:
        ConfigError: They do not fall towards 0 from the last level that there is.
    """
    levels = [float(sigmas[-2]), *last, 0.0]
    if any(not later < earlier for earlier, later in zip(levels, levels[1:], strict=False)):
        raise ConfigError(
            f"last_sigmas is {list(last)}; expected levels that fall, below sigma_min = {levels[0]:g} and "
            "above 0."
        )
    return torch.cat([sigmas[:-2], sigmas.new_tensor(levels)])


def churn_of(n_steps: int) -> float:
    """Fresh noise at each of so many levels, of which one then forgets the same share of the state."""
    return max(n_steps / 10 - 1, 0.0)


class AnnealedSampler:
    """Posterior sampling by descending noise levels.

    At each level the prior denoises the state, the parameters of the observation model are updated on that
    estimate, guidance pulls it towards the observation, and the solver moves on.

    Args:
        guidance: How the observation enters.
        solver: How the state moves.
        estimators: M-steps, in order; None means the noise update alone.
        n_steps: Noise levels, and calls of the prior.
        sigma_max: First noise level.
        sigma_min: Last noise level before 0.
        rho: Curvature of the schedule; larger means more steps at small noise.
        churn: Fresh noise before each step, in units of the step: the level is raised by the factor
            `(sigma / sigma_next) ** churn`, so that its total does not depend on the number of steps; 0 is
            the ODE. None is as much as `n_steps` levels take for one of them to forget the same share of the
            state, however many there are (`churn_of`).
        churn_above: Noise level from which on there is fresh noise; below, where it would forget what is
            quiet, the ODE goes on (S_tmin of EDM, arXiv 2206.00364, Alg. 2).
        initialiser: What the state starts from, plus noise of the first level; None is the observation.
        constraint: What every state and the result fulfil; None is nothing.
        exchange: Which pieces of the tracks change places, of talkers that the observation does not tell
            apart; None is none.
        last_sigmas: Further levels below sigma_min, each one more call: a schedule that decides everything
            above it leaves what is quieter, such as hiss in pauses.

    Raises:
        ConfigError: A negative churn, or level of it, or last levels that do not fall from sigma_min.
    """

    def __init__(
        self,
        guidance: Guidance | None = None,
        solver: Solver | None = None,
        estimators: Sequence[Estimator] | None = None,
        n_steps: int = 60,
        sigma_max: float = 0.5,
        sigma_min: float = 1e-4,
        rho: float = 7.0,
        churn: float | None = 1.0,
        initialiser: Initialiser | None = None,
        constraint: Constraint | None = None,
        exchange: Exchange | None = None,
        last_sigmas: Sequence[float] = (),
        churn_above: float = 0.0,
    ) -> None:
        self.guidance = guidance or Proximal()
        self.solver = solver or Euler()
        self.estimators = [UpdateNoise()] if estimators is None else list(estimators)
        self.sigmas = with_last(rho_schedule(sigma_max, sigma_min, n_steps, rho), last_sigmas)
        if churn is None:
            churn = churn_of(n_steps)
        if not churn >= 0:
            raise ConfigError(f"churn is {churn:g}; expected 0 (the ODE) or more.")
        if not churn_above >= 0:
            raise ConfigError(
                f"churn_above is {churn_above:g}; expected a noise level, or 0 (fresh noise at all levels)."
            )
        self.churn, self.churn_above = churn, churn_above
        self.initialiser = initialiser or FromObservation()
        self.constraint, self.exchange = constraint, exchange

    @torch.no_grad()
    def start(self, problem: Problem) -> Sources:
        """The state at the first noise level, `[rows, S, T]`."""
        return self.initialiser(problem, float(self.sigmas[0]))

    @torch.no_grad()
    def sample(self, problem: Problem, z: Sources, on_step: OnStep | None = None) -> Samples:
        """Run the loop from the state `z [rows, S, T]` at the first noise level.

        Args:
            problem: What is to be explained.
            z: State at `sigmas[0]`, see `start`.
            on_step: Called with (finished, total) after each step.

        Raises:
            DivergedError: Rows are not finite any more; the message names the level where it happened.
        """
        posterior = Posterior(self.guidance, problem, self.constraint)
        problem.forget()
        n_steps = len(self.sigmas) - 1
        watch = FiniteRows(problem, z)
        for index in range(n_steps):
            sigma, sigma_next = (self.sigmas[index + k].to(z.device).expand(z.shape[0]) for k in (0, 1))
            if index + 1 < n_steps and float(self.sigmas[index]) >= self.churn_above:
                z, sigma = self._churn(z, sigma, sigma_next, problem)
            z = posterior.constrain(z)
            x0 = posterior(z, sigma, self.estimators)
            if self.exchange is not None:
                order = self.exchange.order(posterior.seen, self.sigmas[index].expand(len(z)), index, problem)
                z, x0 = exchange(z, order), exchange(x0, order)
            z = posterior.constrain(self.solver.step(z, x0, sigma, sigma_next, posterior, problem))
            goes_on = watch.look(x0, z)
            if on_step is not None:
                on_step(index + 1, n_steps)
            if not goes_on:
                break
        x, finite_levels = watch.result(z)
        samples = Samples(x, posterior.n_calls)
        refuse_diverged(samples, finite_levels, watch.n_levels, self.sigmas)
        return samples

    def gentler(self) -> AnnealedSampler:
        """A copy that hardly diverges: twice the levels, half the guidance, no churn.

        Half of the churn stays where states are constrained, which without any hardly separates. What a
        solver adds of noise stays as it is.
        """
        twin = copy.copy(self)
        middle = (self.sigmas[:-2] * self.sigmas[1:-1]).sqrt()
        pairs = torch.stack([self.sigmas[:-2], middle], dim=1).flatten()
        twin.sigmas = torch.cat([pairs, self.sigmas[-2:]])
        twin.churn = 0.0 if self.constraint is None else self.churn / 2
        twin.guidance = _halved(self.guidance)
        return twin

    def _churn(self, z: Tensor, sigma: Tensor, sigma_next: Tensor, problem: Problem) -> tuple[Tensor, Tensor]:
        """Raise the noise level a little (EDM, arXiv 2206.00364, Alg. 2, lines 5 and 6)."""
        if self.churn == 0:
            return z, sigma
        raised = sigma * (sigma / sigma_next) ** self.churn
        extra = (raised.square() - sigma.square()).sqrt()
        return z + extra[:, None, None] * problem.noise.normal_like(z), raised


def _halved(guidance: Guidance) -> Guidance:
    """A copy with half of the strength, and so what it wraps."""
    twin = copy.copy(guidance)
    for strength in ("weight", "zeta", "strength"):
        if hasattr(twin, strength):
            setattr(twin, strength, getattr(twin, strength) / 2)
    if hasattr(twin, "guidance"):
        twin.guidance = _halved(twin.guidance)
    return twin
