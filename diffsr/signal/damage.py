"""Damage that a recording shows: samples that pile up, runs of zeros, a spectrum that ends, a constant."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from diffsr.signal.levels import FRAME_S
from diffsr.signal.stft import STFT

TOLERANCE = 5e-4
"""Samples this near below the level count as clipped, relative to it: quantised, they no longer are equal."""
PILE_SAMPLES = 4
"""Fewer samples at the peak are no pile."""
PILE_DENSITY = 30.0
"""Samples per level at the peak, over those just below; 14 for a sine, about 1 for whole speech."""
_BELOW = (0.95, 0.99)
LEAST_CLIPPED = 0.01
"""Share of samples at the peak from which on a recording looks clipped; about 2e-5 for whole speech."""
LEAST_STEPS = 64
"""Steps of quantisation up to the peak from which on samples at it say something: in the hum of a silent
recording, ten steps high, every fifth sample is."""
SHORTEST_GAP_MS = 5.0
"""Quantised speech holds shorter runs of zeros by itself."""
LEAST_OFFSET = 0.1
"""Mean over RMS from which on a constant was added; of speech it is at most 0.03."""
LEAST_EDGE_DB = 20.0
"""By how much the long-term spectrum falls at its end; 14 dB for whole speech, 30 to 80 for a low-pass."""
LOWEST_EDGE_HZ = 700.0
_EDGE_OCTAVES = (0.12, 0.35)
"""Just above an edge the spectrum is not looked at, and how far from it it is."""
PIECE = 2**22
"""Samples that are summed at once: in double precision all of an hour would fill memory."""


def estimate_threshold(y: Tensor) -> Tensor:
    """The level at which samples pile up, `[rows, C, T] -> [rows]`; NaN where there is none.

    A recording that is clipped has many samples at its peak and few just below. The level is that of the
    lowest sample of the pile.
    """
    size = y.abs().flatten(1)
    peak = size.amax(1, keepdim=True)
    at_peak = (size >= (1.0 - TOLERANCE) * peak) & (peak > 0)
    below = (size >= _BELOW[0] * peak) & (size < _BELOW[1] * peak)
    density = at_peak.sum(1) / TOLERANCE
    usual = below.sum(1).clamp_min(1) / (_BELOW[1] - _BELOW[0])
    piles_up = (at_peak.sum(1) >= PILE_SAMPLES) & (density >= PILE_DENSITY * usual)
    level = torch.where(at_peak, size, math.inf).amin(1)
    return torch.where(piles_up, level, math.nan)


def clipped_share(y: Tensor) -> Tensor:
    """Share of the samples that were cut off, `[rows, C, T] -> [rows]`; 0 where a recording does not look it.

    To be told to a user, so with more doubt than `estimate_threshold`, for what is known to be clipped:
    many samples at the level, more than in the eighty times wider range just below it. That is 4 times as
    many or more in speech of which 1 % was cut off, 0.2 times in a sine, 0.4 in one of 8 bits. Peaks that a
    codec has changed are at no level.
    """
    size = y.abs().flatten(1)
    peak = size.amax(1, keepdim=True)
    level = estimate_threshold(y)[:, None]  # NaN compares as false
    at_level = (size >= level).float().mean(1)
    below = ((size >= _BELOW[0] * peak) & (size < _BELOW[1] * peak)).float().mean(1)
    step = torch.where(size > 0, size, math.inf).amin(1)
    is_fine = peak[:, 0] >= LEAST_STEPS * step
    return torch.where(is_fine & (at_level >= LEAST_CLIPPED) & (at_level >= below), at_level, 0.0)


def find_gaps(y: Tensor, rate_hz: int, shortest_ms: float = SHORTEST_GAP_MS) -> Tensor:
    """Samples in runs of exact zeros in all channels, `[rows, C, T]` -> bool `[rows, T]`.

    Zeros at the start and the end of a recording are silence, not gaps.

    Args:
        y: Recordings.
        rate_hz: Their sample rate.
        shortest_ms: Shorter runs do not count.
    """
    sounds = (y != 0).any(1)
    started = sounds.cummax(1).values
    ends_later = sounds.flip(1).cummax(1).values.flip(1)
    return _zero_runs(sounds, rate_hz, shortest_ms) & started & ends_later


def _zero_runs(sounds: Tensor, rate_hz: int, shortest_ms: float = SHORTEST_GAP_MS) -> Tensor:
    """Samples in runs of those that do not sound, `[rows, T]` -> bool `[rows, T]`."""
    n = max(1, math.ceil(shortest_ms * rate_hz / 1000))
    if n > sounds.shape[-1]:
        return torch.zeros_like(sounds)
    # A run is a place where a window of n samples is silent; the samples of such windows are in a run.
    busy = F.max_pool1d(sounds.float()[:, None], n, stride=1)
    return F.max_pool1d(F.pad(1.0 - busy, (n - 1, n - 1)), n, stride=1)[:, 0] > 0


def without_offset(wave: Tensor, rate_hz: int) -> Tensor:
    """Channels without the constant that a device has added, where it is large, `[C, T] -> [C, T]`.

    Runs of exact zeros are silence that was put there later: they say nothing of it and stay as they are.
    """
    sounds = ~_zero_runs(wave != 0, rate_hz)
    count = sounds.sum(-1, keepdim=True)
    pieces = (wave * sounds).split(PIECE, dim=-1)
    offset = sum(one.double().sum(-1, keepdim=True) for one in pieces) / count.clamp_min(1)
    rms = (sum(one.double().square().sum(-1, keepdim=True) for one in pieces) / count.clamp_min(1)).sqrt()
    # What sounds for less than a frame, such as an impulse, has a mean by itself.
    is_large = (offset.abs() > LEAST_OFFSET * rms) & (count >= FRAME_S * rate_hz)
    if not bool(is_large.any()):
        return wave
    return torch.where(sounds & is_large, (wave - offset).to(wave), wave)


def long_term_power(y: Tensor, stft: STFT) -> Tensor:
    """Mean of `|Y|^2` over channels and frames, `[rows, C, T] -> [rows, F]`."""
    return stft(y).abs().square().mean((1, 3))


def find_cutoff_hz(y: Tensor, rate_hz: int) -> Tensor:
    """Where the long-term spectrum ends, `[rows, C, T] -> [rows]`; NaN where it does not.

    The end is the frequency at which the mean level over a third of an octave below exceeds that of a quarter
    above, after a gap of an eighth, by most. Slopes of less than about 40 dB an octave are not told from
    those of speech.

    Args:
        y: Recordings.
        rate_hz: Their sample rate.
    """
    stft = STFT(512, 128).to(y.device)
    power = long_term_power(y, stft)
    level_db = 10 * (power + 1e-12 * power.amax(1, keepdim=True) + 1e-30).log10()
    hz = torch.arange(stft.n_bins, device=y.device) * (rate_hz / stft.n_fft)
    octave = (hz[None].clamp_min(1.0) / hz[:, None].clamp_min(1.0)).log2()
    near, far = _EDGE_OCTAVES
    below = ((octave < 0) & (octave >= -far)).float()
    above = ((octave > near) & (octave <= far)).float()
    fall = _means(level_db, below) - _means(level_db, above)
    highest = hz * 2**far <= rate_hz / 2
    fall = torch.where((hz >= LOWEST_EDGE_HZ) & highest, fall, -math.inf)
    deepest, place = fall.max(1)
    return torch.where(deepest >= LEAST_EDGE_DB, hz[place], math.nan)


def _means(level: Tensor, member: Tensor) -> Tensor:
    """Mean level over the members of each place, `[rows, F], [F, F] -> [rows, F]`."""
    # Not as a product of matrices, whose rounding depends on the batch.
    return (level[:, None] * member).sum(-1) / member.sum(-1).clamp_min(1)
