"""Published rules of separation: with Gaussian priors they do to the posterior what 2 x 2 matrices say."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from diffsr.degradations import LatePrediction, Mixing, Room
from diffsr.diffusion.analytic import PriorOfEach, StationaryGaussianPrior, WhiteGaussianPrior
from diffsr.errors import ConfigError
from diffsr.likelihoods import WhiteNoise
from diffsr.recipe_file import load_sampler
from diffsr.samplers import (
    Ancestral,
    AnnealedSampler,
    Dirac,
    Euler,
    EvenShare,
    FromNoise,
    FromNoisedMixture,
    Heun,
    HybridGradient,
    NoisePerturbed,
    PredictorCorrector,
    Problem,
    Proximal,
    Remainder,
    Resample,
    RowNoise,
    StateLikelihood,
    Unguided,
)
from diffsr.samplers.gradients import unit_rms
from diffsr.samplers.hybrid_gradient import smooth_max, three_losses
from diffsr.samplers.oracle import check_sampler, white_oracle

ROOT = Path(__file__).parents[2]
PRESETS = ("undiff", "msdm_dirac", "msdm_gaussian", "unasdiff", "unsepdiff")
SD = 0.05
EQUAL, UNEQUAL = (SD, SD), (1.5 * SD, 0.5 * SD)
I2, ONES = torch.eye(2, dtype=torch.float64), torch.ones(2, 2, dtype=torch.float64)


def problem_of(sds=EQUAL, n_rows=4, n_samples=4096, y=None, prior=None, degradation=None):
    y = torch.full((n_rows, 1, n_samples), SD) if y is None else y
    prior = prior or PriorOfEach([WhiteGaussianPrior(sd) for sd in sds])
    noise, likelihood = RowNoise(0, [str(k) for k in range(len(y))]), WhiteNoise(1e-5, 64, 16)
    return Problem.pose(y, prior, degradation or Mixing(), likelihood, noise, n_sources=2)


# Rules as x -> M z + c y, for the reference that knows nothing of waves -----------------------


def undiff_rule(gain):
    return torch.diag(gain), torch.zeros(2)


def dirac_rule(gain):
    m = torch.stack([torch.tensor([gain[0] - 1, -gain[1]]), torch.tensor([1 - gain[0], gain[1]])])
    return m, torch.tensor([1.0, 0.0])


def gaussian_rule(gain, gamma=0.75):
    return torch.diag(gain) - ONES / (2 * gamma**2), torch.ones(2) / (2 * gamma**2)


FREE = (I2, torch.zeros(2))
EVEN = (I2 - ONES / 2, torch.tensor([0.5, 0.5]))
REST = (torch.tensor([[0.0, -1.0], [0.0, 1.0]]), torch.tensor([1.0, 0.0]))
RULES = {
    "undiff": (partial(AnnealedSampler, Unguided(), Ancestral(), constraint=EvenShare()), undiff_rule, EVEN),
    "dirac": (partial(AnnealedSampler, Dirac(0), Euler(), constraint=Remainder(0)), dirac_rule, REST),
    "gaussian": (partial(AnnealedSampler, StateLikelihood(), Euler()), gaussian_rule, FREE),
}


def reference(name, sds, sampler):
    """Mean in units of y and covariance in units of sd^2, by the Gaussian's own recursion."""
    _, rule, (project, offset) = RULES[name]
    project, offset = project.double(), offset.double()
    sigmas = sampler.sigmas.double()
    mean, cov = torch.zeros(2, dtype=torch.float64), sigmas[0] ** 2 * I2
    variance = torch.tensor(sds, dtype=torch.float64).square()

    def affine(m, c, a, b):
        return a @ m + b, a @ c @ a.T

    for sigma, sigma_next in zip(sigmas, sigmas[1:], strict=False):
        if sigma_next > 0 and sampler.churn:
            cov = cov + sigma**2 * ((sigma / sigma_next) ** (2 * sampler.churn) - 1) * I2
            sigma = sigma * (sigma / sigma_next) ** sampler.churn
        mean, cov = affine(mean, cov, project, offset)
        m, c = (part.double() for part in rule(variance / (variance + sigma**2)))
        kept = (sigma_next / sigma) ** (2 if isinstance(sampler.solver, Ancestral) else 1)
        mean, cov = affine(mean, cov, (1 - kept) * m + kept * I2, (1 - kept) * c)
        if isinstance(sampler.solver, Ancestral):
            cov = cov + sigma_next**2 * (1 - kept) * I2
        mean, cov = affine(mean, cov, project, offset)
    return mean, cov / SD**2


def exact(sds):
    a, b = (sd**2 for sd in sds)
    signs = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    return torch.tensor([a, b], dtype=torch.float64) / (a + b), a * b / (a + b) / SD**2 * signs


def found(sampler, problem):
    x = sampler.sample(problem, sampler.start(problem)).x
    return x.mean((0, 2)).double() / SD, torch.cov(x.transpose(0, 1).flatten(1)).double() / SD**2


@pytest.mark.parametrize("churn", [0.0, 1.0])
@pytest.mark.parametrize("sds", [EQUAL, UNEQUAL])
@pytest.mark.parametrize("name", RULES)
def test_a_rule_does_what_its_matrices_say(name, sds, churn):
    sampler = RULES[name][0](estimators=[], n_steps=40, churn=churn, initialiser=FromNoise())
    mean, cov = found(sampler, problem_of(sds))
    expected_mean, expected_cov = reference(name, sds, sampler)
    torch.testing.assert_close(mean, expected_mean, atol=0.03, rtol=0.03)
    torch.testing.assert_close(cov, expected_cov, atol=0.02, rtol=0.05)


@pytest.mark.parametrize(
    ("name", "sds", "churn", "expected"),
    [  # mean of talker 0 in units of y, its variance in units of sd^2, with 200 levels from 4 on
        ("undiff", EQUAL, 0.0, (0.500, 0.473)),  # exact: 0.500, 0.500
        ("undiff", UNEQUAL, 0.0, (0.746, 0.295)),  # exact: 0.900, 0.225
        ("dirac", EQUAL, 0.0, (0.500, 0.000)),
        ("dirac", EQUAL, 3.0, (0.500, 0.374)),
        ("dirac", UNEQUAL, 0.0, (0.749, 0.000)),
        ("dirac", UNEQUAL, 3.0, (0.856, 0.183)),
        ("gaussian", EQUAL, 0.0, (0.500, 0.487)),
        ("gaussian", UNEQUAL, 0.0, (0.636, 0.402)),
        ("gaussian", UNEQUAL, 3.0, (0.777, 0.260)),
    ],
)
def test_the_bias_of_docs_separation(name, sds, churn, expected):
    """Equal talkers share alike; talkers of unequal power are told apart too little."""
    sampler = RULES[name][0](estimators=[], n_steps=200, sigma_max=4.0, churn=churn, initialiser=FromNoise())
    mean, cov = reference(name, sds, sampler)
    assert (float(mean[0]), float(cov[0, 0])) == pytest.approx(expected, abs=6e-4)
    exact_mean, exact_cov = exact(sds)
    assert float(mean[0]) <= float(exact_mean[0]) + 1e-3
    torch.testing.assert_close(mean.sum(), exact_mean.sum(), atol=1e-3, rtol=0)
    torch.testing.assert_close(cov.sum(), exact_cov.sum(), atol=2e-3, rtol=0)  # they add up to y


def test_fresh_noise_brings_dirac_to_the_exact_posterior():
    errors = []
    for churn, n_steps in ((0.0, 100), (3.0, 200), (10.0, 1000), (20.0, 3000)):
        sampler = RULES["dirac"][0](
            estimators=[], n_steps=n_steps, sigma_max=2.0, churn=churn, initialiser=FromNoise()
        )
        mean, cov = reference("dirac", UNEQUAL, sampler)
        exact_mean, exact_cov = exact(UNEQUAL)
        errors.append(float((mean - exact_mean).abs().max() + (cov - exact_cov).abs().max()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.02


@pytest.mark.slow
def test_talkers_of_different_colour_get_their_part_of_the_spectrum():
    power = torch.linspace(2.0, 0.2, 33)
    prior = PriorOfEach([StationaryGaussianPrior(SD**2 * p) for p in (power, power.flip(0))])
    y = SD * torch.randn(1, 1, 4096, generator=torch.Generator().manual_seed(0)).expand(16, -1, -1)
    sampler = RULES["dirac"][0](estimators=[], n_steps=120, sigma_max=2.0, churn=6.0, initialiser=FromNoise())
    problem = problem_of(y=y, prior=prior)
    x = sampler.sample(problem, sampler.start(problem)).x.mean(0)
    wiener = power / (power + power.flip(0))
    gains = torch.fft.rfft(x[0]) / torch.fft.rfft(y[0, 0])
    for part, own in zip(gains[1:].chunk(8), wiener[1:].chunk(8), strict=True):
        assert float(part.real.mean()) == pytest.approx(float(own.mean()), abs=0.08)


# Constraints ----------------------------------------------------------------------------------


def states(n_rows=4, n_samples=4096, seed=1):
    rng = torch.Generator().manual_seed(seed)
    z, x0 = (SD * torch.randn(n_rows, 2, n_samples, generator=rng) for _ in range(2))
    return z, x0


def noisy_problem(**kwargs):
    y = SD * torch.randn(4, 1, 4096, generator=torch.Generator().manual_seed(0))
    return problem_of(y=y, **kwargs)


@pytest.mark.parametrize("constraint", [EvenShare(), Remainder(0), Remainder(-1)])
def test_a_constraint_is_a_projection_onto_the_recording(constraint):
    problem, z = noisy_problem(), states()[0]
    once = constraint.apply(z, problem)
    torch.testing.assert_close(once.sum(1, keepdim=True), problem.y, atol=1e-7, rtol=0)
    torch.testing.assert_close(constraint.apply(once, problem), once, atol=1e-7, rtol=0)


def test_the_remainder_leaves_the_others_alone():
    problem, z = noisy_problem(), states()[0]
    assert torch.equal(Remainder(0).apply(z, problem)[:, 1], z[:, 1])
    assert torch.equal(Remainder(1).apply(z, problem)[:, 0], z[:, 0])
    torch.testing.assert_close(EvenShare().apply(z, problem).diff(dim=1), z.diff(dim=1), atol=1e-7, rtol=0)


@pytest.mark.parametrize("part", [Remainder(2), Dirac(-3)])
def test_a_talker_that_is_not_there(part):
    problem, (z, x0) = noisy_problem(), states()
    with pytest.raises(ConfigError, match="no talker"):
        part.apply(z, problem) if isinstance(part, Remainder) else part.correct(z, x0, z[:, 0, 0], problem)


@pytest.mark.parametrize("room", [Room(torch.ones(2, 1, 1)[None]), LatePrediction()])
def test_the_remainder_is_for_plain_sums(room):
    with pytest.raises(ConfigError, match="plain sums"):
        Remainder().apply(states()[0], noisy_problem(degradation=room))


@pytest.mark.parametrize("solver", [Euler(), Ancestral(), Resample()])
@pytest.mark.parametrize("churn", [0.0, 2.0])
def test_dirac_estimates_sum_to_the_recording(solver, churn):
    problem = noisy_problem()
    sampler = AnnealedSampler(
        Dirac(), solver, [], 12, churn=churn, initialiser=FromNoise(), constraint=Remainder()
    )
    x = sampler.sample(problem, sampler.start(problem)).x
    torch.testing.assert_close(x.sum(1, keepdim=True), problem.y, atol=3e-8, rtol=1e-6)
    alone = Dirac().correct(x.roll(5, -1), 0.5 * x, torch.full((len(x),), 0.1), problem)
    torch.testing.assert_close(alone.sum(1, keepdim=True), problem.y, atol=3e-8, rtol=1e-6)


class Watched(WhiteGaussianPrior):
    """Remembers the sums of the states that it is shown."""

    def __init__(self) -> None:
        super().__init__(SD)
        self.sums = []

    def denoise(self, z, sigma):
        self.sums.append(z.sum(1))
        return super().denoise(z, sigma)


@pytest.mark.parametrize("solver", [Heun(), PredictorCorrector(), Resample()])
def test_the_prior_sees_constrained_states_whoever_asks(solver):
    problem = noisy_problem(prior=Watched())
    sampler = AnnealedSampler(Unguided(), solver, [], 4, churn=1.0, constraint=EvenShare())
    done = sampler.sample(problem, sampler.start(problem))
    assert len(problem.prior.sums) == done.n_calls > 4
    for total in problem.prior.sums:
        torch.testing.assert_close(total, problem.y[:, 0], atol=1e-5, rtol=0)


# Rules ----------------------------------------------------------------------------------------


def test_dirac_is_the_derivative_of_the_constrained_density():
    """By automatic differentiation of log p(z_1) + log p(y - z_1), with Gaussian priors of the states."""
    problem, (z, _) = noisy_problem(sds=UNEQUAL), states()
    sigma = torch.full((4,), 0.1)
    z = Remainder(0).apply(z, problem)
    x0 = problem.prior.denoise(z, sigma[:, None].expand(-1, 2))
    corrected = Dirac(0).correct(z, x0, sigma, problem)
    free = z[:, 1].clone().requires_grad_(True)
    both = torch.stack([problem.y[:, 0] - free, free], 1)
    variance = torch.tensor(UNEQUAL).square()[:, None] + 0.1**2
    (score,) = torch.autograd.grad(-(both.square() / variance).sum() / 2, free)
    torch.testing.assert_close(corrected[:, 1], free + 0.1**2 * score, atol=1e-6, rtol=1e-4)


def test_the_state_likelihood_is_noise_perturbed_without_noise():
    problem, (z, x0) = noisy_problem(), states()
    sigma = torch.full((4,), 0.1)
    own, general = (
        g.correct(z, x0, sigma, problem) for g in (StateLikelihood(0.75), NoisePerturbed(1 / 0.75**2))
    )
    torch.testing.assert_close(own, general, atol=1e-6, rtol=1e-4)
    with pytest.raises(ConfigError, match="above 0"):
        StateLikelihood(0.0)


def test_of_two_talkers_either_may_be_the_remainder():
    problem, (z, _) = noisy_problem(sds=UNEQUAL), states()
    sigma = torch.full((4,), 0.1)
    z = Remainder(0).apply(z, problem)
    x0 = problem.prior.denoise(z, sigma[:, None].expand(-1, 2))
    first, second = (Dirac(talker).correct(z, x0, sigma, problem) for talker in (0, 1))
    torch.testing.assert_close(first, second, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(("constraint", "level"), [(Remainder(), 1.0), (EvenShare(), 0.5**0.5)])
def test_how_much_noise_a_constraint_leaves_in_each_state(constraint, level):
    problem = problem_of(y=torch.zeros(4, 1, 4096))
    z = constraint.apply(problem.noise.normal_like(torch.zeros(4, 2, 4096)), problem)
    assert z.std((0, 2)).tolist() == pytest.approx([level, level], rel=0.03)


def guided(guidance, z, x0, problem, sigma=0.1):
    level = torch.full((len(z),), sigma)
    if guidance.needs_gradient:
        z = z.detach().requires_grad_(True)
        x0 = problem.prior.denoise(z, level[:, None].expand(-1, 2))
    return guidance.correct(z, x0, level, problem).detach()


@pytest.mark.parametrize(
    ("guidance", "other"),
    [(StateLikelihood(), StateLikelihood()), (HybridGradient(), HybridGradient()), (Dirac(0), Dirac(1))],
)
def test_exchanging_the_talkers_exchanges_the_estimates(guidance, other):
    problem, (z, x0) = noisy_problem(), states()
    plain = guided(guidance, z, x0, problem)
    turned = guided(other, z.flip(1), x0.flip(1), problem)
    torch.testing.assert_close(turned.flip(1), plain, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("guidance", [HybridGradient(), StateLikelihood(), Dirac()])
def test_a_row_does_not_depend_on_its_batch(guidance):
    y = SD * torch.randn(2, 1, 4096, generator=torch.Generator().manual_seed(0))
    y[1] *= 0.01
    z, x0 = (state * torch.tensor([1.0, 0.01])[:, None, None] for state in states(2))
    together = guided(guidance, z, x0, problem_of(y=y))
    alone = guided(guidance, z[1:], x0[1:], problem_of(y=y[1:]))
    torch.testing.assert_close(together[1:], alone, atol=1e-6, rtol=1e-3)


def test_the_three_losses_have_the_derivative_that_is_used():
    rng = torch.Generator().manual_seed(3)
    y, y_hat, way = (torch.randn(2, 1, 3000, generator=rng, dtype=torch.float64) for _ in range(3))
    at = y_hat.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(three_losses(y, at, 16_000).sum(), at)
    up, down = (three_losses(y, y_hat + step * way, 16_000) for step in (1e-6, -1e-6))
    slope = (gradient * way).sum((1, 2))
    torch.testing.assert_close((up - down) / 2e-6, slope, rtol=1e-5, atol=1e-7)


def test_the_three_losses_are_those_published_at_4_s():
    y = torch.randn(1, 1, 64_000, generator=torch.Generator().manual_seed(0))
    window = torch.hann_window(512)
    magnitude = torch.stft(y[0], 512, 256, window=window, pad_mode="constant", return_complex=True).abs()
    expected = y.norm() + 0.05 * sum(part.norm() for part in y[0, 0].chunk(512)) + 0.1 * magnitude.norm()
    found_loss = three_losses(y, torch.zeros_like(y), 16_000)[0]
    torch.testing.assert_close(found_loss, expected, rtol=1e-4, atol=0)


def test_the_hybrid_gradient_moves_each_talker_by_its_own_length():
    problem, (z, _) = noisy_problem(sds=UNEQUAL), states()
    sigma = torch.full((4,), 0.1)
    x0 = problem.prior.denoise(z, sigma[:, None].expand(-1, 2))
    move = guided(HybridGradient(zeta=0.5), z, x0, problem) - x0
    rms = move.square().mean(-1).sqrt()
    torch.testing.assert_close(rms, torch.full_like(rms, 0.05), rtol=2e-3, atol=0)
    loss = [three_losses(problem.y, (x0 + t * move).sum(1, keepdim=True), 16_000) for t in (0.0, 0.01)]
    assert bool((loss[1] < loss[0]).all())


def test_the_hybrid_gradient_has_a_floor_that_a_solved_row_does_not():
    value, floor = torch.tensor([0.0, 1e-4, 1.0, 0.3]), torch.tensor([0.002, 0.002, 0.002, 0.0])
    found_max = smooth_max(value, floor)
    assert bool((found_max >= torch.maximum(value, floor)).all())
    torch.testing.assert_close(found_max[2:], value[2:])
    assert float(found_max[0]) < 1.1 * 0.002
    problem, (z, _) = noisy_problem(), states()
    sigma = torch.full((4,), 1e-4)
    z = EvenShare().apply(z, problem)
    z = z.requires_grad_(True)
    x0 = problem.prior.denoise(z, sigma[:, None].expand(-1, 2))
    problem.y = x0.detach().sum(1, keepdim=True)
    moved = HybridGradient().correct(z, x0, sigma, problem)
    assert bool(torch.isfinite(moved).all())
    assert float((moved - x0).detach().abs().max()) < 1e-3


def test_unit_rms_of_silence_and_of_huge_gradients():
    wave = torch.stack([torch.zeros(100), 1e30 * torch.ones(100)])
    assert unit_rms(wave).square().mean(-1).tolist() == pytest.approx([0.0, 1.0])


def test_the_hybrid_gradient_lands_on_the_recording():
    problem = noisy_problem()
    sampler = AnnealedSampler(
        HybridGradient(), Ancestral(), [], 40, 1.27, 0.005, churn=0.0, initialiser=FromNoisedMixture()
    )
    x = sampler.sample(problem, sampler.start(problem)).x
    residual = (problem.y - x.sum(1, keepdim=True)).square().mean().sqrt()
    assert float(residual) < 0.3 * SD  # the prior alone would leave 1.7
    assert float((x[:, 0] - x[:, 1]).square().mean().sqrt()) > 0.2 * SD  # noise alone tells talkers apart


def test_all_talkers_start_from_one_noised_mixture():
    problem = noisy_problem()
    z = FromNoisedMixture(gain=1.5, noise=0.5)(problem, 2.0)
    assert torch.equal(z[:, 0], z[:, 1])
    assert float((z[:, :1] - 1.5 * problem.y).std()) == pytest.approx(1.0, rel=0.05)


def test_resampling_costs_calls_and_keeps_the_solver():
    for n, calls in ((1, 5), (3, 15)):
        sampler = AnnealedSampler(Unguided(), Resample(Euler(), n), [], 5, churn=0.0)
        problem = problem_of()
        done = sampler.sample(problem, sampler.start(problem))
        assert done.n_calls == calls
        if n == 1:
            plain = AnnealedSampler(Unguided(), Euler(), [], 5, churn=0.0)
            again = problem_of()
            assert torch.equal(done.x, plain.sample(again, plain.start(again)).x)
    with pytest.raises(ConfigError, match="1 or more"):
        Resample(n=0)


def test_resampling_from_the_prior_keeps_its_spread():
    sampler = AnnealedSampler(Unguided(), Resample(Ancestral()), [], 60, churn=0.0, initialiser=FromNoise())
    problem = problem_of()
    x = sampler.sample(problem, sampler.start(problem)).x
    assert float(x.std()) == pytest.approx(SD, rel=0.08)  # first-order steps narrow it


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_sampler_that_the_doctor_checks(name):
    sampler = load_sampler(ROOT / "experiments" / "separate" / f"{name}.yaml")
    n_levels = len(sampler.sigmas) - 1
    moments = check_sampler(sampler, white_oracle(512), n_samples=2)
    n_steps = sampler.solver.n if isinstance(sampler.solver, Resample) else 1
    assert moments.n_calls == n_levels * n_steps
    assert moments.mean == pytest.approx(SD, rel=0.15)  # all of them take the recording for clean


def test_dirac_shares_what_the_estimates_leave_at_the_end():
    """Below its level it is `Proximal`, but for what a little noise leaves; above, the published rule."""
    x0 = 0.05 * torch.randn(1, 2, 4096, generator=torch.Generator().manual_seed(3))
    y = x0.sum(1, keepdim=True) + 0.01 * torch.randn(1, 1, 4096, generator=torch.Generator().manual_seed(4))
    problem = Problem.pose(
        y, WhiteGaussianPrior(), Mixing(), WhiteNoise(1e-6), RowNoise(0, ["a"]), n_sources=2
    )
    z, rule = y.expand(-1, 2, -1) / 2, Dirac(share_below=0.01)
    for sigma, expected in ((0.005, Proximal()), (0.02, Dirac())):
        level = torch.tensor([sigma])
        found = rule.correct(z, x0, level, problem)
        torch.testing.assert_close(found, expected.correct(z, x0, level, problem), rtol=0, atol=1e-5)
        torch.testing.assert_close(found.sum(1, keepdim=True), y, rtol=0, atol=1e-6)
