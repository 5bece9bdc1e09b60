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

from diffsr.signal.windows import window_starts

SMOOTH_FRAMES = 9
STEP_FRAMES = 4
"""Smoothed frames are so alike that every fourth is enough."""
DIGITAL_SILENCE = 1e-9
"""Power over that of the loudest frame, below which nothing was recorded."""
BORDER_FRAMES = (4, 8)
"""How far from digital silence its border is looked at: behind the windows that reach into it."""
ABRUPT = 1e-4
"""Power of a border over that of the loudest frame, from which on sound was cut off rather than ended."""


def noise_floor(power: Tensor, window_frames: int = 500, quantile: float = 0.25, bias: float = 1.3) -> Tensor:
    """Noise power of each bin and frame.

    Args:
        power: `|Y|^2`, `[rows, F, N]`.
        window_frames: Length of the sliding window, some words; shorter recordings are one window.
        quantile: Which quantile of the power in a window is taken for noise.
        bias: Factor on the quantile. With 1.48 the 25 % quantile would be the mean of white noise (2 the 10 %
            quantile); less lets less speech in.

    Returns:
        Noise power `[rows, F, N]`, slowly varying along frames.
    """
    n_frames = power.shape[-1]
    smooth = F.avg_pool1d(power, SMOOTH_FRAMES, stride=1, padding=SMOOTH_FRAMES // 2, count_include_pad=False)
    thin = smooth[..., ::STEP_FRAMES]
    size = min(window_frames // STEP_FRAMES, thin.shape[-1])
    starts = window_starts(thin.shape[-1], size, size - max(size // 4, 1))
    windows = thin.unfold(-1, size, 1)[..., starts, :]  # [rows, F, windows, size]
    muted = muted_frames(power)
    if bool(muted.any()):
        kept = ~muted[..., ::STEP_FRAMES].unfold(-1, size, 1)[..., starts, :]
        lowest = _quantile_of_some(windows, kept, quantile)
    else:
        lowest = windows.kthvalue(max(round(quantile * size), 1), dim=-1).values
    distance = STEP_FRAMES * starts[-1] / max(len(starts) - 1, 1)
    return _from_centres(bias * lowest, STEP_FRAMES * (size - 1) / 2, max(distance, 1.0), n_frames)


def muted_frames(power: Tensor) -> Tensor:
    """Frames `[rows, 1, N]` of `|Y|^2 [rows, F, N]` in which a noisy recording was muted or padded.

    They hold digital silence whose borders are loud: the noise went on and was cut off, so that such frames
    tell nothing of it. Clean speech that was made or gated ends softly before its digital silence, which is
    as good as a recording without noise.
    """
    level = power.sum(-2, keepdim=True)
    level = level / level.amax(-1, keepdim=True).clamp_min(1e-30)
    silent = level <= DIGITAL_SILENCE
    near, far = (_within(silent, n) for n in BORDER_FRAMES)
    border = far & ~near
    loud = (border & (level > ABRUPT)).sum(-1, keepdim=True)
    return silent & (2 * loud > border.sum(-1, keepdim=True))


def _within(frames: Tensor, distance: int) -> Tensor:
    """Which frames are within a distance of some of `frames [rows, 1, N]`."""
    return F.max_pool1d(frames.float(), 2 * distance + 1, stride=1, padding=distance) > 0


def _quantile_of_some(windows: Tensor, kept: Tensor, quantile: float) -> Tensor:
    """The quantile over the last dimension of what is kept; 0 where nothing is."""
    n_kept = kept.sum(-1, keepdim=True)
    ordered = windows.masked_fill(~kept, torch.inf).sort(dim=-1).values
    place = ((quantile * n_kept).round().long() - 1).clamp_min(0)
    found = ordered.gather(-1, place.expand(*ordered.shape[:-1], 1))
    return torch.where(n_kept > 0, found, 0.0)[..., 0]


def _from_centres(values: Tensor, first: float, distance: float, n_frames: int) -> Tensor:
    """Values at the centres of windows -> values at every frame, linear between and constant outside."""
    place = (torch.arange(n_frames, device=values.device) - first) / distance
    place = place.clamp(0, values.shape[-1] - 1)
    below = place.floor().long()
    above = (below + 1).clamp_max(values.shape[-1] - 1)
    return torch.lerp(values[..., below], values[..., above], place - below)
