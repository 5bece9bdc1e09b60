"""Noise that nobody recorded: random spectra that come and go in random ways."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffsr.errors import ConfigError
from diffsr.noise.chance import between, by_ratio, smooth_curves
from diffsr.noise.courses import random_courses_db
from diffsr.noise.spectra import gliding_db, random_spectra_db
from diffsr.signal.levels import from_db
from diffsr.signal.stft import STFT

PARTS = 3
"""Of a noise; the second and the third are often missing."""
MISSING = 0.35
VOICES = (4, 9)
"""Of babble; the last number is one too many."""
TO_POWER = math.log(10) / 10


class ImaginedNoise:
    """Draws noise for clean speech, so that a network learns what is not speech without recorded noise.

    Up to three parts, each of a random spectrum (coloured, in bands, harmonic and gliding) and a random
    course (it lasts, drifts, ticks, bursts), over a floor; instead of them babble, which is the sum of other
    crops of speech, sometimes played backwards. What a noise model assumes of noise, `N ~ CN(0, v)`, drawn
    from a wide choice of v (docs/enhancement_trials.md).

    Args:
        snr_low_db: Lowest signal-to-noise ratio of a crop, by RMS.
        snr_high_db: Highest.
        babble_share: Of crops with babble.

    Raises:
        ConfigError: The lowest ratio is above the highest, or the share is outside 0..1.
    """

    def __init__(
        self, snr_low_db: float = -8.0, snr_high_db: float = 22.0, babble_share: float = 0.15
    ) -> None:
        if not snr_low_db <= snr_high_db:
            raise ConfigError(
                f"ImaginedNoise has snr_low_db = {snr_low_db:g} and snr_high_db = {snr_high_db:g}; expected "
                "the first to be the lower one."
            )
        if not 0 <= babble_share <= 1:
            raise ConfigError(f"ImaginedNoise has babble_share = {babble_share:g}; expected 0 to 1.")
        self.snr_low_db, self.snr_high_db, self.babble_share = snr_low_db, snr_high_db, babble_share

    def __call__(self, wave: Tensor, stft: STFT, rate_hz: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Powers of noisy speech and of its noise, `[B, F, N]` each.

        Args:
            wave: Clean speech `[B, T]`.
            stft: Of the powers.
            rate_hz: Sampling rate.
            rng: On the device of the speech.
        """
        speech = stft(wave)
        noise = self._noise(wave, stft, rate_hz, rng)
        babble = _babble(wave, stft, rng)
        chosen = torch.rand(len(wave), generator=rng, device=rng.device) < self.babble_share
        floor = from_db(between(-25, 0, len(wave), rng))[:, None, None]
        noise = torch.where(chosen[:, None, None], babble + floor * noise, noise)
        snr_db = between(self.snr_low_db, self.snr_high_db, len(wave), rng)
        noise = noise * (_rms(speech) / _rms(noise).clamp_min(1e-12) * from_db(-snr_db)[:, None, None])
        return (speech + noise).abs().square(), noise.abs().square()

    def _noise(self, wave: Tensor, stft: STFT, rate_hz: int, rng: torch.Generator) -> Tensor:
        """Spectrogram of unit RMS."""
        white = stft(torch.randn(wave.shape, generator=rng, device=rng.device))
        power = random_power(len(wave), white.shape[1], white.shape[2], stft.hop_samples, rate_hz, rng)
        noise = white * power.sqrt()
        return noise / _rms(noise)


def random_power(
    n: int, n_bins: int, n_frames: int, hop_samples: int, rate_hz: int, rng: torch.Generator
) -> Tensor:
    """Powers v of noises, `[n, F, N]`, of mean 1 but for their floors."""
    total = torch.zeros(n, n_bins, n_frames, device=rng.device)
    for part in range(PARTS):
        colour, glides = random_spectra_db(n, n_bins, rate_hz, rng)
        course = random_courses_db(n, n_frames, rate_hz / hop_samples, rng)
        power = (TO_POWER * (colour[:, :, None] + course[:, None])).exp()
        if bool(glides.any()):
            harmonic = gliding_db(colour[glides], n_frames, rate_hz, rng)
            power[glides] = (TO_POWER * (harmonic + course[glides][:, None])).exp()
        level = 10 ** (between(-25, 5, n, rng) / 10) if part else torch.ones(n, device=rng.device)
        is_there = torch.rand(n, generator=rng, device=rng.device) >= (MISSING if part else 0.0)
        total += power * (level * is_there / power.mean((1, 2)))[:, None, None]
    return total / total.mean((1, 2), keepdim=True) + _floor(n, n_bins, rng)[:, :, None]


def _floor(n: int, n_bins: int, rng: torch.Generator) -> Tensor:
    """Power of what is always there, `[n, F]`, 10 to 40 dB below the rest."""
    bends = 6 * smooth_curves(by_ratio(5, 80, n, rng), n_bins, rng)
    tilt = torch.linspace(1, -1, n_bins, device=rng.device) * between(0, 15, n, rng)[:, None]
    power = (TO_POWER * (bends + tilt)).exp()
    return power / power.mean(1, keepdim=True) * 10 ** (between(-40, -10, n, rng) / 10)[:, None]


def _babble(wave: Tensor, stft: STFT, rng: torch.Generator) -> Tensor:
    """Of other crops of the batch, as many for all, `[B, F, N]` of unit RMS; zeros for a batch of one."""
    others = len(wave) - 1
    count = min(int(torch.randint(*VOICES, (), generator=rng, device=rng.device)), others)
    total = torch.zeros_like(wave)
    for offset in torch.randperm(others, generator=rng, device=rng.device)[:count].tolist():
        gain = from_db(between(-8, 0, len(wave), rng))
        # Each voice begins elsewhere, so that pauses of crops do not meet.
        start = int(torch.randint(wave.shape[-1], (), generator=rng, device=rng.device))
        total += gain[:, None] * wave.roll(offset + 1, 0).roll(start, -1)
    backwards = torch.rand(len(wave), 1, generator=rng, device=rng.device) < 0.3
    spectrogram = stft(torch.where(backwards, total.flip(-1), total))
    return spectrogram / _rms(spectrogram).clamp_min(1e-12)


def _rms(spectrogram: Tensor) -> Tensor:
    """`[B, F, N] -> [B, 1, 1]`."""
    return spectrogram.abs().square().mean((1, 2), keepdim=True).sqrt()
