"""Random spectra of noise: coloured, in bands, or harmonic and gliding."""

from __future__ import annotations

import torch
from torch import Tensor

from diffsr.noise.chance import between, by_ratio, smooth_curves

BANDS = 6
"""Most bands of a spectrum; each is there in every second one."""
FAR_BELOW_DB = -60.0


def random_spectra_db(n: int, n_bins: int, rate_hz: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Spectra that last, `[n, F]`, and which of them glide instead, `[n]`: `gliding_db` draws those.

    Half are coloured, a quarter has bands, a quarter is to glide.
    """
    kind = torch.randint(4, (n,), generator=rng, device=rng.device)
    bin_hz = torch.linspace(0, rate_hz / 2, n_bins, device=rng.device)
    tilt = between(-9, 3, n, rng)[:, None] * torch.log2((bin_hz + 60) / 1000)  # dB per octave
    bends = smooth_curves(by_ratio(2, 60, n, rng), n_bins, rng) * between(1, 10, n, rng)[:, None]
    bands = _bands_db(n, bin_hz, rng) + 0.3 * tilt
    return torch.where((kind == 1)[:, None], bands, bends + tilt), kind == 2


def gliding_db(colour: Tensor, n_frames: int, rate_hz: int, rng: torch.Generator) -> Tensor:
    """Harmonics of gliding tones, from hum to whistling, coloured by spectra `[n, F]`: `[n, F, N]`."""
    n, n_bins = colour.shape
    bin_hz = torch.linspace(0, rate_hz / 2, n_bins, device=rng.device)[None, :, None]
    glide = smooth_curves(by_ratio(5, 150, n, rng), n_frames, rng) * by_ratio(0.003, 0.25, n, rng)[:, None]
    tone_hz = (by_ratio(50, 1500, n, rng)[:, None] * glide.exp())[:, None]
    width = between(0.03, 0.25, n, rng)[:, None, None]
    harmonic = bin_hz / tone_hz
    away = (harmonic - harmonic.round()).abs() * tone_hz / (20 + width * tone_hz)
    comb = (-10 * away.clamp_max(3).square()).clamp_min(-35) - 20 * (harmonic < 0.5)
    return comb + colour[:, :, None]


def _bands_db(n: int, bin_hz: Tensor, rng: torch.Generator) -> Tensor:
    centre, width = (by_ratio(*span, n * BANDS, rng).view(n, BANDS, 1) for span in ((60, 7800), (30, 1500)))
    level = between(-15, 5, n * BANDS, rng).view(n, BANDS, 1)
    there = torch.rand(n, BANDS, 1, generator=rng, device=rng.device) < 0.5
    peaks = torch.where(there, level, FAR_BELOW_DB)
    slopes = 4 * ((bin_hz - centre) / width).abs().clamp_max(8) ** 1.5
    return (peaks - slopes).amax(1).clamp_min(-50)
