"""Reverberant power as a sum of exponential decays of dry power, in bands of STFT bins.

    P_n = sum_k w_k sum_m kernel_k(m) |X_(n - m)|^2,    kernel_k(m) = 10^(-6 m hop / (T_k rate))

The statistical model of reverberation (Polack 1988; Lebart et al. 2001) with a few fixed reverberation times
T_k, whose weights w are found by multiplicative updates for the Itakura-Saito distance (exponent 1/2, which
never raises it: Févotte and Idier, arXiv 1010.1763). Sums over parts or frames are products of matrices, one
for each bin of a row, which read the parts once and write nothing of their size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from diffsr.signal.filtering import fft_convolve

BINS_PER_BAND = 8
TINY = 1e-20
PART_VALUES = 2**20
"""Of a row in a block of bands: all bands at once would take most of the memory of long recordings."""
BLOCK_VALUES = 2**22
"""Values that are transformed at once: transforms of all bins take several times the memory of the result."""


def decay_kernels(times_s: Tensor, n_frames: int, frame_s: float, first_frame: int) -> Tensor:
    """Powers over frames, 0 before `first_frame`, `[K] -> [K, N]`."""
    frame = torch.arange(n_frames, device=times_s.device)
    falling = (-(math.log(1e6) * frame_s) / times_s[:, None] * frame).exp()
    return torch.where(frame >= first_frame, falling, 0.0)


def decayed(power: Tensor, kernels: Tensor) -> Tensor:
    """Dry power `[rows, F, N]` after each kernel `[K, N]`, `[rows, K, F, N]`."""
    rows, n_bins, n_frames = power.shape
    parts = power.new_empty(rows, len(kernels), n_bins, n_frames)
    size = max(2, BLOCK_VALUES // (2 * rows * kernels.numel()))
    for some, dry in zip(parts.split(size, dim=2), power.split(size, dim=1), strict=True):
        some.copy_(fft_convolve(dry[:, None], kernels[:, None]))
    return parts.clamp_min_(0)


def updated_weights(weights: Tensor, parts: Tensor, target: Tensor, power: Tensor) -> Tensor:
    """One multiplicative update of the weights `[rows, K, bands]`, which stay above 0.

    Args:
        weights: Of the parts in the power.
        parts: `[rows, K, F, N]`, of `decayed`.
        target: Observed power `[rows, F, N]`.
        power: Modelled power, of which the parts may be only some, `[rows, F, N]`.
    """
    slopes = torch.stack([target / power.square(), power.reciprocal()], -1)
    sums = [part.transpose(0, 1) @ slope for part, slope in zip(parts, slopes, strict=True)]
    up, down = in_bands(torch.stack(sums).permute(3, 0, 2, 1))
    return (weights * (up / down.clamp_min(TINY)).sqrt()).clamp_min(1e-12)


def blocks(n_bins: int, n_values: int) -> Iterator[tuple[slice, slice]]:
    """Bins and their bands, a few bands at a time, of bins that take `n_values` of memory in a row each.

    Bands have nothing to do with one another, so what is done with them can be done block by block. Blocks do
    not depend on the number of rows, so that a row has the same ones in any company.
    """
    width = max(PART_VALUES // n_values // BINS_PER_BAND, 1)
    for first in range(0, n_bands(n_bins), width):
        last = min(first + width, n_bands(n_bins))
        yield slice(first * BINS_PER_BAND, last * BINS_PER_BAND), slice(first, last)


def weighted_sum(weights: Tensor, parts: Tensor) -> Tensor:
    """`[rows, K, bands], [rows, K, F, N] -> [rows, F, N]`."""
    of_bins = weights.repeat_interleave(BINS_PER_BAND, -1)[..., : parts.shape[-2], None]
    sums = [
        (one.permute(1, 2, 0) @ part.transpose(0, 1))[:, 0] for one, part in zip(of_bins, parts, strict=True)
    ]
    return torch.stack(sums)


def n_bands(n_bins: int) -> int:
    """Bands of eight bins; the last one holds what is left."""
    return -(-n_bins // BINS_PER_BAND)


def in_bands(values: Tensor) -> Tensor:
    """Sums of bins over bands, `[..., F] -> [..., bands]`."""
    padded = F.pad(values, (0, -values.shape[-1] % BINS_PER_BAND))
    return padded.unflatten(-1, (-1, BINS_PER_BAND)).sum(-1)
