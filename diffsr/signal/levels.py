"""Levels of speech: frames, the span that holds speech, and the RMS of its active frames.

One rule says what counts as speech: a 20 ms frame is active when its level is within 35 dB of the
95th percentile of the frame levels. That percentile is the level of the loud vowels and, unlike the
maximum, ignores a click. In a recording that is digital silence for more than 95 % of its length
the loudest frame takes its place.
"""

from __future__ import annotations

import math
from typing import overload

import torch
from torch import Tensor

FRAME_S = 0.02
ACTIVE_RANGE_DB = 35.0
LEAST_POWER = 1e-20
"""Of what is shown as a level: no power at all is -200 dB."""
SILENCE_DB = -120.0
"""Frame levels are floored here (re full scale); a wave with no frame above it is silence."""


def rms(wave: Tensor) -> Tensor:
    """Root mean square over the last dimension, [..., T] -> [...]."""
    return wave.square().mean(-1).sqrt()


@overload
def db(ratio: float) -> float: ...
@overload
def db(ratio: Tensor) -> Tensor: ...
def db(ratio: float | Tensor) -> float | Tensor:
    """Decibels of an amplitude ratio, 20 log10; -inf for zero."""
    if isinstance(ratio, Tensor):
        return 20.0 * ratio.log10()
    return 20.0 * math.log10(ratio) if ratio > 0 else -math.inf


@overload
def from_db(x_db: float) -> float: ...
@overload
def from_db(x_db: Tensor) -> Tensor: ...
def from_db(x_db: float | Tensor) -> float | Tensor:
    """Amplitude ratio of decibels, 10^(x/20)."""
    if isinstance(x_db, Tensor):
        return torch.pow(10.0, x_db / 20.0)
    return float(10.0 ** (x_db / 20.0))


@overload
def power_db(power: float) -> float: ...
@overload
def power_db(power: Tensor) -> Tensor: ...
def power_db(power: float | Tensor) -> float | Tensor:
    """Decibels of a power ratio, 10 log10; -200 for zero."""
    if isinstance(power, Tensor):
        return 10.0 * power.clamp_min(LEAST_POWER).log10()
    return 10.0 * math.log10(max(power, LEAST_POWER))


def loudest_channel(wave: Tensor) -> Tensor:
    """The channel with the most energy, [C, T] -> [T].

    Where one channel must stand for a recording this is safer than the average, which cancels
    channels of opposite phase and colours those of an array.
    """
    return wave[int(wave.square().sum(-1).argmax())] if wave.shape[0] > 1 else wave[0]


def frame_levels_db(wave: Tensor, rate_hz: int) -> Tensor:
    """Levels of the 20 ms frames in dB re full scale, [..., T] -> [..., N], floored at -120 dB.

    Frames do not overlap; a last shorter frame counts with the samples that it has.
    """
    return _levels_db(_frame_power(wave, rate_hz))


def speech_span(wave: Tensor, rate_hz: int) -> tuple[float, float]:
    """Start and end of the speech in seconds: first and last active frame, widened by 0.1 s.

    Args:
        wave: One channel, [T].
        rate_hz: Its sample rate.

    Returns:
        Times within 0 and the duration; (0, 0) for silence.
    """
    active = _active(frame_levels_db(wave, rate_hz)).nonzero()[:, 0]
    if len(active) == 0:
        return 0.0, 0.0
    frame_s = _frame_samples(rate_hz) / rate_hz
    start_s = int(active[0]) * frame_s - 0.1
    end_s = (int(active[-1]) + 1) * frame_s + 0.1
    return max(0.0, start_s), min(wave.shape[-1] / rate_hz, end_s)


def active_rms(wave: Tensor, rate_hz: int) -> Tensor:
    """RMS over the active frames, [..., T] -> [...]; 0 for silence. Pauses do not lower it."""
    power = _frame_power(wave, rate_hz)
    active = _active(_levels_db(power))
    total = (power * active).sum(-1)
    return (total / active.sum(-1).clamp_min(1)).sqrt()


def _frame_samples(rate_hz: int) -> int:
    return max(1, round(FRAME_S * rate_hz))


def _frame_power(wave: Tensor, rate_hz: int) -> Tensor:
    """Mean power of each frame, [..., T] -> [..., N]; an empty wave has no frames."""
    size = _frame_samples(rate_hz)
    n_whole, n_left = divmod(wave.shape[-1], size)
    power = wave[..., : n_whole * size].unflatten(-1, (n_whole, size)).square().mean(-1)
    if n_left == 0:
        return power
    return torch.cat([power, wave[..., n_whole * size :].square().mean(-1, keepdim=True)], dim=-1)


def _levels_db(power: Tensor) -> Tensor:
    return 10.0 * power.clamp_min(10.0 ** (SILENCE_DB / 10.0)).log10()


def _active(levels_db: Tensor) -> Tensor:
    """Which frames hold speech, [..., N] -> bool [..., N]."""
    if levels_db.shape[-1] == 0:
        return torch.zeros_like(levels_db, dtype=torch.bool)
    # A little above the floor: the floor itself is not exact in float32.
    audible = levels_db > SILENCE_DB + 0.01
    reference = torch.quantile(levels_db, 0.95, dim=-1, keepdim=True)
    loudest = levels_db.amax(-1, keepdim=True)
    reference = torch.where(reference > SILENCE_DB + 0.01, reference, loudest)
    return audible & (levels_db >= reference - ACTIVE_RANGE_DB)
