"""Clicks in a spectrogram: broad in frequency and short in time, as speech is not."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BINS = 33
"""1 kHz at 16 kHz and 512 samples: wider than the harmonics of a voice."""
FRAMES = 15
"""0.12 s at a hop of 128 samples: a syllable fills more than half of it, a click does not."""
RATIO = 4.0
"""Clicks stand out from the frames around by so much; stationary noise does not."""
FRAMES_AT_ONCE = 512
"""Memory follows this number times `BINS`."""


def click_power(power: Tensor) -> Tensor:
    """Power of clicks in each bin, 0 nearly everywhere, `[rows, F, N] -> [rows, F, N]`.

    By how much the median over frequency exceeds `RATIO` times the median over time: the two medians tell
    percussive from sustained sounds (FitzGerald, "Harmonic/percussive separation using median filtering",
    DAFx 2010).
    """
    return (_median_over_bins(power) - RATIO * _median_over_frames(power)).clamp_min(0)


def _median_over_bins(power: Tensor) -> Tensor:
    padded = F.pad(power.mT, (BINS // 2, BINS // 2), mode="reflect")  # [rows, N, F + BINS - 1]
    parts = [part.unfold(-1, BINS, 1).median(-1).values for part in padded.split(FRAMES_AT_ONCE, 1)]
    return torch.cat(parts, 1).mT


def _median_over_frames(power: Tensor) -> Tensor:
    margin = FRAMES // 2
    padded = F.pad(power, (margin, margin), mode="replicate")
    starts = range(0, power.shape[-1], FRAMES_AT_ONCE)
    parts = [
        padded[..., start : start + FRAMES_AT_ONCE + 2 * margin].unfold(-1, FRAMES, 1).median(-1).values
        for start in starts
    ]
    return torch.cat(parts, -1)
