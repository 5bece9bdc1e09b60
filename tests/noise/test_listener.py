"""The noise listener: any level, any length, its files; and what it is trained for."""

from __future__ import annotations

import pytest
import torch

from diffsr.errors import CheckpointError
from diffsr.noise import Listening, NoiseListener
from diffsr.noise.listener import WINDOW_FRAMES
from diffsr.noise.loss import listening_loss, slow_error


@pytest.fixture
def listener():
    torch.manual_seed(0)
    return NoiseListener(n_fft=64, hop_samples=16, width=16, depth=3).eval().requires_grad_(False)


def powers(n_frames, n=2):
    return torch.rand(n, 33, n_frames, generator=torch.Generator().manual_seed(0)).exp()


@pytest.mark.parametrize("n_frames", [1, 2, 7, 100])
def test_any_length(listener, n_frames):
    heard = listener(powers(n_frames))
    assert heard.shape == (2, 33, n_frames)
    assert (heard > 0).all()


def test_level_in_level_out(listener):
    power = powers(80)
    torch.testing.assert_close(listener(1e-6 * power), 1e-6 * listener(power), rtol=1e-3, atol=0)


def test_silence_is_finite(listener):
    assert torch.isfinite(listener(torch.zeros(1, 33, 50))).all()


def test_rows_do_not_hear_one_another(listener):
    power = powers(60)
    torch.testing.assert_close(listener(power)[[1]], listener(power[[1]]), rtol=1e-4, atol=0)


def test_windows_of_long_recordings(listener):
    power = powers(WINDOW_FRAMES + 300, 1)
    heard = listener(power)
    first = listener(power[..., :WINDOW_FRAMES])
    alone = 300  # frames that only the first window hears
    torch.testing.assert_close(heard[..., :alone], first[..., :alone])
    second = listener(power[..., 300:])
    torch.testing.assert_close(heard[..., -alone:], second[..., -alone:])
    between = heard[..., 300:WINDOW_FRAMES]
    both = torch.stack([first[..., 300:], second[..., :700]])
    low, high = both.amin(0), both.amax(0)
    assert ((between > 0.999 * low) & (between < 1.001 * high)).all()


def test_files(listener, tmp_path):
    listener.save_pretrained(tmp_path / "one")
    loaded = NoiseListener.from_pretrained(tmp_path / "one", rate_hz=16_000)
    torch.testing.assert_close(loaded(powers(40)), listener(powers(40)))
    listening = Listening(tmp_path / "one")
    torch.testing.assert_close(listening(powers(40)), listener(powers(40)))
    assert listening.stft.n_fft == 64
    with pytest.raises(CheckpointError, match="for 16000 Hz, expected one for 8000 Hz"):
        NoiseListener.from_pretrained(tmp_path / "one", rate_hz=8_000)
    with pytest.raises(CheckpointError, match="No noise listener at"):
        NoiseListener.from_pretrained(tmp_path / "nothing")


def test_sizes_that_make_no_sense():
    with pytest.raises(ValueError, match="depth is 0; expected a whole number above 0"):
        NoiseListener(depth=0)


def test_the_loss_is_least_at_the_truth():
    noise = torch.ones(1, 33, 300)
    least = listening_loss(noise.log(), noise)
    torch.testing.assert_close(least, torch.tensor(0.0), atol=1e-5, rtol=0)
    assert listening_loss(noise.log() + 0.5, noise) > 0.1
    assert listening_loss(noise.log() - 0.5, noise) > 0.1


def test_what_is_least_is_the_expected_power():
    """Not the expected logarithm: of noise that is loud in every second stretch, the mean of both powers."""
    noise = torch.tensor([0.1, 1.9]).repeat_interleave(50).repeat(4).expand(1, 33, 400)
    levels = torch.linspace(0.2, 1.8, 33)
    losses = [float(listening_loss(torch.full_like(noise, float(level)).log(), noise)) for level in levels]
    assert float(levels[losses.index(min(losses))]) == pytest.approx(1.0, abs=0.051)


def test_the_slow_error_is_that_of_the_drifting_level():
    noise = torch.rand(1, 33, 400, generator=torch.Generator().manual_seed(0)) + 0.5
    error = slow_error((2 * noise).log(), noise)
    torch.testing.assert_close(error, torch.full_like(error, 2.0).log())
    fast = noise * torch.tensor([0.5, 1.5]).repeat(200)  # what is faster than 101 frames is no error
    assert slow_error(fast.log(), noise).abs().max() < 0.1
