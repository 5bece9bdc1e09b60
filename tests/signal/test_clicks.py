from __future__ import annotations

import pytest
import torch
from scipy.ndimage import median_filter

from diffsr.signal.clicks import BINS, FRAMES, RATIO, click_power
from diffsr.signal.stft import STFT


def power_of(wave):
    return STFT()(wave).abs().square()


def noise(n_samples=32_000, seed=0):
    return 0.01 * torch.randn(1, n_samples, generator=torch.Generator().manual_seed(seed))


def test_it_is_the_difference_of_scipys_medians():
    power = power_of(noise(80_000))  # more frames than are done at once
    over_bins = median_filter(power.numpy(), size=(1, BINS, 1), mode="mirror")
    over_frames = median_filter(power.numpy(), size=(1, 1, FRAMES), mode="nearest")
    expected = torch.from_numpy(over_bins - RATIO * over_frames).clamp_min(0)
    torch.testing.assert_close(click_power(power), expected)


def test_a_click_in_noise_is_found_in_its_frames_alone():
    y = noise()
    y[0, 16_000:16_040] += 0.5 * torch.randn(40, generator=torch.Generator().manual_seed(1))
    power = power_of(y)
    found = click_power(power)
    around = slice(16_000 // 128 - 2, 16_000 // 128 + 3)
    inside = found[..., around].sum()
    assert float(inside) > 0.3 * float(power[..., around].sum())
    assert float(found.sum() - inside) < 0.02 * float(inside)


def test_steady_sounds_are_none():
    time_s = torch.arange(32_000) / 16_000
    voice = sum(torch.sin(2 * torch.pi * 150 * k * time_s) / k for k in range(1, 30))
    for wave in (noise(), 0.1 * voice[None] + 0.1 * noise(seed=1)):
        power = power_of(wave)
        assert float(click_power(power)[..., 20:-20].sum()) < 0.05 * float(power[..., 20:-20].sum())


@pytest.mark.parametrize("n_samples", [1_600, 4_000])
def test_short_recordings_and_silence(n_samples):
    power = power_of(torch.zeros(2, n_samples))
    assert click_power(power).shape == power.shape
    assert not bool(click_power(power).any())
