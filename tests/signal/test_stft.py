from __future__ import annotations

import pytest
import torch

from diffsr.signal.noise_floor import noise_floor
from diffsr.signal.stft import STFT
from diffsr.signal.windows import crossfade, window_starts


@pytest.mark.parametrize("window", ["hann", "sqrt_hann"])
@pytest.mark.parametrize(("n_fft", "hop"), [(512, 128), (512, 256), (256, 64)])
@pytest.mark.parametrize("n_samples", [1, 300, 4097, 16_000])
def test_the_inverse_brings_the_signal_back(window, n_fft, hop, n_samples):
    stft = STFT(n_fft, hop, window)
    wave = torch.randn(2, 3, n_samples)
    spec = stft(wave)
    assert spec.shape == (2, 3, n_fft // 2 + 1, n_samples // hop + 1)
    torch.testing.assert_close(stft.inverse(spec, n_samples), wave, rtol=1e-4, atol=1e-5)


def test_white_noise_has_the_variance_that_bin_variance_says():
    stft = STFT(512, 128)
    noise = 0.3 * torch.randn(4, 160_000, generator=torch.Generator().manual_seed(0))
    measured = stft(noise)[:, 1:-1, 4:-4].abs().square().mean()
    assert float(measured) == pytest.approx(float(stft.bin_variance(torch.tensor(0.09))), rel=0.02)


def test_an_unknown_window_is_refused():
    with pytest.raises(ValueError, match="hann"):
        STFT(window="boxcar")


@pytest.mark.parametrize(
    ("n_samples", "window", "overlap"), [(10, 20, 5), (100, 20, 5), (101, 20, 0), (21, 20, 19)]
)
def test_windows_cover_everything_and_the_cross_fade_is_exact(n_samples, window, overlap):
    starts = window_starts(n_samples, window, overlap)
    wave = torch.randn(3, n_samples)
    if n_samples <= window:
        assert starts == [0]
        return
    assert starts[0] == 0
    assert starts[-1] == n_samples - window
    assert all(b - a <= window - overlap for a, b in zip(starts, starts[1:], strict=False))
    pieces = torch.stack([wave[:, s : s + window] for s in starts], dim=-2)
    torch.testing.assert_close(crossfade(pieces, starts, n_samples), wave)


def test_the_noise_floor_of_white_noise_is_its_power():
    power = STFT()(torch.randn(2, 96_000, generator=torch.Generator().manual_seed(0))).abs().square()
    floor = noise_floor(power)
    assert floor.shape == power.shape
    assert float(floor.mean() / power.mean()) == pytest.approx(1, abs=0.15)


def test_the_noise_floor_follows_a_slow_change_of_level():
    ramp = torch.linspace(0.1, 1.0, 320_000)  # 20 s
    power = STFT()(ramp * torch.randn(1, 320_000, generator=torch.Generator().manual_seed(0))).abs().square()
    floor = noise_floor(power).mean(1)[0]
    assert floor[2000] > 5 * floor[300]


def test_the_noise_floor_changes_where_the_noise_does():
    level = torch.where(torch.arange(320_000) < 160_000, 0.1, 1.0)  # a step after 10 of 20 s
    power = STFT()(level * torch.randn(1, 320_000, generator=torch.Generator().manual_seed(0))).abs().square()
    floor = noise_floor(power).mean(1)[0]
    half = (floor[0] * floor[-1]).sqrt()
    assert abs(int((floor > half).nonzero()[0]) - 1250) < 150  # the window is 500 frames


@pytest.mark.parametrize("n_frames", [1, 2, 5, 40])
def test_short_recordings_have_a_noise_floor_too(n_frames):
    floor = noise_floor(torch.rand(1, 257, n_frames))
    assert floor.shape == (1, 257, n_frames)
    assert torch.isfinite(floor).all()
