"""The compressed-spectrum likelihood: its gradient, its scale, and who may use it."""

from __future__ import annotations

import pytest
import torch

from diffsr.degradations import Mixing
from diffsr.diffusion.analytic import WhiteGaussianPrior
from diffsr.errors import ConfigError
from diffsr.likelihoods import SpectralCompression
from diffsr.samplers import DPS, AnnealedSampler, Euler, NoisePerturbed, Problem, Proximal, Renoise, RowNoise


def waves(n=2, n_samples=2048, seed=0, dtype=torch.float64):
    rng = torch.Generator().manual_seed(seed)
    return 0.05 * torch.randn(2, n, 1, n_samples, generator=rng, dtype=dtype)


def likelihood(**options):
    return SpectralCompression(n_fft=128, hop_samples=32, **options).double()


@pytest.mark.parametrize("exponent", [0.5, 2 / 3, 1.0])
def test_the_gradient_is_that_of_finite_differences(exponent):
    model = likelihood(exponent=exponent, factor=0.15)
    y, y_hat = waves()
    y_hat.requires_grad_(True)
    (gradient,) = torch.autograd.grad(model.log_prob(y, y_hat).sum(), y_hat)
    for seed in range(3):
        direction = torch.randn(y_hat.shape, generator=torch.Generator().manual_seed(seed)).double()
        step = 1e-7 * direction
        with torch.no_grad():
            slope = model.log_prob(y, y_hat + step) - model.log_prob(y, y_hat - step)
        torch.testing.assert_close(slope.sum() / 2e-7, (gradient * direction).sum(), rtol=1e-5, atol=0.0)


def test_it_is_largest_at_the_recording_and_smooth_at_silence():
    model = likelihood()
    y, other = waves()
    assert (model.log_prob(y, y) == 0).all()
    assert (model.log_prob(y, other) < model.log_prob(y, 0.5 * (y + other))).all()
    silence = torch.zeros_like(y, requires_grad=True)
    (gradient,) = torch.autograd.grad(model.log_prob(y, silence).sum(), silence)
    assert gradient.isfinite().all()
    assert (gradient != 0).any()


@pytest.mark.parametrize("exponent", [0.5, 2 / 3])
def test_scale(exponent):
    """`c^(2 exponent)` with the level, and the square of factor / level."""
    model = likelihood(exponent=exponent)
    y, y_hat = waves()
    expected = model.log_prob(y, y_hat)
    torch.testing.assert_close(model.log_prob(20 * y, 20 * y_hat), 20 ** (2 * exponent) * expected)
    torch.testing.assert_close(
        likelihood(exponent=exponent, factor=3.0, level=2.0).log_prob(y, y_hat), 2.25 * expected
    )


def test_exponent_1_is_the_squared_distance():
    y, y_hat = waves()
    model = likelihood(exponent=1.0)
    expected = -model.stft((y - y_hat)[:, 0]).abs().square().sum((-2, -1))
    torch.testing.assert_close(model.log_prob(y, y_hat), expected)


def test_rows_do_not_share_anything():
    model = likelihood()
    y, y_hat = waves(3)
    y[1] *= 100
    together = model.log_prob(y, y_hat)
    alone = torch.cat([model.log_prob(y[k : k + 1], y_hat[k : k + 1]) for k in range(3)])
    torch.testing.assert_close(together, alone)


def problem_with(model):
    y = waves(dtype=torch.float32)[0]
    return Problem.pose(y, WhiteGaussianPrior(0.05), Mixing(), model, RowNoise(0, ["a", "b"]))


def test_steps_of_fixed_length_bring_the_sources_to_the_recording():
    problem = problem_with(SpectralCompression(n_fft=128, hop_samples=32))
    sampler = AnnealedSampler(DPS(rule="normalised"), Euler(), n_steps=20)
    found = sampler.sample(problem, sampler.start(problem)).x
    unguided = AnnealedSampler(DPS(rule="normalised", zeta=0.0, floor=0.0), Euler(), n_steps=20)
    other = unguided.sample(problem, unguided.start(problem)).x

    def distance(x):
        return (x - problem.y).square().mean().sqrt()

    assert distance(found) < 0.3 * distance(other)


@pytest.mark.parametrize(
    ("guidance", "solver"),
    [
        (Proximal(), Euler()),
        (NoisePerturbed(), Euler()),
        (DPS(rule="likelihood"), Euler()),
        (DPS(rule="normalised"), Renoise(sampled=True)),
    ],
)
def test_who_needs_a_noise_power_is_told_what_to_use(guidance, solver):
    problem = problem_with(SpectralCompression())
    sampler = AnnealedSampler(guidance, solver, n_steps=3)
    with pytest.raises(ConfigError, match="DPS with rule: normalised"):
        sampler.sample(problem, sampler.start(problem))


@pytest.mark.parametrize("options", [{"exponent": 0.0}, {"exponent": 1.5}, {"factor": -1.0}, {"level": 0.0}])
def test_options_that_make_no_sense(options):
    with pytest.raises(ConfigError, match="expected an exponent above 0"):
        SpectralCompression(**options)
