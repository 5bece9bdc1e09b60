"""Cutting a long signal into overlapping windows and cross-fading them back together."""

from __future__ import annotations

import torch
from torch import Tensor


def window_starts(n_samples: int, window: int, overlap: int) -> list[int]:
    """First samples of windows that cover a signal; the last one ends exactly at its end."""
    if n_samples <= window:
        return [0]
    last = n_samples - window
    n_windows = -(-last // (window - overlap)) + 1
    return [round(index * last / (n_windows - 1)) for index in range(n_windows)]


def crossfade(pieces: Tensor, starts: list[int], n_samples: int) -> Tensor:
    """Join `pieces [..., W, window]` to `[..., n_samples]` with weights that sum to one everywhere."""
    window = pieces.shape[-1]
    ramp = torch.linspace(0, torch.pi, window + 2, device=pieces.device)[1:-1].sin()
    total = pieces.new_zeros(*pieces.shape[:-2], n_samples)
    weight = pieces.new_zeros(n_samples)
    for index, start in enumerate(starts):
        total[..., start : start + window] += ramp * pieces[..., index, :]
        weight[start : start + window] += ramp
    return total / weight
