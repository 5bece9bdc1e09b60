"""Imagined noise: as loud as asked for, of many kinds, the same for the same seed."""

from __future__ import annotations

import math

import pytest
import torch

from diffsr.errors import ConfigError
from diffsr.noise import ImaginedNoise
from diffsr.noise.chance import by_ratio, smooth_curves
from diffsr.noise.courses import QUIET_DB, _events_db, random_courses_db
from diffsr.noise.imagined import random_power
from diffsr.noise.spectra import gliding_db, random_spectra_db
from diffsr.signal.stft import STFT

STFT_16K = STFT(512, 128)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def speech(n=6, n_samples=32_000, seed=1):
    envelope = torch.sin(torch.arange(n_samples) * 2 * math.pi * 3 / 16_000).clamp_min(0)
    return 0.05 * envelope * torch.randn(n, n_samples, generator=rng(seed))


def ratio_db(power, noise):
    return 10 * (power.mean((1, 2)) / noise.mean((1, 2))).log10()


@pytest.mark.parametrize("babble_share", [0.0, 1.0])
def test_the_ratio_is_as_asked_for(babble_share):
    wave = speech()
    for snr_db in (-5.0, 20.0):
        imagine = ImaginedNoise(snr_db, snr_db, babble_share)
        power, noise = imagine(wave, STFT_16K, 16_000, rng())
        clean = STFT_16K(wave).abs().square()
        torch.testing.assert_close(ratio_db(clean, noise), torch.full((6,), snr_db))
        # Independent of the speech: powers add up.
        total = (clean + noise).mean((1, 2))
        assert ((power.mean((1, 2)) / total - 1).abs() < 0.2).all()


def test_much_speech_is_speech():
    wave = speech()
    power, noise = ImaginedNoise(120.0, 120.0)(wave, STFT_16K, 16_000, rng())
    clean = STFT_16K(wave).abs().square()
    torch.testing.assert_close(power, clean, rtol=1e-2, atol=1e-6)
    assert noise.mean() < 1e-11 * clean.mean()


def test_a_seed_is_a_noise():
    wave, imagine = speech(), ImaginedNoise()
    one, same, other = (imagine(wave, STFT_16K, 16_000, rng(seed))[1] for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)
    assert not torch.allclose(one[0] / one[0].mean(), one[1] / one[1].mean())


def test_babble_is_made_of_the_other_crops():
    """Of one crop that is a tone and five that are silent, the others hear the tone and it hears nothing."""
    wave = torch.zeros(6, 32_000)
    wave[0] = torch.sin(torch.arange(32_000) * 2 * math.pi * 1000 / 16_000)
    from diffsr.noise.imagined import _babble

    babble = _babble(wave, STFT_16K, rng()).abs().square().mean(-1)
    heard = babble.sum(-1) > 0.1
    assert 4 <= int(heard.sum()) <= 5
    assert not bool(heard[0])
    assert (babble[heard].argmax(-1) == 32).all()  # 1 kHz of bins 31.25 Hz apart


def test_a_crop_alone_has_no_babble():
    power, noise = ImaginedNoise(0.0, 0.0, babble_share=1.0)(speech(1), STFT_16K, 16_000, rng())
    assert torch.isfinite(power).all()
    assert noise.mean() > 0


def test_curves_are_smooth_and_of_unit_variance():
    length = torch.tensor([1.0, 10.0, 40.0]).repeat_interleave(200)
    curves = smooth_curves(length, 600, rng()).view(3, 200, 600)
    torch.testing.assert_close(curves.square().mean((1, 2)), torch.ones(3), rtol=0.1, atol=0)
    slow = smooth_curves(torch.full((4000,), 250.0), 500, rng())  # hardly more than a mean of their own each
    torch.testing.assert_close(slow.square().mean(), torch.ones(()), rtol=0.1, atol=0)
    for of_length, lag in zip(curves, (1, 10, 40), strict=True):
        # White noise after a Gaussian filter of standard deviation s has exp(-lag^2 / 4 s^2).
        found = (of_length[:, lag:] * of_length[:, :-lag]).mean()
        torch.testing.assert_close(found, torch.tensor(math.exp(-0.25)), atol=0.08, rtol=0)


def test_ratios_are_evenly_spread():
    drawn = by_ratio(1, 16, 4000, rng())
    shares = [((drawn >= low) & (drawn < 2 * low)).float().mean() for low in (1, 2, 4, 8)]
    assert all(abs(share - 0.25) < 0.03 for share in shares)


def test_regular_events_tick():
    courses = _events_db(torch.ones(40, dtype=torch.bool), 1500, 125.0, rng())
    n_ticking = 0
    for course in courses:
        heard = 10 ** (course / 20)
        spectrum = torch.fft.rfft(heard - heard.mean()).abs()
        n_ticking += bool(spectrum.max() > 5 * spectrum.median())
    assert n_ticking > 30


def test_courses_last_drift_and_burst():
    courses = random_courses_db(400, 500, 125.0, rng())
    span = courses.amax(1) - courses.amin(1)
    lasting = (span == 0).float().mean()
    bursting = (courses.amin(1) <= QUIET_DB + 20).float().mean()
    assert 0.12 < lasting < 0.28
    assert bursting > 0.3
    assert torch.isfinite(courses).all()
    assert courses.amin() >= QUIET_DB


def test_harmonics_glide_with_their_tone():
    comb = gliding_db(torch.zeros(50, 257), 300, 16_000, rng())
    assert comb.max() <= 0
    assert comb.shape == (50, 257, 300)
    moving = (comb[..., 0] - comb[..., -1]).abs().amax(1)
    assert (moving > 6).float().mean() > 0.3


def test_spectra_of_all_kinds():
    colour, glides = random_spectra_db(400, 257, 16_000, rng())
    assert 0.18 < glides.float().mean() < 0.32
    in_bands = (colour - colour.median(1, keepdim=True).values).amax(1) > 35
    assert 0.05 < in_bands.float().mean() < 0.4
    assert torch.isfinite(colour).all()


def test_powers_are_positive_and_near_one():
    power = random_power(30, 257, 250, 128, 16_000, rng())
    assert (power > 0).all()
    torch.testing.assert_close(power.mean((1, 2)), torch.ones(30), atol=0.11, rtol=0)


def test_what_makes_no_sense():
    with pytest.raises(ConfigError, match="snr_low_db = 5 and snr_high_db = 0"):
        ImaginedNoise(5, 0)
    with pytest.raises(ConfigError, match="babble_share = 2; expected 0 to 1"):
        ImaginedNoise(babble_share=2)
