"""Posterior samples of one talker made into one: antithetic pairs, and levels that survive the mean."""

from __future__ import annotations

import pytest
import torch

from diffsr.degradations import Mixing
from diffsr.diffusion.analytic import WhiteGaussianPrior
from diffsr.likelihoods import WhiteNoise
from diffsr.restoration.spread import variance_of
from diffsr.samplers import AnnealedSampler, LogSpectralMean, NoisePerturbed, Problem, RowNoise
from diffsr.samplers.initialise import FromObservation
from diffsr.signal.stft import STFT

RATE_HZ = 16000


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def drawn(seed: int, antithetic: bool, n_restarts: int = 2) -> torch.Tensor:
    """Samples `[R, T]` of Gaussian speech in Gaussian noise."""
    y = 0.07 * noise(1, 1, 4000)
    rows = RowNoise(seed, ["a"], n_restarts, antithetic=antithetic)
    problem = Problem.pose(y, WhiteGaussianPrior(0.05), Mixing(), WhiteNoise(0.05), rows, n_restarts)
    sampler = AnnealedSampler(NoisePerturbed(), estimators=[], n_steps=20, churn=1.0)
    return sampler.sample(problem, FromObservation()(problem, 0.5)).x[:, 0]


def test_the_mean_of_an_antithetic_pair_has_no_chance_in_it_where_all_is_linear():
    paired = [drawn(seed, antithetic=True).mean(0) for seed in (0, 1)]
    plain = [drawn(seed, antithetic=False).mean(0) for seed in (0, 1)]
    spread = float(drawn(0, antithetic=True)[0].std())
    assert float((paired[0] - paired[1]).abs().max()) < 1e-3 * spread
    assert float((plain[0] - plain[1]).std()) > 0.1 * spread


def test_the_spread_of_pairs_is_that_of_independent_samples():
    independent = float(drawn(3, antithetic=False, n_restarts=16).var(0).mean())
    paired = drawn(4, antithetic=True, n_restarts=16)
    assert float(variance_of(paired).mean()) == pytest.approx(independent, rel=0.05)
    assert float(paired[:2].var(0).mean()) > 1.5 * independent  # within a pair it is twice as much


@pytest.mark.parametrize("n_samples", [1, 2, 3, 4, 7])
def test_the_variance_is_over_all_samples_of_different_pairs(n_samples):
    samples = torch.complex(noise(n_samples, 5), noise(n_samples, 5, seed=1))
    compared = [
        (samples[a] - samples[b]).abs().square() / 2
        for a in range(n_samples)
        for b in range(a)
        if a // 2 != b // 2 or n_samples == 2
    ]
    found = variance_of(iter(samples))
    if n_samples == 1:
        assert bool(found.isnan().all())
    else:
        torch.testing.assert_close(found, torch.stack(compared).mean(0))


def test_equal_samples_have_no_spread_however_large():
    assert float(variance_of((1e6 + noise(9)).expand(5, 9)).max()) == 0.0


def test_one_sample_and_equal_ones_are_the_result():
    sample = noise(1, 2, 8000)
    assert torch.equal(LogSpectralMean()(sample, torch.zeros(1), RATE_HZ), sample[0])
    three = LogSpectralMean()(sample.expand(3, 2, 8000), torch.zeros(3), RATE_HZ)
    torch.testing.assert_close(three, sample[0], rtol=1e-3, atol=1e-4)


def test_levels_survive_where_phases_differ():
    """The mean of independent samples is 3 dB weaker than they are, the logarithmic one by 1 dB or so."""
    samples = noise(2, 1, 64_000)
    level_db = 10 * LogSpectralMean()(samples, torch.zeros(2), RATE_HZ).square().mean().log10()
    assert float(10 * samples.mean(0).square().mean().log10()) == pytest.approx(-3.0, abs=0.1)
    assert -2.5 < float(level_db) < -1.0


def test_each_bin_has_the_geometric_mean_of_the_magnitudes():
    stft, gains = STFT(), torch.tensor([0.25, 1.0, 2.0])
    shared = noise(1, 16_000)
    found = LogSpectralMean()(gains[:, None, None] * shared, torch.zeros(3), RATE_HZ)
    torch.testing.assert_close(stft(found), gains.prod() ** (1 / 3) * stft(shared), rtol=1e-3, atol=1e-3)


def test_digital_silence_stays_silent():
    samples = noise(2, 1, 16_000)
    samples[..., 4000:12_000] = 0.0
    found = LogSpectralMean()(samples, torch.zeros(2), RATE_HZ)
    assert float(found[..., 5000:11_000].abs().max()) < 1e-6
    assert bool(found.isfinite().all())
