"""Guidance by the gradient of the data loss through the network."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from diffsr.errors import ConfigError
from diffsr.samplers.gradients import least_step, unit_rms
from diffsr.samplers.innovation import N_ITERATIONS, Innovation
from diffsr.samplers.problem import Problem
from diffsr.typing import Observation, Sources

Rule = Literal["likelihood", "normalised"]

LEAST_VARIANCE = 1e-10
"""Of a bin in the loss of the normalised rule; as little as noise models allow."""


class DPS:
    """Diffusion posterior sampling (arXiv 2209.14687): the network's own gradient carries the residual back.

    * `likelihood`: `x0 + sigma^2 grad_z log N(y; A x0(z), v + A R A')` with the prior's uncertainty R, its
      gradient with R held. It needs no tuning, is exact for Gaussian priors (PiGDM, Song et al., ICLR 2023,
      Eq. 7) and safe where noise is modelled: the default.
    * `normalised`: `x0 - sigma zeta sqrt(S T) g / |g|`, `g` the gradient of `-likelihood.log_prob` and its
      norm that of the row over all its sources (the rule of BUDDy, arXiv 2405.04272, and ArrayDPS, arXiv
      2505.05657): zeta is the step's RMS in units of sigma. It lands on the recording whatever the noise, so
      it is for small v only.

    Args:
        rule: One of the two.
        zeta: Step of the normalised rule: rooms 0.8 to 1.1 (0.5 is published), a known room 2.75, talkers 2.
        floor: Least RMS of its step in units of the prior's `sigma_data`, so that guidance stays alive at
            small sigma; never more than the residual's own RMS. 0 is the published rule.
        n_iterations: Steps of conjugate gradients of the likelihood rule, where there is no closed form.

    Raises:
        ConfigError: No such rule.
    """

    needs_gradient = True

    def __init__(
        self,
        rule: Rule = "likelihood",
        zeta: float = 1.0,
        floor: float = 0.02,
        n_iterations: int = N_ITERATIONS,
    ) -> None:
        if rule not in get_args(Rule):
            raise ConfigError(f"rule is {rule!r}; expected one of {', '.join(get_args(Rule))}.")
        self.rule, self.zeta, self.floor, self.n_iterations = rule, zeta, floor, n_iterations

    def correct(self, z: Sources, x0: Sources, sigma: Tensor, problem: Problem) -> Sources:
        """See class; `x0` is the prior's estimate with its graph back to `z`."""
        y_hat = problem.degradation(x0)
        if self.rule == "likelihood":
            return x0 + self._likelihood_step(z, x0, y_hat, sigma, problem)
        return x0 - self._normalised_step(z, x0.detach(), y_hat, sigma, problem)

    def _likelihood_step(
        self, z: Sources, x0: Sources, y_hat: Observation, sigma: Tensor, problem: Problem
    ) -> Sources:
        with torch.no_grad():
            variance = problem.source_variance(x0.detach(), sigma)
            innovation = Innovation(problem, x0.detach(), variance, self.n_iterations)
            weighed = innovation.weigh(problem.y - y_hat, sigma.square(), memory="dps")
        (step,) = torch.autograd.grad(y_hat, z, weighed)
        return step

    def _normalised_step(
        self, z: Sources, x0: Sources, y_hat: Observation, sigma: Tensor, problem: Problem
    ) -> Sources:
        with torch.no_grad():
            extra = problem.observed_variance(x0, sigma).clamp_min(LEAST_VARIANCE)
        loss = -problem.likelihood.log_prob(problem.y, y_hat, extra).sum()  # rows do not share anything
        (gradient,) = torch.autograd.grad(loss, z)
        length = (self.zeta * sigma).maximum(least_step(problem, y_hat, self.floor))
        return length[:, None, None] * unit_rms(gradient.flatten(1)).view_as(gradient)
