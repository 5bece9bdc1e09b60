"""Speaker guidance descends its loss, which is small for one voice in each track."""

from __future__ import annotations

import pytest
import torch

from diffsr.degradations import Mixing
from diffsr.diffusion.analytic import WhiteGaussianPrior
from diffsr.errors import CheckpointError, ConfigError
from diffsr.likelihoods import WhiteNoise
from diffsr.samplers import Dirac, Problem, RowNoise, SpeakerGuidance, Unguided

RATE_HZ = 16_000


def problem_of(n_rows=2, rate_hz=RATE_HZ, n_samples=24_000):
    y = torch.zeros(n_rows, 1, n_samples)
    noise = RowNoise(0, [str(k) for k in range(n_rows)])
    prior = WhiteGaussianPrior(rate_hz=rate_hz)
    return Problem.pose(y, prior, Mixing(), WhiteNoise(1e-5), noise, n_sources=2)


def estimates(n_rows=2, n_samples=24_000, seed=0):
    return 0.05 * torch.randn(n_rows, 2, n_samples, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def guidance():
    return SpeakerGuidance(strength=0.1)


def test_the_loss_tells_one_voice_in_each_track_from_swapped_halves(guidance, voice):
    low, high = voice(90.0), voice(260.0)
    half = len(low) // 2
    ordered = torch.stack([low, high])
    swapped = torch.stack([torch.cat([low[:half], high[half:]]), torch.cat([high[:half], low[half:]])])
    alike = torch.stack([low, low])
    losses = guidance.loss(torch.stack([ordered, swapped, alike])).tolist()
    assert losses[0] < losses[1]
    assert losses[0] < losses[2]


def test_the_loss_is_its_equation(guidance):
    x = estimates(1, 32_000)
    segments = x[0].unfold(-1, RATE_HZ, RATE_HZ // 2)
    e = torch.stack([guidance.encoder(track) for track in segments])
    expected = sum((1 - e[k] @ e[k].T).mean() for k in (0, 1)) + (e[0] @ e[1].T).mean()
    torch.testing.assert_close(guidance.loss(x)[0], expected, rtol=1e-4, atol=1e-5)


def test_its_gradient_agrees_with_finite_differences(guidance):
    x, gradient = estimates(), guidance.gradient(estimates())
    way = gradient / gradient.square().sum((1, 2), keepdim=True).sqrt()
    slope = (gradient * way).sum((1, 2))
    step = 0.02
    with torch.no_grad():
        difference = (guidance.loss(x + step * way) - guidance.loss(x - step * way)) / (2 * step)
    torch.testing.assert_close(difference, slope, rtol=0.03, atol=1e-4)


def test_the_move_goes_down_by_a_length_in_units_of_sigma(guidance):
    x, sigma = estimates(), torch.tensor([0.5, 0.4])
    moved = guidance.correct(x, x, sigma, problem_of())
    rms = (moved - x).square().mean(-1).sqrt()
    torch.testing.assert_close(rms, 0.1 * sigma[:, None].expand(-1, 2), rtol=1e-3, atol=0)
    assert bool((guidance.loss(x + 0.05 * (moved - x)) < guidance.loss(x)).all())


def test_outside_of_its_levels_and_in_short_recordings_it_does_nothing(guidance):
    x, problem = estimates(), problem_of()
    for sigma in (0.1, 1.2):
        assert torch.equal(guidance.correct(x, x, torch.full((2,), sigma), problem), x)
    short = estimates(n_samples=4000)
    assert torch.equal(
        guidance.correct(short, short, torch.full((2,), 0.5), problem_of(n_samples=4000)), short
    )


def test_the_guidance_within_sees_the_moved_estimate():
    inner = SpeakerGuidance(guidance=Dirac(0), strength=0.1)
    alone = SpeakerGuidance(guidance=Unguided(), strength=0.1)
    (z, x), sigma, problem = (estimates(seed=1), estimates()), torch.full((2,), 0.5), problem_of()
    expected = Dirac(0).correct(z, alone.correct(z, x, sigma, problem), sigma, problem)
    torch.testing.assert_close(inner.correct(z, x, sigma, problem), expected)
    torch.testing.assert_close(expected.sum(1, keepdim=True), problem.y, atol=1e-7, rtol=0)
    assert not inner.needs_gradient


def test_exchanging_the_talkers_exchanges_the_estimates(guidance):
    x, sigma, problem = estimates(), torch.full((2,), 0.5), problem_of()
    turned = guidance.correct(x.flip(1), x.flip(1), sigma, problem).flip(1)
    torch.testing.assert_close(turned, guidance.correct(x, x, sigma, problem), rtol=1e-3, atol=1e-5)


def test_a_row_does_not_depend_on_its_batch(guidance):
    x = estimates()
    x[1] *= 0.01
    sigma = torch.full((2,), 0.5)
    together = guidance.correct(x, x, sigma, problem_of())
    alone = guidance.correct(x[1:], x[1:], sigma[1:], problem_of(1))
    torch.testing.assert_close(together[1:], alone, rtol=1e-3, atol=1e-4)


def test_a_silent_track_has_no_voice_and_no_gradient_that_is_none(guidance):
    x = estimates()
    x[0, 1] = 0.0
    moved = guidance.correct(x, x, torch.full((2,), 0.5), problem_of())
    assert bool(torch.isfinite(moved).all())
    assert float(moved[0, 1].abs().max()) == 0.0


def test_what_cannot_be():
    with pytest.raises(ConfigError, match="at least 0.5 s"):
        SpeakerGuidance(segment_s=0.2)
    with pytest.raises(CheckpointError):
        SpeakerGuidance(encoder="no-such-encoder")
    x = estimates()
    with pytest.raises(ConfigError, match="for 16000 Hz, the prior for 8000 Hz"):
        SpeakerGuidance().correct(x, x, torch.full((2,), 0.5), problem_of(rate_hz=8000))
