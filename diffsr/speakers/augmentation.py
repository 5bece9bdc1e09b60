"""What differs between recordings of one talker and an encoder shall not hear: colour, noise.

All functions take a generator on the device of the waves and treat each wave `[B, T]` on its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from diffsr.signal.levels import from_db
from diffsr.signal.shaping import N_TERMS, change, length_at
from diffsr.signal.stft import STFT

SPEEDS = (1.0, 0.9, 1.1)
"""A talker at another speed has another pitch and another vocal tract: a talker of its own."""


@dataclass(frozen=True)
class Disturbances:
    """How strongly recordings are disturbed; each is drawn anew for each wave.

    Attributes:
        colour_db: Standard deviation of the equalisation at its nodes, one an octave.
        low_pass: Share of waves that lose what lies above 3.4-8 kHz.
        noise: Share of waves with added noise, white or coloured.
        snr_db: Range of its signal-to-noise ratio.
        denoised: Share of waves that are what a denoiser leaves of speech in white noise.
        denoised_snr_db: Range of the signal-to-noise ratio before the denoiser.
    """

    colour_db: float = 6.0
    low_pass: float = 0.3
    noise: float = 0.5
    snr_db: tuple[float, float] = (0.0, 40.0)
    denoised: float = 0.3
    denoised_snr_db: tuple[float, float] = (-15.0, 15.0)


def disturb(wave: Tensor, rate_hz: int, how: Disturbances, rng: torch.Generator) -> Tensor:
    """Another recording of the same speech, `[B, T] -> [B, T]`: colour, then noise or a denoiser."""
    wave = colour(wave, rate_hz, how.colour_db, how.low_pass, rng)
    kind = torch.rand(wave.shape[0], generator=rng, device=wave.device)
    noisy = (kind < how.noise).nonzero()[:, 0]
    if len(noisy):  # transforms take no empty batches
        wave[noisy] += _noise(wave[noisy], rate_hz, how.snr_db, rng)
    denoised = ((kind >= how.noise) & (kind < how.noise + how.denoised)).nonzero()[:, 0]
    if len(denoised):
        wave[denoised] = _denoised(wave[denoised], rate_hz, how.denoised_snr_db, rng)
    return wave


def colour(
    wave: Tensor, rate_hz: int, colour_db: float | Tensor, low_pass: float, rng: torch.Generator
) -> Tensor:
    """A smooth random equalisation without delay: normal gains at the octaves from 62.5 Hz on.

    A share `low_pass` of the waves also loses 40 dB above a random frequency of 3.4 to 8 kHz.
    """
    rows, n_samples = wave.shape
    octaves = math.ceil(math.log2(rate_hz / 2 / 62.5))
    nodes = colour_db * torch.randn(rows, octaves + 1, generator=rng, device=wave.device)
    hz = torch.fft.rfftfreq(n_samples, 1 / rate_hz, device=wave.device)
    place = (hz / 62.5).clamp_min(1.0).log2()
    left = place.floor().long().clamp_max(octaves - 1)
    gain_db = torch.lerp(nodes[:, left], nodes[:, left + 1], (place - left)[None])
    edge_hz = 3400 + 4600 * _uniform(wave, rng)
    edge_hz = torch.where(_uniform(wave, rng) < low_pass, edge_hz, float(rate_hz))
    gain_db = torch.where(hz > edge_hz, gain_db - 40, gain_db)
    return torch.fft.irfft(torch.fft.rfft(wave) * from_db(gain_db), n_samples)


def change_speed(wave: Tensor, speed: Tensor, n_samples: int, rate_hz: int) -> Tensor:
    """The beginning of each wave at the speed `SPEEDS[speed]`, `[B, T] -> [B, n_samples]`.

    `speed` is int64 `[B]`; `n_samples` is even, and T at least `n_samples * max(SPEEDS)`.
    """
    out = wave.new_empty(wave.shape[0], n_samples)
    for index, value in enumerate(SPEEDS):
        rows = (speed == index).nonzero()[:, 0]
        if len(rows) == 0:  # which transforms do not take
            continue
        plain = wave.new_zeros(len(rows), N_TERMS)
        out[rows] = change(wave[rows, : length_at(value, n_samples)], n_samples, plain, rate_hz)
    return out


def _noise(wave: Tensor, rate_hz: int, snr_db: tuple[float, float], rng: torch.Generator) -> Tensor:
    """Stationary noise, half of it white and half coloured."""
    noise = torch.randn(wave.shape, generator=rng, device=wave.device)
    noise = colour(noise, rate_hz, torch.where(_uniform(wave, rng) < 0.5, 0.0, 12.0), 0.0, rng)
    return noise * _rms(wave) / _rms(noise) / _ratio(wave, snr_db, rng)


def _denoised(wave: Tensor, rate_hz: int, snr_db: tuple[float, float], rng: torch.Generator) -> Tensor:
    """The Wiener estimate of speech in white noise that knows the local power of the speech.

    It stands for the estimate of a prior at a noise level: holes where speech is weak, residual noise, and
    nothing left of the high frequencies at low signal-to-noise ratios.
    """
    stft = STFT(2 * round(0.016 * rate_hz), round(0.016 * rate_hz), window="sqrt_hann").to(wave.device)
    noise = torch.randn(wave.shape, generator=rng, device=wave.device) * _rms(wave)
    noise = noise / _ratio(wave, snr_db, rng)
    speech_power = F.avg_pool2d(stft(wave).abs().square(), 3, stride=1, padding=1)
    noise_power = stft.bin_variance(noise.square().mean(-1))
    gain = speech_power / (speech_power + noise_power).clamp_min(torch.finfo(wave.dtype).tiny)
    return stft.inverse(gain * stft(wave + noise), wave.shape[-1])


def _uniform(wave: Tensor, rng: torch.Generator) -> Tensor:
    """One number of 0 to 1 for each wave, `[B, 1]`."""
    return torch.rand(wave.shape[0], 1, generator=rng, device=wave.device)


def _ratio(wave: Tensor, range_db: tuple[float, float], rng: torch.Generator) -> Tensor:
    low, high = range_db
    return from_db(low + (high - low) * _uniform(wave, rng))


def _rms(wave: Tensor) -> Tensor:
    return wave.square().mean(-1, keepdim=True).sqrt()
