"""What the encoder shall not hear is drawn as described, for each recording by itself."""

from __future__ import annotations

import pytest
import torch

from diffsr.signal.levels import db, rms
from diffsr.speakers.augmentation import SPEEDS, Disturbances, change_speed, colour, disturb

RATE_HZ = 16_000
NOTHING = Disturbances(colour_db=0.0, low_pass=0.0, noise=0.0, denoised=0.0)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def tone(hz: float, n_samples: int) -> torch.Tensor:
    return torch.sin(2 * torch.pi * hz * torch.arange(n_samples) / RATE_HZ)


def test_without_disturbances_nothing_changes():
    wave = torch.randn(3, 8_000)
    torch.testing.assert_close(disturb(wave, RATE_HZ, NOTHING, generator()), wave, atol=1e-5, rtol=0)


def test_the_same_generator_gives_the_same():
    wave = torch.randn(5, 8_000)
    first, second = (disturb(wave, RATE_HZ, Disturbances(), generator()) for _ in range(2))
    assert torch.equal(first, second)
    assert bool(first.isfinite().all())


def test_the_recordings_themselves_stay():
    wave = torch.randn(4, 8_000)
    before = wave.clone()
    disturb(wave, RATE_HZ, Disturbances(), generator())
    assert torch.equal(wave, before)


@pytest.mark.parametrize("snr_db", [0.0, 20.0])
def test_noise_has_its_level(snr_db):
    wave = torch.randn(6, 16_000)
    how = Disturbances(colour_db=0.0, low_pass=0.0, noise=1.0, snr_db=(snr_db, snr_db), denoised=0.0)
    noise = disturb(wave, RATE_HZ, how, generator()) - wave
    torch.testing.assert_close(db(rms(wave) / rms(noise)), torch.full((6,), snr_db), atol=0.05, rtol=0)


def test_a_denoiser_leaves_less_the_louder_the_noise():
    speech = tone(300, 16_000).repeat(4, 1) * (torch.arange(16_000) // 2_000 % 2)
    left = []
    for snr_db in (-15.0, 15.0):
        how = Disturbances(
            colour_db=0.0, low_pass=0.0, noise=0.0, denoised=1.0, denoised_snr_db=(snr_db, snr_db)
        )
        error = disturb(speech, RATE_HZ, how, generator()) - speech
        left.append(float(db(rms(speech) / rms(error)).mean()))
    assert left[0] > -15 + 10  # it does denoise
    assert left[1] > left[0] + 15


def test_the_low_pass_takes_only_what_lies_above():
    wave = torch.stack([tone(1_000, 16_000), tone(7_990, 16_000)])
    cut = colour(wave, RATE_HZ, 0.0, 1.0, generator())
    torch.testing.assert_close(cut[0], wave[0], atol=1e-3, rtol=0)
    assert float(rms(cut[1]) / rms(wave[1])) < 0.1


def test_speeds_move_tones():
    n_samples = 8_000
    wave = tone(1_000, int(1.1 * n_samples) + 1).repeat(len(SPEEDS), 1)
    changed = change_speed(wave, torch.arange(len(SPEEDS)), n_samples, RATE_HZ)
    peak_hz = torch.fft.rfft(changed).abs().argmax(-1) * RATE_HZ / n_samples
    assert peak_hz.tolist() == [1_000 * speed for speed in SPEEDS]
    torch.testing.assert_close(rms(changed), rms(wave), atol=0.01, rtol=0)
