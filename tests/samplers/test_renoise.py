"""Noise that is the opposite of that of the level before: its size, and what it does where much is known."""

from __future__ import annotations

import pytest
import torch

from diffsr.degradations import Mixing, PacketLoss
from diffsr.diffusion.analytic import StationaryGaussianPrior, WhiteGaussianPrior
from diffsr.errors import ConfigError
from diffsr.likelihoods import WhiteNoise
from diffsr.samplers import AnnealedSampler, BalancedRenoise, Problem, Projection, Renoise, RowNoise
from diffsr.typing import Sources

N_ROWS, LENGTH = 32, 512
SD = 0.05


def moved(solver: Renoise | BalancedRenoise, n_sources: int, at: float = 0.3, to: float = 0.2) -> Sources:
    """Noise of the state before a step and after it, in units of the levels, `[2, S, T]`."""
    noise = RowNoise(0, ["a"])
    y = torch.zeros(1, 1, 100_000)
    problem = Problem.pose(y, WhiteGaussianPrior(), Mixing(), WhiteNoise(1e-4), noise, n_sources=n_sources)
    old = torch.randn(1, n_sources, 100_000, generator=torch.Generator().manual_seed(1))
    x0 = torch.ones_like(old)
    levels = torch.tensor([at]), torch.tensor([to])
    z = solver.step(x0 + at * old, x0, *levels, lambda z, sigma: z, problem)
    return torch.cat([old, (z - x0) / to])


@pytest.mark.parametrize("kept", [-1.0, -0.9, 0.0, 0.5, 1.0])
def test_noise_has_its_size_and_its_correlation_with_that_of_the_state(kept: float) -> None:
    old, new = moved(Renoise(sampled=False, share=1.1, kept=kept), 1)
    assert float(new.square().mean().sqrt()) == pytest.approx(1.1, rel=0.01)
    assert float((old * new).mean() / 1.1) == pytest.approx(kept, abs=0.01)


@pytest.mark.parametrize("kept", [-0.5, 0.0])
def test_noise_of_talkers_still_cancels(kept: float) -> None:
    old, new = moved(BalancedRenoise(0.8, 0.5, kept=kept), 3)
    share = float(BalancedRenoise(0.8, 0.5).share(torch.tensor(0.2)))
    torch.testing.assert_close(new.sum(0), torch.zeros(100_000), atol=1e-5, rtol=0)
    assert float(new.square().mean().sqrt()) == pytest.approx(share, rel=0.01)
    cosine = float(((old - old.mean(0)) * new).mean() / (2 / 3) ** 0.5 / share)
    assert cosine == pytest.approx(kept, abs=0.01)


def test_opposite_noise_brings_what_is_lost_nearer_to_its_expectation() -> None:
    """Gaps in coloured noise: the conditional mean is known, and all else is an error of the sampler."""
    power = 8 * SD**2 * torch.exp(-((torch.linspace(0, 1, 65) / 0.12) ** 2)) + 1e-7
    prior = StationaryGaussianPrior(power)
    line = torch.fft.irfft(prior.power_at(LENGTH // 2 + 1).double(), n=LENGTH)
    covariance = torch.stack([line.roll(k) for k in range(LENGTH)])
    white = torch.randn(LENGTH, N_ROWS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = (torch.linalg.cholesky(covariance + 1e-12 * torch.eye(LENGTH)) @ white).T
    received = torch.arange(LENGTH) % 60 >= 12
    received[:20] = True
    known = covariance[received][:, received] + 1e-9 * torch.eye(int(received.sum()))
    expected = x[:, received] @ torch.linalg.solve(known, covariance[received][:, ~received])

    def error(kept: float) -> float:
        noise = RowNoise(0, [str(row) for row in range(N_ROWS)])
        damage = PacketLoss(received.expand(N_ROWS, -1))
        y = (x * received).float()[:, None]
        problem = Problem.pose(y, prior, damage, WhiteNoise(1e-6, 64, 16), noise)
        sampler = AnnealedSampler(Projection(), Renoise(False, kept=kept), [], churn=0.0)
        made = sampler.sample(problem, sampler.start(problem)).x[:, 0, ~received]
        return float((made - expected).square().mean())

    fresh, opposite, same = error(0.0), error(-0.9), error(0.5)
    assert opposite < 0.65 * fresh
    assert fresh < 0.85 * same


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: Renoise(kept=-1.1), r"kept is -1\.1; expected a correlation"),
        (lambda: BalancedRenoise(kept=2), "kept is 2; expected a correlation"),
        (lambda: Renoise(share=0), "share = 0; expected a multiple of the noise above 0"),
    ],
)
def test_what_is_no_noise_is_refused(made, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        made()
