"""The noise floor of recordings that were muted or padded with digital silence."""

from __future__ import annotations

import pytest
import torch

from diffsr.likelihoods import DriftingNoise
from diffsr.likelihoods.base import FLOOR
from diffsr.signal.noise_floor import muted_frames, noise_floor
from diffsr.signal.stft import STFT

RATE_HZ = 16000
LEVEL = 0.02


@pytest.fixture
def noise():
    return LEVEL * torch.randn(1, 4 * RATE_HZ, generator=torch.Generator().manual_seed(0))


def power_of(wave):
    return STFT(512, 128)(wave).abs().square()


def muted(wave, start_s, end_s):
    wave = wave.clone()
    wave[..., round(start_s * RATE_HZ) : round(end_s * RATE_HZ)] = 0.0
    return wave


@pytest.mark.parametrize(("start_s", "end_s"), [(1.0, 2.5), (0.0, 1.5), (2.5, 4.0)])
def test_the_floor_is_that_of_the_noise_around_what_was_muted(noise, start_s, end_s):
    power = power_of(muted(noise, start_s, end_s))
    expected = noise_floor(power_of(noise)).mean()
    assert float(noise_floor(power).mean()) == pytest.approx(float(expected), rel=0.15)
    frames = muted_frames(power)[0, 0]
    seconds = torch.arange(len(frames)) * 128 / RATE_HZ
    inside = (seconds > start_s + 0.02) & (seconds < end_s - 0.02)
    outside = (seconds < start_s - 0.02) | (seconds > end_s + 0.02)
    assert frames[inside].all()
    assert not frames[outside].any()


@pytest.mark.parametrize("n_frames", [300, 505, 619, 624, 743, 1500])
def test_noise_that_rises_near_the_end_is_heard_to_the_end(n_frames):
    level = torch.where(torch.arange(n_frames) < n_frames - 425, 1.0, 10.0)
    rng = torch.Generator().manual_seed(1)
    power = level * torch.rand(1, 257, n_frames, generator=rng).log().neg()
    found = noise_floor(power, bias=1.0)[..., -100:].mean() / level[-1]
    last_window = noise_floor(power[..., -500:], bias=1.0)[..., -100:].mean() / level[-1]
    assert float(found) == pytest.approx(float(last_window), rel=0.05)


def test_nothing_is_muted_where_sound_ends_softly_or_never(noise):
    time_s = torch.arange(4 * RATE_HZ) / RATE_HZ
    bursts = torch.sin(2 * torch.pi * 440 * time_s) * torch.sin(torch.pi * time_s).clamp_min(0) ** 4
    bursts[bursts.abs() < 1e-4] = 0.0
    assert bursts.eq(0).float().mean() > 0.5
    assert not muted_frames(power_of(bursts[None])).any()
    assert not muted_frames(power_of(noise)).any()
    assert not muted_frames(torch.zeros(1, 257, 50)).any()


def test_rows_do_not_change_each_other(noise):
    both = power_of(torch.cat([noise, muted(noise, 1.0, 2.5)]))
    torch.testing.assert_close(noise_floor(both)[:1], noise_floor(both[:1]), rtol=1e-6, atol=0)
    torch.testing.assert_close(noise_floor(both)[1:], noise_floor(both[1:]), rtol=1e-6, atol=0)


def test_drifting_noise_keeps_its_level_up_to_what_was_muted_and_has_none_there(noise):
    y = muted(noise, 1.0, 2.5)[:, None]
    model = DriftingNoise(clicks=False)
    model.reset(y, torch.arange(1))
    for _ in range(5):
        model.update(y, torch.zeros(1))
    v = model.variance[0] / (model.stft.window_energy * LEVEL**2)
    frames = muted_frames(power_of(y[:, 0]))[0, 0]
    assert float(model.variance[0][:, frames].max()) == pytest.approx(FLOOR)
    edge = [115, 325]  # 10 frames from either end of the silence
    assert not frames[edge].any()
    assert v[:, edge].mean(0).tolist() == pytest.approx([1.0, 1.0], rel=0.1)
