"""Known noise: exact power at any level, per item, and an upper bound on what a noise model can do."""

from __future__ import annotations

import pytest
import torch

from diffsr.degradations import Mixing
from diffsr.diffusion.analytic import WhiteGaussianPrior
from diffsr.errors import ConfigError, DataError
from diffsr.likelihoods import KnownNoise, WhiteNoise
from diffsr.samplers import AnnealedSampler, Problem, RowNoise


def parts(n=2, n_samples=8000, seed=0):
    """Speech and noise that comes and goes, `[n, T]` each."""
    rng = torch.Generator().manual_seed(seed)
    speech, noise = 0.05 * torch.randn(2, n, n_samples, generator=rng)
    switching = 0.02 + 3.0 * (torch.arange(n_samples) // 500 % 2)
    return speech, noise * switching


def test_the_power_is_that_of_the_noise_at_the_level_of_the_observation():
    speech, noise = parts()
    model = KnownNoise(noise, speech + noise)
    scales = torch.tensor([0.1, 7.0])
    model.reset((scales[:, None] * (speech + noise))[:, None], torch.arange(2))
    expected = (scales[:, None, None] * model.stft(noise).abs()).square()
    torch.testing.assert_close(model.variance, expected.clamp_min(1e-10), rtol=1e-4, atol=1e-9)


def test_restarts_share_the_noise_of_their_item():
    speech, noise = parts()
    model = KnownNoise(noise, speech + noise)
    rows = torch.tensor([0, 0, 1])
    model.reset((speech + noise)[rows][:, None], rows)
    assert model.variance.shape[0] == 3
    assert torch.equal(model.variance[0], model.variance[1])
    assert not torch.equal(model.variance[0], model.variance[2])


def test_restarts_with_models_of_their_own_share_it_too():
    speech, noise = parts()
    model = KnownNoise(noise, speech + noise)
    rows = torch.arange(2).repeat_interleave(3)
    model.reset((speech + noise)[rows][:, None], torch.arange(6))
    found = model.variance
    model.reset((speech + noise)[:, None], torch.arange(2))
    torch.testing.assert_close(found, model.variance[rows])


def test_another_recording_than_that_of_the_noise_is_refused():
    speech, noise = parts()
    model = KnownNoise(noise[:1], (speech + noise)[:1])
    with pytest.raises(DataError, match="another recording"):
        model.reset((speech + noise)[:, None], torch.arange(2))


def test_smoothing_averages_over_frames():
    speech, noise = parts(1)
    exact, smooth = (KnownNoise(noise, speech + noise, frames) for frames in (1, 5))
    for model in (exact, smooth):
        model.reset((speech + noise)[:, None], torch.arange(1))
    expected = exact.variance[..., 10:15].mean(-1)
    torch.testing.assert_close(smooth.variance[..., 12], expected, rtol=1e-4, atol=0.0)


def test_it_does_not_change_and_does_better_than_the_average_level():
    speech, noise = parts()
    recording = speech + noise
    errors = {}
    for name, model in {
        "known": KnownNoise(noise, recording),
        "white": WhiteNoise(float(noise.square().mean().sqrt())),
    }.items():
        problem = Problem.pose(
            recording[:, None], WhiteGaussianPrior(0.05), Mixing(), model, RowNoise(0, ["a", "b"])
        )
        before = model.variance.clone()
        sampler = AnnealedSampler(n_steps=20)
        found = sampler.sample(problem, sampler.start(problem)).x[:, 0]
        assert torch.equal(model.variance, before)
        errors[name] = (found - speech).square().mean().sqrt()
    assert errors["known"] < 0.8 * errors["white"]


def test_another_recording_is_refused():
    speech, noise = parts()
    model = KnownNoise(noise, speech + noise)
    with pytest.raises(DataError, match="the recording that the noise is part of"):
        model.reset(speech[:1, None], torch.arange(1))
    with pytest.raises(DataError, match=r"expected \[items, samples\]"):
        KnownNoise(noise, speech[:, :100])
    with pytest.raises(ConfigError, match="odd number"):
        KnownNoise(noise, speech, smooth_frames=4)
