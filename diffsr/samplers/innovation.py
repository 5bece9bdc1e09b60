"""How a residual moves the sources when everything is Gaussian: the update that guidance and solvers share.

With `x ~ N(x0, R)` and `y = A x + n`, `n ~ N(0, V)`, the posterior mean is

    x0 + R A' (V + A R A')^-1 (y - A x0),

the solution of `(A' V^-1 A + R^-1) x = A' V^-1 y + R^-1 x0`. This form solves in the space of the observation
and inverts neither V nor R, which are 0 without noise, in silence and at the end of the schedule. R and V are
diagonal in STFT bins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from diffsr.degradations import Mixing
from diffsr.degradations.base import Degradation
from diffsr.samplers.problem import Problem
from diffsr.typing import Observation, Sources

Map: TypeAlias = Callable[[Tensor], Tensor]

N_ITERATIONS = 8
"""Steps of conjugate gradients at each noise level, where there is no closed form."""

TINY = 1e-30

LEAST_SHARE = 1e-6
"""Of the mean power of the residual, that a bin is taken to have by the preconditioner."""


class Innovation:
    """The covariance `M = V + A R A'` of the residual `y - A x0`, and what follows from it.

    Additive mixtures have a closed form in each bin, exact where noise is white over a frame. Everything else
    takes a few steps of conjugate gradients, FFTs only, preconditioned by that closed form. A degradation
    that is not linear is linearised at `x0`, which for clipping moves just those samples that contradict the
    recording.

    Args:
        problem: Gives A, V and y.
        x0: Estimate `[rows, S, T]`, without gradient.
        variance: R, power of each source around the estimate in bins, broadcastable to `[rows, S, F, N]`.
        n_iterations: Steps of conjugate gradients.
        noise_variance: V, power of the noise in bins, broadcastable to `[rows, 1, F, N]`; None is the
            likelihood's.
    """

    def __init__(
        self,
        problem: Problem,
        x0: Sources,
        variance: Tensor,
        n_iterations: int = N_ITERATIONS,
        noise_variance: Tensor | None = None,
    ) -> None:
        self.problem, self.x0, self.n_iterations = problem, x0, n_iterations
        self.stft = problem.likelihood.stft
        self.r2 = variance.expand(-1, problem.n_sources, -1, -1)
        self.v = problem.likelihood.variance[:, None] if noise_variance is None else noise_variance
        self.is_closed = isinstance(problem.degradation, Mixing)
        if not self.is_closed:
            self._forward, self._adjoint = linearise(problem.degradation, x0)
            total = self.r2.sum(1, keepdim=True) + self.v
            # In units of its mean, so that nothing under- or overflows where noise and uncertainty vanish.
            self._unit = total.mean((1, 2, 3), keepdim=True).clamp_min(TINY)
            # Speech has a range of 60 dB and more over bins: unlike A, that part of M is diagonal in them.
            self._flatten = (total / self._unit).clamp_min(LEAST_SHARE).reciprocal()

    def move(self, residual: Observation, memory: str = "") -> Sources:
        """`R A' M^-1 residual`, `[rows, C, T] -> [rows, S, T]`: the step from x0 to the posterior mean.

        Args:
            residual: `y - A x0`, or another vector of the observation.
            memory: Name under which the problem remembers the solution for the next level to start from.
        """
        if self.is_closed:
            gain = self.r2 / (self.r2.sum(1, keepdim=True) + self.v).clamp_min(TINY)
            return self._filter(gain, residual)
        return self._filter(self.r2 / self._unit, self._adjoint(self._solve(residual, memory)))

    def weigh(self, residual: Observation, unit: Tensor, memory: str = "") -> Observation:
        """`unit M^-1 residual`, `[rows, C, T]`; `unit [rows]` is a variance per sample."""
        if self.is_closed:
            gain = self.stft.bin_variance(unit)[:, None] / (self.r2.sum(1, keepdim=True) + self.v).clamp_min(
                TINY
            )
            return self._filter(gain, residual)
        scale = self.stft.bin_variance(unit)[:, None] / self._unit
        return scale[..., 0] * self._solve(residual, memory)

    def draw(self) -> Sources:
        """A deviation from the posterior mean, `N(0, R - R A' M^-1 A R)`, `[rows, S, T]`.

        Prior and noise are drawn, and the residual of the draw is moved as if it were a recording.
        """
        noise = self.problem.noise
        e = coloured(noise.normal_like(self.x0), self.r2, self.problem)
        n = coloured(noise.normal_like(self.problem.y), self.v, self.problem)
        return e + self.move(n - self.observe(e))

    def observe(self, d: Sources) -> Observation:
        """`A d`, linearised at x0: without what a degradation adds whatever the sources."""
        return d.sum(1, keepdim=True) if self.is_closed else self._forward(d)

    def _solve(self, residual: Observation, memory: str) -> Observation:
        start = self.problem.memory.get(memory) if memory else None
        solution = conjugate_gradients(
            self._apply, residual, self.n_iterations, start, lambda r: self._filter(self._flatten, r)
        )
        if memory:
            self.problem.memory[memory] = solution
        return solution

    def _apply(self, u: Observation) -> Observation:
        """`M u` in units of its mean."""
        spread = self._forward(self._filter(self.r2 / self._unit, self._adjoint(u)))
        return spread + self._filter(self.v / self._unit, u)

    def _filter(self, gain: Tensor, wave: Tensor) -> Tensor:
        return self.stft.inverse(gain * self.stft(wave), wave.shape[-1])


def coloured(white: Tensor, variance: Tensor, problem: Problem) -> Tensor:
    """Noise of the power `variance` in bins `[rows, K, F, N]`, from white noise `[rows, K, T]`."""
    stft = problem.likelihood.stft
    return stft.inverse((variance / stft.window_energy).sqrt() * stft(white), white.shape[-1])


def linearise(
    degradation: Degradation, at: Sources
) -> tuple[Callable[[Sources], Observation], Callable[[Observation], Sources]]:
    """A and its adjoint at a point: a linear degradation's own, or those of its derivative."""
    if degradation.linear:
        return degradation, degradation.adjoint
    observed, pull_back = torch.func.vjp(degradation, at)[:2]
    # The derivative is the adjoint of its adjoint: not every operation has forward-mode differentiation.
    push_forward = torch.func.vjp(lambda r: pull_back(r)[0], torch.zeros_like(observed))[1]
    return lambda d: push_forward(d)[0], lambda r: pull_back(r)[0]


def conjugate_gradients(
    apply: Map, b: Tensor, n_iterations: int, start: Tensor | None = None, precondition: Map | None = None
) -> Tensor:
    """The x with `M x = b` for a symmetric M without negative curvature, each row `[rows, ...]` on its own.

    Args:
        apply: `x -> M x`.
        b: Right-hand side.
        n_iterations: Steps; their number is fixed, so that no device waits.
        start: A guess of any length: its best multiple is the start, so that it never does harm.
        precondition: `b -> ` about `M^-1 b`; it need not be quite symmetric (Polak and Ribiere's form).
    """
    precondition = precondition or (lambda r: r)
    x, residual = torch.zeros_like(b), b
    if start is not None:
        mapped = apply(start)
        best = _ratio(_dot(start, b), _dot(start, mapped))
        x, residual = best * start, b - best * mapped
    guess = direction = precondition(residual)
    power = _dot(residual, guess)
    for _ in range(n_iterations):
        mapped = apply(direction)
        step = _ratio(_dot(residual, direction), _dot(direction, mapped))
        x, change = x + step * direction, step * mapped
        residual = residual - change
        guess = precondition(residual)
        turn = _ratio(-_dot(change, guess), power).clamp_min(0)
        power = _dot(residual, guess)
        direction = guess + turn * direction
    return x


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(tuple(range(1, a.ndim)), keepdim=True)


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """`a / b`, 0 where b is not above 0: such a row is solved, or has left what M can reach."""
    return torch.where(b > TINY, a / b.clamp_min(TINY), torch.zeros_like(a))
