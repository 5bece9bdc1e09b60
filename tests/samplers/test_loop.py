"""The loop leaves room for solvers of higher order and for guidance that differentiates the network."""

from __future__ import annotations

import pytest
import torch

from data_modules.clean_speech import STARTER
from diffsr.degradations import Mixing
from diffsr.diffusion.analytic import WhiteGaussianPrior
from diffsr.errors import DiffsrError
from diffsr.io.audio import read_audio
from diffsr.likelihoods import WhiteNoise
from diffsr.samplers import AnnealedSampler, Euler, Problem, Proximal, RowNoise, Unguided, UpdateNoise
from diffsr.samplers.initialise import from_observation, speech_level
from diffsr.signal.levels import active_rms, db, rms

SD = 0.05


def problem_of(level=SD, prior=None):
    y = torch.full((2, 1, 4096), SD)
    prior = prior or WhiteGaussianPrior(SD)
    return Problem.pose(y, prior, Mixing(), WhiteNoise(level), RowNoise(0, ["a", "b"]))


class Heun:
    """Second order: the mean of the slopes at both ends of a step (EDM, Alg. 1)."""

    def step(self, z, x0, sigma, sigma_next, posterior, problem):
        if not bool((sigma_next > 0).all()):
            return x0
        sigma, sigma_next = sigma[:, None, None], sigma_next[:, None, None]
        slope = (z - x0) / sigma
        end = z + (sigma_next - sigma) * slope
        slope_end = (end - posterior(end, sigma_next[:, 0, 0])) / sigma_next
        return z + (sigma_next - sigma) * (slope + slope_end) / 2


class LikelihoodGradient:
    """DPS with the exact likelihood of a Gaussian prior: x0 + s^2 grad_z log N(y; x0(z), v + r^2)."""

    needs_gradient = True

    def correct(self, z, x0, sigma, problem):
        r2 = sigma**2 * SD**2 / (sigma**2 + SD**2)
        log_p = -0.5 * (problem.residual(x0).square() / (SD**2 + r2)[:, None, None]).sum()
        (gradient,) = torch.autograd.grad(log_p, z)
        return x0 + (sigma**2)[:, None, None] * gradient


def sample(guidance, solver, n_steps):
    problem = problem_of()
    sampler = AnnealedSampler(guidance, solver, estimators=[], n_steps=n_steps, churn=0.0)
    return sampler.sample(problem, from_observation(problem, 0.5))


def test_a_second_order_solver_is_closer_with_the_same_steps_and_its_calls_are_counted():
    fine = sample(Proximal(), Euler(), 400).x
    euler, heun = sample(Proximal(), Euler(), 20), sample(Proximal(), Heun(), 20)
    assert (euler.n_calls, heun.n_calls) == (20, 39)
    assert (heun.x - fine).abs().mean() < 0.3 * (euler.x - fine).abs().mean()


def test_gradient_guidance_equals_the_closed_form_for_a_gaussian_prior():
    gradient = sample(LikelihoodGradient(), Euler(), 30).x
    closed = sample(Proximal(), Euler(), 30).x
    assert not gradient.requires_grad
    torch.testing.assert_close(gradient, closed, rtol=1e-3, atol=1e-5)


def test_unguided_sampling_ignores_the_observation():
    x = sample(Unguided(), Euler(), 60).x
    assert float(x.std()) == pytest.approx(SD, rel=0.1)


def test_the_noise_model_is_updated_between_its_two_levels_only():
    seen = []
    problem = problem_of()
    problem.likelihood.update = lambda residual, extra: seen.append(True)
    for sigma in (0.2, 0.04, 0.01, 0.001):
        before = len(seen)
        UpdateNoise(sigma_start=0.05, sigma_freeze=0.005).update(problem.y, torch.full((2,), sigma), problem)
        assert (len(seen) > before) == (0.005 <= sigma <= 0.05)


def test_a_diverging_prior_is_reported():
    class Broken(WhiteGaussianPrior):
        def denoise(self, z, sigma):
            return z * float("nan")

    problem = problem_of(prior=Broken(SD))
    with pytest.raises(DiffsrError, match="diverged"):
        AnnealedSampler(n_steps=3).sample(problem, from_observation(problem, 0.5))


@pytest.mark.parametrize("snr_db", [0, 10, 30])
def test_the_level_of_speech_is_found_below_steady_noise(snr_db):
    speech, info = read_audio(sorted(STARTER.parent.rglob("*.ogg"))[0])
    speech = 0.05 * speech[0] / active_rms(speech[0], info.rate_hz)
    noise = torch.randn(len(speech), generator=torch.Generator().manual_seed(0))
    y = speech + noise * rms(speech) / rms(noise) * 10 ** (-snr_db / 20)
    assert abs(db(float(speech_level(y, info.rate_hz)) / 0.05)) < 3.0


def test_the_level_is_proportional_and_zero_for_silence():
    y = torch.randn(2, 32_000, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        speech_level(0.01 * y, 16_000), 0.01 * speech_level(y, 16_000), rtol=1e-3, atol=0
    )
    assert (speech_level(torch.zeros(1, 16_000), 16_000) == 0).all()
