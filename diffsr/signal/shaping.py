"""Another speed and another timbre for many waveforms at once, in the frequency domain.

A waveform of `n_in` samples becomes one of `n_out` samples by cutting or extending its spectrum: band-limited
interpolation without aliasing, at the price of two transforms. The equaliser multiplies the same spectrum.
Transforms are circular, so that the ends of a waveform belong to its margins, which are thrown away.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

SPEEDS = (9 / 10, 15 / 16, 1.0, 16 / 15, 10 / 9)
"""Factors of speed, each with its inverse; 1.8 and 1.1 semitones down and up."""
N_TERMS = 3
"""Cosines that make up the curve of an equaliser."""
EQUALISER_FROM_HZ = 100.0
"""The curve is constant below."""
_UNIT = 720
"""All lengths of this many samples stay whole at every speed."""
MARGIN = _UNIT
"""Samples before and after a waveform that a change needs; a multiple of the unit."""


def changed_length(n_samples: int) -> int:
    """Length with margins, at least `n_samples` + 2 `MARGIN`: whole at every speed and fast to transform."""
    n_units = math.ceil((n_samples + 2 * MARGIN) / _UNIT)
    while not _is_smooth(n_units):
        n_units += 1
    return n_units * _UNIT


def length_at(speed: float, n_samples: int) -> int:
    """Samples that become `n_samples` when they are played `speed` times as fast, rounded."""
    return round(n_samples * speed)


def change(wave: Tensor, n_out: int, tilt: Tensor, rate_hz: int) -> Tensor:
    """Play waveforms at another speed and equalise them, [B, n_in] -> [B, n_out].

    The factor of speed is n_in / n_out: a tone of f Hz becomes one of f n_in / n_out. What would lie above
    half the rate is removed. No delay, no change of level.

    Args:
        wave: Waveforms with margins.
        n_out: Length to change them to, even.
        tilt: Coefficients of the equaliser in dB, [B, N_TERMS], see `equaliser_db`.
        rate_hz: Sample rate.
    """
    if len(wave) == 1:
        # Long transforms of a single row take another algorithm on CPUs, which rounds differently and takes
        # longer than two rows do.
        return change(wave.expand(2, -1), n_out, tilt.expand(2, -1), rate_hz)[:1]
    spectrum = torch.fft.rfft(wave)[:, : n_out // 2 + 1]
    curve = equaliser_db(tilt, n_out, rate_hz)[:, : spectrum.shape[1]]
    factor = torch.exp(curve.mul_(math.log(10) / 20)).mul_(n_out / wave.shape[1])
    return torch.fft.irfft(spectrum * factor, n=n_out)


def equaliser_db(tilt: Tensor, n_fft: int, rate_hz: int) -> Tensor:
    """Gain curves in dB over the bins of a transform, [B, N_TERMS] -> [B, n_fft // 2 + 1].

    gain(f) = sum_k tilt_k cos(pi k u), k = 1..N_TERMS, where u goes from 0 at 100 Hz to 1 at half the rate on
    a logarithmic axis. So |gain| is at most sum_k |tilt_k|, and its mean over log frequency is 0.
    """
    basis = _basis(n_fft, rate_hz, tilt.device, tilt.dtype)
    # Term by term and not as a product of matrices, whose rounding depends on the size of the batch.
    curve = tilt[:, 0, None] * basis[0]
    for term in range(1, N_TERMS):
        curve += tilt[:, term, None] * basis[term]
    return curve


@functools.lru_cache(maxsize=4)
def _basis(n_fft: int, rate_hz: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The cosines of the equaliser, [N_TERMS, n_fft // 2 + 1]."""
    hz = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * rate_hz / n_fft
    octaves = (hz.clamp_min(EQUALISER_FROM_HZ) / EQUALISER_FROM_HZ).log2()
    place = octaves / math.log2(rate_hz / 2 / EQUALISER_FROM_HZ)
    terms = torch.arange(1, N_TERMS + 1, dtype=torch.float64)
    return torch.cos(math.pi * terms[:, None] * place).to(dtype).to(device)


def _is_smooth(number: int) -> bool:
    """Whether 2, 3 and 5 are its only prime factors."""
    for prime in (2, 3, 5):
        while number % prime == 0:
            number //= prime
    return number == 1
