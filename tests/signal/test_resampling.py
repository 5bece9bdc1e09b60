import math

import pytest
import torch

from diffsr.signal.resampling import resample


def tone(rate_hz, seconds=1.0, frequency_hz=440.0):
    return torch.sin(2 * math.pi * frequency_hz * torch.arange(round(seconds * rate_hz)) / rate_hz)


@pytest.mark.parametrize("from_hz", [8000, 11025, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("to_hz", [8000, 16000, 44100])
def test_a_tone_stays_in_place(from_hz, to_hz):
    got = resample(tone(from_hz), from_hz, to_hz)
    assert got.shape == (to_hz,)
    edge = to_hz // 10
    assert (got - tone(to_hz))[edge:-edge].abs().max() < 1e-3


@pytest.mark.parametrize("n", [1, 2, 100, 44099, 44100, 44101])
def test_the_way_back_has_the_exact_length(n):
    wave = torch.linspace(-0.5, 0.5, n).repeat(2, 1)
    there = resample(wave, 44100, 16000)
    assert there.shape == (2, round(n * 16000 / 44100))
    assert resample(there, 16000, 44100, n_samples=n).shape == wave.shape


def test_leading_dimensions_are_independent():
    rng = torch.Generator().manual_seed(0)
    wave = torch.randn(3, 2, 4000, generator=rng)
    got = resample(wave, 16000, 8000)
    assert got.shape == (3, 2, 2000)
    torch.testing.assert_close(got[1, 0], resample(wave[1, 0], 16000, 8000))


def test_dtype_is_kept_and_double_is_exact():
    assert resample(tone(16000).half(), 16000, 8000).dtype == torch.float16
    assert resample(tone(16000).double(), 16000, 8000).dtype == torch.float64


def test_same_rate_is_the_same_wave():
    wave = tone(16000)
    assert torch.equal(resample(wave, 16000, 16000), wave)
    assert torch.equal(resample(wave, 16000, 16000, n_samples=100), wave[:100])


def test_nothing_stays_nothing():
    assert resample(torch.zeros(2, 0), 44100, 16000).shape == (2, 0)
