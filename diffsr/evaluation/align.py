"""Delay and gain between an estimate and its reference.

    (d, g) = argmin | e(n) - g s(n - d) |^2

for estimate `e` and reference `s`: `d` is where the cross-correlation is largest in size, `g` follows by
least squares. Without a delay, a restored recording that is 1 ms late scores like noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from diffsr.evaluation.guards import by_row, double, undefined
from diffsr.signal.levels import db

MAX_DELAY_S = 0.05
MIN_CORRELATION = 0.1
"""Below this the estimate has nothing in common with the reference (SI-SDR -20 dB): no delay is undone."""
_FINE = 32
"""Steps per sample in the search for the fraction of a sample."""
_TAPS = 32
"""Lags to either side from which the correlation between samples is interpolated."""


@dataclass(frozen=True)
class Alignment:
    """How an estimate lies to its reference.

    Attributes:
        delay_samples: The estimate is so much later; negative: earlier.
        gain: Factor of the reference in the estimate, negative for opposite polarity; NaN where undefined.
        correlation: Size of the normalised cross-correlation at that delay, 0 to 1.
    """

    delay_samples: float
    gain: float
    correlation: float

    def aligned(self, est: Tensor, ref: Tensor) -> tuple[Tensor, Tensor]:
        """The estimate with delay and gain undone, and the reference, [..., T] -> both float64 [..., T'].

        Samples that only one of them has are left out, so T' is shorter by the delay.
        """
        est, ref = double(est), double(ref)
        n_samples = est.shape[-1]
        whole = round(self.delay_samples)
        first, last = max(0, -whole), n_samples - max(0, whole)
        moved = _advanced(est, self.delay_samples - whole)[..., first + whole : last + whole]
        gain = self.gain if math.isfinite(self.gain) and self.gain != 0.0 else 1.0
        return moved / gain, ref[..., first:last]


def align(est: Tensor, ref: Tensor, rate_hz: int, max_delay_s: float = MAX_DELAY_S) -> Alignment:
    """Find delay and gain of an estimate, [T] each.

    Args:
        est: Estimate.
        ref: Reference of the same length.
        rate_hz: Sample rate of both.
        max_delay_s: Largest delay to either side; never more than a quarter of the signal.

    Returns:
        The alignment; delay 0, gain NaN and correlation 0 where a signal is silent or not finite. The
        delay is 0 too where the correlation stays below 0.1.

    Raises:
        ValueError: The shapes differ or there are no samples.
    """
    if bool(undefined(est, ref).any()):
        return Alignment(0.0, math.nan, 0.0)
    e, r = (wave - wave.mean() for wave in (double(est), double(ref)))
    reach = min(round(max_delay_s * rate_hz), len(e) // 4)
    lags = _correlation(e, r)
    near = torch.cat([lags[-reach:], lags[: reach + 1]]) if reach else lags[:1]
    whole = int(near.abs().argmax()) - reach
    exact, found = _fit(e, r, whole), _fit(e, r, _refined(lags, whole))
    if found.correlation < exact.correlation + 1e-9:
        found = exact
    return found if found.correlation >= MIN_CORRELATION else _fit(e, r, 0.0)


def delay_ms(est: Tensor, ref: Tensor, rate_hz: int) -> Tensor:
    """Delay of the estimate in ms, [..., T] -> float32 [...]; NaN where a signal is silent or not finite."""
    return _each(est, ref, lambda found: 1000.0 * found.delay_samples / rate_hz, rate_hz)


def gain_db(est: Tensor, ref: Tensor, rate_hz: int) -> Tensor:
    """Level of the reference in the estimate in dB, [..., T] -> float32 [...]; NaN as for the delay."""
    return _each(est, ref, lambda found: db(abs(found.gain)), rate_hz)


def _each(est: Tensor, ref: Tensor, value: Callable[[Alignment], float], rate_hz: int) -> Tensor:
    skip = undefined(est, ref)
    return by_row(lambda e, r: value(align(e, r, rate_hz)), (est, ref), skip)


def _fit(est: Tensor, ref: Tensor, delay_samples: float) -> Alignment:
    """Gain and correlation at a delay."""
    est, ref = Alignment(delay_samples, 1.0, 0.0).aligned(est, ref)
    product, energy = float((est * ref).sum()), float(ref.square().sum())
    both = math.sqrt(energy * float(est.square().sum()))
    if both == 0.0:
        return Alignment(delay_samples, math.nan, 0.0)
    return Alignment(delay_samples, product / energy, abs(product) / both)


def _refined(lags: Tensor, whole: int) -> float:
    """Largest cross-correlation within one sample around a whole lag, [T] of all lags -> fraction."""
    lags = lags.cpu()  # few are looked at
    taps = torch.arange(-_TAPS, _TAPS + 1, dtype=lags.dtype)
    values = lags[(whole + torch.arange(-_TAPS, _TAPS + 1)) % len(lags)]
    fractions = torch.linspace(-1.0, 1.0, 2 * _FINE + 1, dtype=lags.dtype)
    distance = fractions[:, None] - taps
    window = (math.pi * distance / (2 * (_TAPS + 1))).cos().square()
    sizes = ((torch.sinc(distance) * window) @ values).abs()
    best = int(sizes[1:-1].argmax()) + 1
    left, middle, right = (float(size) for size in sizes[best - 1 : best + 2])
    bend = left - 2.0 * middle + right
    vertex = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return whole + float(fractions[best]) + max(-0.5, min(0.5, vertex)) / _FINE


def _correlation(est: Tensor, ref: Tensor) -> Tensor:
    """Cross-correlation at all lags, negative ones at the end."""
    n_fft = 2 ** math.ceil(math.log2(2 * len(est)))
    return torch.fft.irfft(torch.fft.rfft(est, n_fft) * torch.fft.rfft(ref, n_fft).conj(), n_fft)


def _advanced(wave: Tensor, samples: float) -> Tensor:
    """Moved to the left by less than a sample, [..., T] -> [..., T]."""
    if samples == 0.0:
        return wave
    n_samples = wave.shape[-1]
    n_fft = 2 ** math.ceil(math.log2(n_samples + 2 * _TAPS))
    turn = torch.arange(n_fft // 2 + 1, dtype=wave.dtype, device=wave.device) * (
        2 * math.pi * samples / n_fft
    )
    moved = torch.fft.rfft(wave, n_fft) * torch.polar(torch.ones_like(turn), turn)
    return torch.fft.irfft(moved, n_fft)[..., :n_samples]
