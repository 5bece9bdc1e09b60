"""The loop leaves room for solvers of higher order and for guidance that differentiates the network."""

from __future__ import annotations

import pytest
import torch

from data_modules.clean_speech import STARTER
from diffsr.degradations import Mixing
from diffsr.diffusion.analytic import WhiteGaussianPrior
from diffsr.errors import ConfigError
from diffsr.io.audio import read_audio
from diffsr.likelihoods import WhiteNoise
from diffsr.samplers import (
    DPS,
    AnnealedSampler,
    Euler,
    Every,
    Heun,
    NoisePerturbed,
    PosteriorTransition,
    Problem,
    Proximal,
    RowNoise,
    SpeakerGuidance,
    Unguided,
    UpdateNoise,
)
from diffsr.samplers.divergence import DivergedError
from diffsr.samplers.initialise import FromObservation, speech_level
from diffsr.signal.levels import active_rms, db, rms

SD = 0.05


def problem_of(level=SD, prior=None):
    y = torch.full((2, 1, 4096), SD)
    prior = prior or WhiteGaussianPrior(SD)
    return Problem.pose(y, prior, Mixing(), WhiteNoise(level), RowNoise(0, ["a", "b"]))


class LikelihoodGradient:
    """DPS with the exact likelihood of a Gaussian prior: x0 + s^2 grad_z log N(y; x0(z), v + r^2)."""

    needs_gradient = True

    def __init__(self, level=SD):
        self.level = level

    def correct(self, z, x0, sigma, problem):
        r2 = sigma**2 * SD**2 / (sigma**2 + SD**2)
        log_p = -0.5 * (problem.residual(x0).square() / (self.level**2 + r2)[:, None, None]).sum()
        (gradient,) = torch.autograd.grad(log_p, z)
        return x0 + (sigma**2)[:, None, None] * gradient


def sample(guidance, solver, n_steps):
    problem = problem_of()
    sampler = AnnealedSampler(guidance, solver, estimators=[], n_steps=n_steps, churn=0.0)
    return sampler.sample(problem, FromObservation()(problem, 0.5))


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


class BreaksBelow(WhiteGaussianPrior):
    """Not finite below a noise level, for all rows but the first `n_good`."""

    limit = 0.05

    def __init__(self, sd, n_good=1):
        super().__init__(sd)
        self.n_calls, self.n_good = 0, n_good

    def denoise(self, z, sigma):
        self.n_calls += 1
        broken = torch.where(sigma < self.limit, float("nan"), 1.0)
        broken[: self.n_good] = 1.0
        return super().denoise(z, sigma) * broken[..., None]


def test_a_diverging_sampler_is_reported_soon_and_with_its_level():
    problem = problem_of(prior=BreaksBelow(SD, n_good=0))
    sampler = AnnealedSampler(n_steps=60, churn=0.0)
    level = int((sampler.sigmas >= BreaksBelow.limit).sum())
    with pytest.raises(DivergedError, match=rf"level {level + 1} of 60 .* in 2 of 2 rows \(0, 1\)"):
        sampler.sample(problem, sampler.start(problem))
    assert problem.prior.n_calls <= level + 8


def test_rows_that_diverge_leave_the_others_as_they_are():
    healthy, broken = problem_of(), problem_of(prior=BreaksBelow(SD))
    sampler = AnnealedSampler(n_steps=60, churn=0.0)
    expected = sampler.sample(healthy, sampler.start(healthy)).x
    with pytest.raises(DivergedError, match=r"in 1 of 2 rows \(1\)") as caught:
        sampler.sample(broken, sampler.start(broken))
    assert caught.value.rows == [1]
    assert torch.equal(caught.value.samples.x[0], expected[0])
    kept = caught.value.samples.x[1]
    assert kept.isfinite().all()
    assert float(kept.abs().max()) < 10 * SD
    assert not torch.equal(kept, broken.y[1])  # an estimate and not the recording


def test_the_gentler_sampler_makes_smaller_steps_between_the_same_ends():
    sampler = AnnealedSampler(NoisePerturbed(weight=1.5), n_steps=30, churn=2.0)
    gentler = sampler.gentler()
    assert len(gentler.sigmas) - 1 == 59
    assert torch.equal(gentler.sigmas[::2], sampler.sigmas[:-1])
    assert gentler.sigmas[-1] == 0
    ratios = gentler.sigmas[1:-1] / gentler.sigmas[:-2]
    assert float(ratios.min()) > float((sampler.sigmas[1:-1] / sampler.sigmas[:-2]).min())
    assert (gentler.churn, gentler.guidance.weight) == (0.0, 0.75)
    assert (sampler.churn, sampler.guidance.weight) == (2.0, 1.5)  # itself unchanged


def test_the_gentler_sampler_finds_the_guidance_that_another_one_wraps():
    sampler = AnnealedSampler(Every(NoisePerturbed(weight=1.5), 2))
    assert sampler.gentler().guidance.guidance.weight == 0.75
    assert sampler.guidance.guidance.weight == 1.5


def test_the_gentler_sampler_halves_a_speaker_guidance_too():
    guidance = SpeakerGuidance(strength=0.5)
    assert AnnealedSampler(guidance).gentler().guidance.strength == 0.25


def test_the_gradient_rule_is_the_gradient_of_the_likelihood():
    # By hand, with the variance of the estimate held: x0 + s^2 grad_z log N(y; x0(z), v + r^2).
    problem = problem_of(level=0.03)
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(2, 1, 4096, generator=generator).requires_grad_(True)
    sigma = torch.tensor([0.02, 0.3])
    x0 = problem.prior.denoise(z, sigma[:, None])
    expected = LikelihoodGradient(0.03).correct(z, x0, sigma, problem)
    x0 = problem.prior.denoise(z, sigma[:, None])
    torch.testing.assert_close(DPS().correct(z, x0, sigma, problem), expected, rtol=1e-3, atol=1e-5)


def test_the_normalised_rule_moves_each_row_by_zeta_sigma_and_never_past_the_recording():
    problem = problem_of()
    z = torch.randn(2, 1, 4096, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    for sigma, floor, expected in ((0.1, 0.0, 0.05), (1e-4, 0.0, 5e-5), (1e-4, 0.02, 1e-3)):
        levels = torch.full((2,), sigma)
        x0 = problem.prior.denoise(z, levels[:, None])
        moved = DPS("normalised", zeta=0.5, floor=floor).correct(z, x0, levels, problem) - x0
        rms = moved.detach().square().mean((1, 2)).sqrt()
        torch.testing.assert_close(rms, torch.full((2,), expected), rtol=1e-3, atol=0)
    z = problem.y.clone().requires_grad_(True)
    levels = torch.full((2,), 1e-6)
    x0 = problem.prior.denoise(z, levels[:, None])
    there = DPS("normalised", zeta=0.5).correct(z, x0, levels, problem)
    torch.testing.assert_close(there, problem.y, rtol=0, atol=1e-6)


def test_an_unknown_rule_is_refused():
    with pytest.raises(ConfigError, match="rule is 'fast'; expected one of likelihood, normalised"):
        DPS("fast")
    with pytest.raises(ConfigError, match="observed is 'fast'; expected one of implicit, tractable"):
        PosteriorTransition("fast")


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


@pytest.mark.parametrize("value", [-0.5, float("nan")])
@pytest.mark.parametrize("name", ["churn", "churn_above"])
def test_a_negative_churn_is_refused(name, value):
    with pytest.raises(ConfigError, match=rf"{name} is .*expected .*0"):
        AnnealedSampler(**{name: value})


class CountedNoise(RowNoise):
    """Remembers how often noise was drawn."""

    n_draws = 0

    def normal_like(self, x):
        self.n_draws += 1
        return super().normal_like(x)


def sampled_from(churn, churn_above=0.0):
    problem = problem_of()
    problem.noise = CountedNoise(0, ["a", "b"])
    sampler = AnnealedSampler(Proximal(), Euler(), [], 30, churn=churn, churn_above=churn_above)
    start = FromObservation()(problem, 0.5)
    problem.noise.n_draws = 0
    return sampler.sample(problem, start).x, problem.noise.n_draws, sampler.sigmas


def test_there_is_fresh_noise_down_to_a_level_and_none_below():
    everywhere, ode = sampled_from(2.0), sampled_from(0.0)
    never = sampled_from(2.0, churn_above=1.0)
    assert (everywhere[1], ode[1], never[1]) == (29, 0, 0)
    torch.testing.assert_close(never[0], ode[0], rtol=0, atol=0)
    _, n_draws, sigmas = sampled_from(2.0, churn_above=0.05)
    assert n_draws == int((sigmas >= 0.05).sum())
    assert 0 < n_draws < 29


def test_last_levels_follow_the_schedule_and_cost_a_call_each():
    plain, longer = (AnnealedSampler(n_steps=10, last_sigmas=last) for last in ((), (5e-5, 1e-5)))
    assert torch.equal(longer.sigmas[:10], plain.sigmas[:10])
    assert longer.sigmas[10:].tolist() == pytest.approx([5e-5, 1e-5, 0.0])


@pytest.mark.parametrize("last", [(1e-4,), (5e-5, 6e-5), (5e-5, 0.0), (float("nan"),), (-1e-5,)])
def test_last_levels_that_do_not_fall_are_refused(last):
    with pytest.raises(ConfigError, match="below sigma_min = 0.0001"):
        AnnealedSampler(last_sigmas=last)
