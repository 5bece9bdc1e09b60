"""What rules with gradients through the network share: steps of a given length."""

from __future__ import annotations

import torch
from torch import Tensor

from diffsr.samplers.innovation import TINY
from diffsr.samplers.problem import Problem
from diffsr.typing import Observation


def unit_rms(gradient: Tensor) -> Tensor:
    """Each signal `[..., T]` at an RMS of 1; zeros stay zeros. Squares of large values do not overflow."""
    gradient = gradient / gradient.abs().amax(-1, keepdim=True).clamp_min(TINY)
    return gradient / gradient.square().mean(-1, keepdim=True).sqrt().clamp_min(TINY)


def least_step(problem: Problem, y_hat: Observation, floor: float) -> Tensor:
    """RMS of a step at small sigma `[rows]`: `floor sigma_data`, at most that of the residual."""
    residual_rms = (problem.y - y_hat.detach()).square().mean((1, 2)).sqrt()
    return torch.clamp_max(residual_rms, floor * problem.prior.sigma_data)
