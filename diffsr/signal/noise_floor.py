"""Noise power without a reference: the minimum of the smoothed spectrum over a sliding window.

After R. Martin, "Noise power spectral density estimation based on optimal smoothing and minimum
statistics", IEEE Trans. Speech and Audio Processing 9(5), 2001, with fixed smoothing.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def noise_floor(power: Tensor, smooth_frames: int = 15, search_frames: int = 150, bias: float = 1.8) -> Tensor:
    """Noise power of each bin and frame.

    Args:
        power: `|Y|^2`, `[rows, F, N]`.
        smooth_frames: Length of the moving average over frames.
        search_frames: Length of the window in which the minimum is sought; longer than a word.
        bias: The minimum lies below the mean by about this factor.

    Returns:
        Noise power `[rows, F, N]`, slowly varying along frames.
    """
    smooth = _moving_average(power, smooth_frames)
    minimum = -F.max_pool1d(-smooth, 2 * (search_frames // 2) + 1, stride=1, padding=search_frames // 2)
    return bias * _moving_average(minimum, search_frames)


def _moving_average(power: Tensor, frames: int) -> Tensor:
    """Centred mean over frames; at the ends over the frames that are there."""
    half = frames // 2
    return F.avg_pool1d(power, 2 * half + 1, stride=1, padding=half, count_include_pad=False)
