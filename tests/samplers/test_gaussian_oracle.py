"""With Gaussian priors the posterior is known. Every guidance with every solver is held against it.

White problem: prior and noise of the same level, recording +-sd, so the posterior is N(y / 2, sd^2 / 2).
Exact pairs reproduce it; the others are tested against their own tabulated bias, so that a change of any
formula shows.
"""

from __future__ import annotations

from functools import cache
from itertools import product

import pytest
import torch

from diffsr.degradations import Mixing
from diffsr.diffusion.analytic import StationaryGaussianPrior, WhiteGaussianPrior
from diffsr.likelihoods import WhiteNoise
from diffsr.samplers import (
    DPS,
    Ancestral,
    AnnealedSampler,
    Euler,
    Heun,
    NoisePerturbed,
    PosteriorTransition,
    PredictorCorrector,
    Problem,
    Projection,
    Proximal,
    Renoise,
    RowNoise,
    Unguided,
)
from diffsr.samplers.initialise import FromObservation
from diffsr.samplers.oracle import TOLERANCE, check_sampler, coloured_oracle, compare, white_oracle
from diffsr.signal.stft import STFT

SD = 0.05
EXACT_MEAN, EXACT_SD = SD / 2, SD / 2**0.5
GUIDANCE = {
    "dps": DPS("likelihood"),
    "dps normalised": DPS("normalised", zeta=0.5),
    "proximal": Proximal(),
    "noise_perturbed": NoisePerturbed(weight=1.0),
    "projection": Projection(),
    "unguided": Unguided(),
}
SOLVER = {
    "euler": Euler(),
    "heun": Heun(),
    "ancestral": Ancestral(),
    "predictor_corrector": PredictorCorrector(),
    "renoise sampled": Renoise(sampled=True),
    "renoise mean": Renoise(sampled=False),
    "depse_il": PosteriorTransition("implicit"),
    "depse_tl": PosteriorTransition("tractable"),
}
# Worst error of the spread over halves of the spectrum with 60 levels; steps of first order narrow it by what
# they leave out. Of the mean, 3 standard deviations of what 4 samples of 1024 values leave in a half.
MEAN_WITHIN = 0.09
EXACT_WITHIN = {
    "euler": 0.06,
    "heun": 0.05,
    "ancestral": 0.10,
    "predictor_corrector": 0.05,
    "renoise sampled": 0.05,
}
EXACT = list(product(("dps", "proximal"), EXACT_WITHIN))
BIAS = {  # mean and standard deviation of the white problem with 60 levels; exact: 0.0250, 0.0354
    ("dps", "renoise mean"): (0.0250, 0.0243),
    ("dps", "depse_il"): (0.0344, 0.0232),
    ("dps", "depse_tl"): (0.0363, 0.0222),
    ("dps normalised", "euler"): (0.0518, 0.0068),
    ("dps normalised", "heun"): (0.0515, 0.0076),
    ("dps normalised", "ancestral"): (0.0473, 0.0095),
    ("dps normalised", "predictor_corrector"): (0.0465, 0.0093),
    ("dps normalised", "renoise sampled"): (0.0497, 0.0010),
    ("dps normalised", "renoise mean"): (0.0500, 0.0000),
    ("dps normalised", "depse_il"): (0.0486, 0.0048),
    ("dps normalised", "depse_tl"): (0.0487, 0.0044),
    ("proximal", "renoise mean"): (0.0250, 0.0243),
    ("proximal", "depse_il"): (0.0344, 0.0232),
    ("proximal", "depse_tl"): (0.0363, 0.0222),
    ("noise_perturbed", "euler"): (0.0250, 0.0038),
    ("noise_perturbed", "heun"): (0.0250, 0.0050),
    ("noise_perturbed", "ancestral"): (0.0253, 0.0265),
    ("noise_perturbed", "predictor_corrector"): (0.0255, 0.0331),
    ("noise_perturbed", "renoise sampled"): (0.0262, 0.0344),
    ("noise_perturbed", "renoise mean"): (0.0250, 0.0233),
    ("noise_perturbed", "depse_il"): (0.0329, 0.0213),
    ("noise_perturbed", "depse_tl"): (0.0346, 0.0208),
    ("projection", "euler"): (0.0500, 0.0000),
    ("projection", "heun"): (0.0500, 0.0000),
    ("projection", "ancestral"): (0.0500, 0.0000),
    ("projection", "predictor_corrector"): (0.0500, 0.0000),
    ("projection", "renoise sampled"): (0.0500, 0.0000),
    ("projection", "renoise mean"): (0.0500, 0.0000),
    ("projection", "depse_il"): (0.0500, 0.0000),
    ("projection", "depse_tl"): (0.0500, 0.0000),
    ("unguided", "euler"): (0.0022, 0.0480),
    ("unguided", "heun"): (0.0023, 0.0495),
    ("unguided", "ancestral"): (0.0004, 0.0473),
    ("unguided", "predictor_corrector"): (0.0009, 0.0500),
    ("unguided", "renoise sampled"): (0.0015, 0.0493),
    ("unguided", "renoise mean"): (0.0002, 0.0346),
    ("unguided", "depse_il"): (0.0236, 0.0285),
    ("unguided", "depse_tl"): (0.0287, 0.0265),
}
# Its steps are zeta sigma a level, and each draw undoes the one before: few levels do not get there.
FORGETFUL = {("dps normalised", "renoise sampled"): 0.4}
ORACLES = {"white": white_oracle(1024), "coloured": coloured_oracle(1024)}


@cache
def moments(guidance, solver, n_steps=60, oracle="white"):
    sampler = AnnealedSampler(GUIDANCE[guidance], SOLVER[solver], [], n_steps, churn=0.0)
    return check_sampler(sampler, ORACLES[oracle], n_samples=4)


@pytest.mark.parametrize("oracle", ORACLES)
@pytest.mark.parametrize(("guidance", "solver"), EXACT)
def test_exact_pairs_sample_the_posterior(guidance, solver, oracle):
    found = moments(guidance, solver, oracle=oracle)
    assert abs(found.mean_error) < MEAN_WITHIN
    assert abs(found.sd_error) < EXACT_WITHIN[solver]


@pytest.mark.parametrize(("guidance", "solver"), BIAS)
def test_other_pairs_keep_their_tabulated_bias(guidance, solver):
    found = moments(guidance, solver)
    assert (found.mean, found.sd) == pytest.approx(BIAS[guidance, solver], rel=0.04, abs=2e-4)


def test_no_pair_is_missing():
    assert {*EXACT, *BIAS} == set(product(GUIDANCE, SOLVER))
    assert not set(EXACT) & set(BIAS)


# dps takes the steps of proximal, as a test below proves.
@pytest.mark.parametrize(("guidance", "solver"), [p for p in product(GUIDANCE, SOLVER) if p[0] != "dps"])
def test_the_number_of_levels_changes_little_and_less_and_less(guidance, solver):
    found = [moments(guidance, solver, n) for n in (30, 60, 120)]
    for values, unit in (([m.mean for m in found], EXACT_MEAN), ([m.sd for m in found], EXACT_SD)):
        first, second = (abs(b - a) / unit for a, b in zip(values, values[1:], strict=False))
        assert first + second < FORGETFUL.get((guidance, solver), 0.15)
        assert second < first + 0.06  # what chance leaves in a mean


def test_more_levels_converge_to_the_exact_spread():
    spreads = [moments("proximal", "euler", n).sd for n in (30, 60, 120)]
    errors = [abs(spread - EXACT_SD) for spread in spreads]
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("solver", SOLVER)
def test_gradient_and_closed_form_are_the_same_for_gaussian_priors(solver):
    dps, proximal = moments("dps", solver), moments("proximal", solver)
    assert (dps.mean, dps.sd) == pytest.approx((proximal.mean, proximal.sd), rel=1e-3)


@pytest.mark.parametrize(
    ("guidance", "churn", "expected"),
    [
        (Proximal(), 1.0, (EXACT_MEAN, EXACT_SD)),
        (NoisePerturbed(1.0), 2.0, (0.025, 0.0281)),
        (NoisePerturbed(1.5), 2.0, (0.030, 0.0245)),  # the published weight overshoots; `enhance`
    ],
)
def test_churn_keeps_the_exact_pair_exact_and_widens_the_narrow_one(guidance, churn, expected):
    sampler = AnnealedSampler(guidance, Euler(), [], churn=churn)
    found = check_sampler(sampler, ORACLES["white"], n_samples=4)
    assert (found.mean, found.sd) == pytest.approx(expected, rel=0.06)


def test_a_start_from_the_recording_costs_a_known_bias():
    # It lies y / 2 off the posterior mean; of that sd_post / sqrt(sigma_max^2 + sd_post^2) is left.
    sampler = AnnealedSampler(Proximal(), Heun(), [], churn=0.0)
    exact = check_sampler(sampler, ORACLES["white"], n_samples=4)
    usual = check_sampler(sampler, ORACLES["white"], n_samples=4, exact_start=False)
    assert usual.mean / exact.mean - 1 == pytest.approx(0.0705, abs=0.02)


def test_the_pair_of_enhance_hardly_depends_on_the_number_of_levels():
    guidance = NoisePerturbed(1.5)
    spreads = [
        check_sampler(AnnealedSampler(guidance, Euler(), [], n, churn=2.0), ORACLES["white"], 4).sd
        for n in (60, 120)
    ]
    assert max(spreads) < 1.1 * min(spreads)


@pytest.mark.parametrize("guidance", [Proximal(), DPS()])
def test_two_talkers_share_the_residual_and_explain_the_mixture(guidance):
    # Posterior of each of two equal talkers: mean y sd^2 / (2 sd^2 + v) = y / 3, variance sd^2 (1 - 1 / 3),
    # and between the two -sd^2 / 3.
    y = torch.full((4, 1, 2048), SD)
    likelihood, noise = WhiteNoise(SD, 64, 16), RowNoise(0, list("abcd"))
    problem = Problem.pose(y, WhiteGaussianPrior(SD), Mixing(), likelihood, noise, n_sources=2)
    sampler = AnnealedSampler(guidance, Renoise(sampled=True), [], churn=0.0)
    x = sampler.sample(problem, FromObservation()(problem, 0.5)).x
    assert float(x.mean()) == pytest.approx(SD / 3, rel=0.04)
    covariance = torch.cov(x.transpose(0, 1).flatten(1))
    expected = SD**2 * torch.tensor([[2 / 3, -1 / 3], [-1 / 3, 2 / 3]])
    torch.testing.assert_close(covariance, expected, rtol=0.06, atol=0)


def test_the_coloured_prior_is_exact():
    # Against dense linear algebra: denoiser, and the error's power through the window of an STFT.
    n, sigma = 64, 0.04
    prior = StationaryGaussianPrior(torch.tensor([0.01, 0.004, 0.001]))
    covariance = torch.fft.irfft(
        prior.power_at(n // 2 + 1)[:, None] * torch.fft.rfft(torch.eye(n), dim=0), dim=0
    )
    wiener = covariance @ torch.linalg.inv(covariance + sigma**2 * torch.eye(n))
    z = torch.randn(2, n, generator=torch.Generator().manual_seed(0))
    denoised = prior.denoise(z, torch.full((2,), sigma))
    torch.testing.assert_close(denoised, z @ wiener.mT, rtol=1e-3, atol=1e-4)

    error = covariance - wiener @ covariance
    stft = STFT(16, 4)
    frame = torch.diag(stft.window) @ torch.eye(n)[16:32]
    fourier = torch.fft.rfft(torch.eye(16), dim=0)
    expected = (fourier @ (frame @ error @ frame.mT).cfloat() @ fourier.mH).diagonal().real
    found = prior.uncertainty(z[0], torch.tensor(sigma), stft)[:, 0]
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0)


def test_a_flat_coloured_prior_is_the_white_one():
    flat, white, stft = StationaryGaussianPrior(torch.full((2,), SD**2)), WhiteGaussianPrior(SD), STFT(64, 16)
    z, sigma = torch.randn(3, 256, generator=torch.Generator().manual_seed(0)), torch.tensor([0.01, 0.1, 1.0])
    torch.testing.assert_close(flat.denoise(z, sigma), white.denoise(z, sigma), rtol=1e-4, atol=1e-5)
    ratio = flat.uncertainty(z, sigma, stft) / white.uncertainty(z, sigma, stft)
    torch.testing.assert_close(ratio, torch.ones_like(ratio), rtol=1e-4, atol=0)


@pytest.mark.parametrize("oracle", ORACLES.values(), ids=ORACLES)
def test_the_yardstick_itself(oracle):
    noise = RowNoise(1, ["draws"], 8)
    exact = oracle.start(0.0, noise, 8)[:, 0]
    assert compare(exact, oracle).is_exact
    assert compare(exact, oracle).verdict == f"exact within {TOLERANCE:.0%}"
    narrow = compare(oracle.mean + 0.8 * (exact - oracle.mean), oracle)
    assert narrow.sd_error == pytest.approx(-0.2, abs=0.04)
    assert narrow.verdict == "biased: spread too narrow"
    shifted = compare(exact + 0.3 * oracle.mean, oracle)
    assert shifted.mean_error == pytest.approx(0.3, abs=0.05)
    assert shifted.verdict == "biased: mean too close to the recording"
