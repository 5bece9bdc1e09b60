"""Guidance through the network with a norm for each talker and a floor: unasdiff (arXiv 2512.07226)."""

from __future__ import annotations

import torch
from torch import Tensor

from diffsr.samplers.gradients import least_step, unit_rms
from diffsr.samplers.innovation import TINY
from diffsr.samplers.problem import Problem
from diffsr.signal.stft import STFT
from diffsr.typing import Observation, Sources

SEGMENT_S = 1 / 128
"""Published: 512 segments of 4 s."""
SEGMENT_WEIGHT = 0.05 * 512**0.5
"""Published: 0.05 times the sum over 512 segments; here over the root of their number, for any length."""
SPECTRUM_WEIGHT = 0.1
N_FFT, HOP_SAMPLES = 512, 256
SHARPNESS = 2.0
"""Of the smooth maximum, in units of the floor: 1000 at a floor of 0.002."""


class HybridGradient:
    """The gradient of three losses at once, each talker's of a length that never falls below a floor.

    `x0_k - smooth_max(zeta sigma, floor sigma_data) g_k / rms(g_k)`, `g_k` the derivative by z_k of

        |r| + 0.05 sum_i |r_i| + 0.1 | |STFT y| - |STFT A x0(z)| |,      r = y - A x0(z), r_i its segments.

    Published as a move of the state after each of 200 steps of a variance-preserving process, of RMS
    `smooth_max(0.09 sd, 0.002)` with the standard deviation sd of the step's own noise, where speech has an
    RMS of about 0.1. A step takes the share 1 - q of what an estimate moves: 0.09 sd is a move of the
    estimate by 0.6 sigma at the top, 0.5 sigma in the middle and 0.14 sigma at the end, the floor one of 0.07
    times the RMS of speech at the end. In units of sigma it does not depend on the number of levels. The
    floor is at most the RMS of the residual, as in `DPS`.

    Args:
        zeta: RMS of the move of a talker in units of sigma.
        floor: Least RMS of it in units of the prior's `sigma_data`.
    """

    needs_gradient = True

    def __init__(self, zeta: float = 0.5, floor: float = 0.07) -> None:
        self.zeta, self.floor = zeta, floor

    def correct(self, z: Sources, x0: Sources, sigma: Tensor, problem: Problem) -> Sources:
        """See class; `x0` is the prior's estimate with its graph back to `z`."""
        y_hat = problem.degradation(x0)
        loss = three_losses(problem.y, y_hat, problem.prior.rate_hz).sum()  # rows do not share anything
        (gradient,) = torch.autograd.grad(loss, z)
        least = least_step(problem, y_hat, self.floor)
        return x0 - smooth_max(self.zeta * sigma, least)[:, None, None] * unit_rms(gradient)


def three_losses(y: Observation, y_hat: Observation, rate_hz: int) -> Tensor:
    """Norms of the residual as a whole, in segments and of magnitudes, `[rows, C, T] -> [rows]`."""
    residual = (y - y_hat).flatten(1)
    size = max(1, round(SEGMENT_S * rate_hz))
    n_segments = -(-residual.shape[-1] // size)
    padded = torch.nn.functional.pad(residual, (0, n_segments * size - residual.shape[-1]))
    segments = _norm(padded.unflatten(-1, (n_segments, size))).sum(-1)
    stft = STFT(N_FFT, HOP_SAMPLES).to(y.device)
    spectrum = (_magnitude(stft(y)) - _magnitude(stft(y_hat))).flatten(1)
    total = _norm(residual) + SEGMENT_WEIGHT / n_segments**0.5 * segments
    return total + SPECTRUM_WEIGHT * _norm(spectrum)


def smooth_max(value: Tensor, floor: Tensor) -> Tensor:
    """The logarithm of the summed exponentials, a maximum without a corner; `value` where the floor is 0."""
    k = SHARPNESS / floor.clamp_min(1e-6)
    return torch.logaddexp(k * value, k * floor) / k


def _norm(x: Tensor) -> Tensor:
    """Euclidean over the last dimension, with a derivative of 0 at 0."""
    return (x.square().sum(-1) + TINY).sqrt()


def _magnitude(spec: Tensor) -> Tensor:
    return (torch.view_as_real(spec).square().sum(-1) + TINY).sqrt()
