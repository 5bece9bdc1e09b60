"""Two tracks that exchange shares of what they have."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

SEAM = 3
"""Frames that tracks take to change places where they are cut."""


def crossed(tracks: Tensor, exchanged: Tensor) -> Tensor:
    """Each of two tracks `[B, 2, ...]` without a share of itself and with a share of the other one."""
    moved = exchanged * tracks
    return tracks - moved + moved.flip(1)


def either(a: Tensor, b: Tensor) -> Tensor:
    """The share that is exchanged by a share a and then a share b; what is exchanged twice is back."""
    return a + b - 2 * a * b


def smoothed(sign: Tensor, width: int) -> Tensor:
    """Orders of tracks `[B, N]`, 1 or -1, that change over an odd number of frames."""
    padded = F.pad(sign[:, None], (width // 2, width // 2), mode="replicate")
    return F.avg_pool1d(padded, width, stride=1)[:, 0]


def cut_tracks(power: Tensor, cut: Tensor) -> Tensor:
    """Powers of two tracks `[B, 2, M, N]` that change places where `cut [B, N]` changes its sign."""
    return crossed(power, 0.5 - 0.5 * smoothed(cut, SEAM)[:, None, None])
