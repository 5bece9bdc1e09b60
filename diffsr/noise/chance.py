"""Random numbers and curves of given ranges, in batches."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def between(low: float, high: float, n: int, rng: torch.Generator) -> Tensor:
    """`[n]`, all numbers alike."""
    return low + (high - low) * torch.rand(n, generator=rng, device=rng.device)


def by_ratio(low: float, high: float, n: int, rng: torch.Generator) -> Tensor:
    """`[n]`, all ratios alike: as often between 1 and 2 as between 2 and 4."""
    return between(math.log(low), math.log(high), n, rng).exp()


def smooth_curves(length: Tensor, n_steps: int, rng: torch.Generator) -> Tensor:
    """Gaussian curves `[B, n_steps]` of mean 0 and variance 1 that change over lengths `[B]`, in steps."""
    white = torch.randn(len(length), 2 * n_steps, generator=rng, device=rng.device)
    frequency = torch.arange(n_steps + 1, device=rng.device) / (2 * n_steps)
    kept = (-0.5 * (2 * math.pi * frequency * length[:, None]).square()).exp()
    curves = torch.fft.irfft(torch.fft.rfft(white) * kept, 2 * n_steps)[:, :n_steps]
    power = 2 * kept.square()  # of a frequency and its negative, which both ends do not have
    variance = (power.sum(1) - kept[:, 0].square() - kept[:, -1].square()) / (2 * n_steps)
    return curves / variance.sqrt()[:, None].clamp_min(1e-4)
