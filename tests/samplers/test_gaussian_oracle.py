"""With a white Gaussian prior and white noise the posterior is known: N(y / 2, sd^2 / 2) for v = sd^2.

The biased pairs are tested against their own tabulated bias, so that a change of any formula shows.
"""

from __future__ import annotations

import pytest
import torch

from diffsr.degradations import Mixing
from diffsr.diffusion.analytic import WhiteGaussianPrior
from diffsr.likelihoods import WhiteNoise
from diffsr.samplers import AnnealedSampler, Euler, NoisePerturbed, Problem, Proximal, Renoise, RowNoise
from diffsr.samplers.initialise import from_observation

SD = 0.05
EXACT_MEAN, EXACT_SD = SD / 2, SD / 2**0.5


def posterior_moments(guidance, solver, churn, n_steps=60, n_sources=1):
    noise = RowNoise(0, ["a", "b", "c", "d"])
    y = torch.full((4, 1, 8192), SD)
    problem = Problem.pose(y, WhiteGaussianPrior(SD), Mixing(), WhiteNoise(SD), noise, n_sources=n_sources)
    sampler = AnnealedSampler(guidance, solver, estimators=[], n_steps=n_steps, sigma_max=0.5, churn=churn)
    x = sampler.sample(problem, from_observation(problem, 0.5)).x
    return float(x.mean()), float(x.std())


@pytest.mark.parametrize(
    ("solver", "churn", "tolerance"),
    # The ODE starts from y + noise instead of from the exact marginal: a bias of 7 % in the mean.
    [(Euler(), 0.0, 0.08), (Euler(), 1.0, 0.08), (Renoise(sampled=True), 0.0, 0.02)],
)
def test_proximal_guidance_samples_the_exact_posterior(solver, churn, tolerance):
    mean, sd = posterior_moments(Proximal(), solver, churn)
    assert mean == pytest.approx(EXACT_MEAN, rel=tolerance)
    assert sd == pytest.approx(EXACT_SD, rel=tolerance)


@pytest.mark.parametrize(
    ("guidance", "solver", "churn", "expected"),
    [
        (Proximal(), Renoise(sampled=False), 0.0, (0.025, 0.024)),  # mean re-noising: too narrow
        (NoisePerturbed(1.0), Euler(), 0.0, (0.025, 0.004)),  # the prior counted twice: far too narrow
        (NoisePerturbed(1.0), Euler(), 2.0, (0.025, 0.0281)),
        (NoisePerturbed(1.5), Euler(), 2.0, (0.030, 0.0245)),  # the published weight overshoots; `enhance`
    ],
)
def test_biased_pairs_keep_their_tabulated_bias(guidance, solver, churn, expected):
    assert posterior_moments(guidance, solver, churn) == pytest.approx(expected, rel=0.06)


def test_more_steps_converge_without_retuning():
    spreads = [posterior_moments(Proximal(), Euler(), 1.0, n)[1] for n in (30, 60, 120)]
    errors = [abs(spread - EXACT_SD) for spread in spreads]
    assert errors[0] > errors[1] > errors[2]


def test_the_pair_of_enhance_hardly_depends_on_the_number_of_steps():
    spreads = [posterior_moments(NoisePerturbed(1.5), Euler(), 2.0, n)[1] for n in (60, 120, 240)]
    assert max(spreads) < 1.15 * min(spreads)


def test_two_talkers_share_the_residual_and_explain_the_mixture():
    # Posterior of each of two equal talkers: mean y sd^2 / (2 sd^2 + v) = y / 3.
    mean, _ = posterior_moments(Proximal(), Renoise(sampled=True), 0.0, n_sources=2)
    assert mean == pytest.approx(SD / 3, rel=0.03)
