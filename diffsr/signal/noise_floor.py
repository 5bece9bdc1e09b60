"""Noise power without a reference: a low quantile of the smoothed spectrum in a sliding window.

Speech leaves each bin alone most of the time, so a low quantile over a few seconds belongs to the noise
(Stahl, Fischer and Bippus, "Quantile based noise estimation for spectral subtraction and Wiener filtering",
ICASSP 2000). A quantile follows unsteady noise better than the minimum (Martin 2001), and lets less speech
in than their median when there is little noise.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SMOOTH_FRAMES = 9
STEP_FRAMES = 4
"""Smoothed frames are so alike that every fourth is enough."""


def noise_floor(power: Tensor, window_frames: int = 500, quantile: float = 0.25, bias: float = 1.3) -> Tensor:
    """Noise power of each bin and frame.

    Args:
        power: `|Y|^2`, `[rows, F, N]`.
        window_frames: Length of the sliding window, some words; shorter recordings are one window.
        quantile: Which quantile of the power in a window is taken for noise.
        bias: The quantile of smoothed white noise lies below its mean by this factor.

    Returns:
        Noise power `[rows, F, N]`, slowly varying along frames.
    """
    n_frames = power.shape[-1]
    smooth = F.avg_pool1d(power, SMOOTH_FRAMES, stride=1, padding=SMOOTH_FRAMES // 2, count_include_pad=False)
    thin = smooth[..., ::STEP_FRAMES]
    size = min(window_frames // STEP_FRAMES, thin.shape[-1])
    stride = max(size // 4, 1)
    windows = thin.unfold(-1, size, stride)  # [rows, F, windows, size]
    floor = bias * windows.kthvalue(max(round(quantile * size), 1), dim=-1).values
    return _from_centres(floor, STEP_FRAMES * (size - 1) / 2, STEP_FRAMES * stride, n_frames)


def _from_centres(values: Tensor, first: float, distance: float, n_frames: int) -> Tensor:
    """Values at the centres of windows -> values at every frame, linear between and constant outside."""
    place = (torch.arange(n_frames, device=values.device) - first) / distance
    place = place.clamp(0, values.shape[-1] - 1)
    below = place.floor().long()
    above = (below + 1).clamp_max(values.shape[-1] - 1)
    return torch.lerp(values[..., below], values[..., above], place - below)
