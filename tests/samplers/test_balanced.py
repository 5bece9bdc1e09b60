"""Fresh noise that cancels over the talkers: its sizes, and what it does to Gaussians, by 2 x 2 matrices."""

from __future__ import annotations

import pytest
import torch

from diffsr.degradations import Mixing
from diffsr.diffusion.analytic import PriorOfEach, WhiteGaussianPrior
from diffsr.errors import ConfigError
from diffsr.likelihoods import WhiteNoise
from diffsr.samplers import (
    AnnealedSampler,
    BalancedRenoise,
    FromNoise,
    Problem,
    Projection,
    Proximal,
    Renoise,
    RowNoise,
)
from diffsr.samplers.balanced import balanced
from diffsr.typing import Sources

SD = 0.05


class Several(PriorOfEach):
    """White priors; remembers the states that it is shown."""

    def __init__(self, *sds: float) -> None:
        super().__init__([WhiteGaussianPrior(sd) for sd in sds])
        self.seen: list[Sources] = []

    def denoise(self, z: Sources, sigma: torch.Tensor) -> Sources:
        self.seen.append(z)
        return super().denoise(z, sigma)


def problem_of(*sds: float, n_rows: int = 4) -> Problem:
    y = torch.full((n_rows, 1, 4096), SD)
    noise = RowNoise(0, [str(row) for row in range(n_rows)])
    return Problem.pose(y, Several(*sds), Mixing(), WhiteNoise(1e-5, 64, 16), noise, n_sources=len(sds))


def sampler_of(solver: BalancedRenoise | Renoise, n_steps: int = 40) -> AnnealedSampler:
    return AnnealedSampler(Projection(), solver, [], n_steps, churn=0.0, initialiser=FromNoise())


@pytest.mark.parametrize("n_talkers", [2, 3, 5])
def test_noise_of_the_talkers_cancels_and_has_its_size(n_talkers: int) -> None:
    noise = balanced(torch.randn(1, n_talkers, 100_000, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(noise.sum(1), torch.zeros(1, 100_000), atol=2e-6, rtol=0)
    expected = torch.full((n_talkers, n_talkers), -1 / (n_talkers - 1)).fill_diagonal_(1.0)
    torch.testing.assert_close(torch.cov(noise[0]), expected, atol=0.02, rtol=0)  # no talker is another


@pytest.mark.parametrize("n_talkers", [2, 3])
def test_the_prior_sees_states_that_sum_to_the_recording(n_talkers: int) -> None:
    problem, sampler = problem_of(*[SD] * n_talkers), sampler_of(BalancedRenoise(0.8, 0.5), 12)
    x = sampler.sample(problem, sampler.start(problem)).x
    _, *seen = problem.prior.seen  # the first is noise alone
    assert len(seen) == 11
    for z in [*seen, x]:
        torch.testing.assert_close(z.sum(1, keepdim=True), problem.y, atol=1e-6, rtol=0)


def test_the_share_follows_the_logarithm_of_the_level() -> None:
    solver = BalancedRenoise(0.9, 0.5, sigma_high=1.0, sigma_low=0.01)
    levels = torch.tensor([5.0, 1.0, 0.1, 0.01, 0.001])
    torch.testing.assert_close(solver.share(levels), torch.tensor([0.9, 0.9, 0.7, 0.5, 0.5]))
    problem, x0 = problem_of(SD, SD), torch.zeros(4, 2, 4096)
    for level, share in ((5.0, 0.9), (0.1, 0.7)):
        sigma = torch.full((4,), level)
        z = solver.step(x0, x0, 2 * sigma, sigma, None, problem)
        assert float(z.std() / level) == pytest.approx(share, rel=0.02)
    assert solver.step(x0 + 1, x0, sigma, 0 * sigma, None, problem) is x0


def reference(sampler: AnnealedSampler, sds: tuple[float, float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean in units of the recording and covariance in units of SD^2, by the Gaussian's own recursion."""
    variance = torch.tensor(sds, dtype=torch.float64).square()
    even = torch.full((2, 2), -0.5, dtype=torch.float64).fill_diagonal_(0.5)
    sigmas = sampler.sigmas.double()
    mean, cov = torch.zeros(2, dtype=torch.float64), sigmas[0] ** 2 * torch.eye(2, dtype=torch.float64)
    for sigma, sigma_next in zip(sigmas, sigmas[1:], strict=False):
        move = even * (variance / (variance + sigma**2))
        fresh = sigma_next * sampler.solver.share(sigma_next) if sigma_next > 0 else sigma_next
        mean, cov = move @ mean + 0.5, move @ cov @ move.T + 2 * fresh**2 * even
    return mean, cov / SD**2


@pytest.mark.parametrize("share", [1.0, 0.6])
@pytest.mark.parametrize("sds", [(SD, SD), (1.5 * SD, 0.5 * SD)])
def test_gaussian_talkers_follow_the_matrices(sds: tuple[float, float], share: float) -> None:
    sampler = sampler_of(BalancedRenoise(share, share))
    problem = problem_of(*sds)
    x = sampler.sample(problem, sampler.start(problem)).x
    mean, cov = reference(sampler, sds)
    torch.testing.assert_close(x.mean((0, 2)).double() / SD, mean, atol=0.02, rtol=0.02)
    found = torch.cov(x.transpose(0, 1).flatten(1)).double()
    torch.testing.assert_close(found / SD**2, cov, atol=0.01, rtol=0.05)


@pytest.mark.parametrize(
    ("solver", "sds", "expected"),
    [  # mean of talker 0 in units of y, its variance in units of SD^2, with 200 levels from 4 on
        (BalancedRenoise(1.0, 1.0), (SD, SD), (0.500, 0.484)),  # exact: 0.500, 0.500
        (BalancedRenoise(1.0, 1.0), (1.5 * SD, 0.5 * SD), (0.881, 0.227)),  # exact: 0.900, 0.225
        (BalancedRenoise(share_low=0.59), (SD, SD), (0.500, 0.169)),
        (BalancedRenoise(share_low=0.59), (1.5 * SD, 0.5 * SD), (0.881, 0.079)),
    ],
)
def test_the_bias_of_docs_separation(solver, sds, expected) -> None:
    """With all of the noise about the exact posterior; with less the same mean and less spread."""
    sampler = AnnealedSampler(Projection(), solver, [], 200, 4.0, churn=0.0, initialiser=FromNoise())
    mean, cov = reference(sampler, sds)
    assert (float(mean[0]), float(cov[0, 0])) == pytest.approx(expected, abs=6e-4)


def test_of_one_talker_the_noise_stays() -> None:
    runs = []
    for solver in (BalancedRenoise(1.0, 1.0), Renoise(sampled=False)):
        problem, sampler = problem_of(SD), sampler_of(solver, 6)
        runs.append(sampler.sample(problem, sampler.start(problem)).x)
    assert torch.equal(*runs)


@pytest.mark.parametrize("given", [(0.0, 0.5), (0.9, -1.0), (0.9, 0.5, 0.1, 0.1), (0.9, 0.5, 0.1, 0.0)])
def test_shares_and_levels_that_cannot_be(given: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="expected shares above 0"):
        BalancedRenoise(*given)


def test_proximal_with_a_given_uncertainty() -> None:
    """As a multiple of sigma^2: the prior's own where that is white, and a hard split without noise."""
    problem, sigma = problem_of(SD, SD), torch.full((4,), 0.1)
    rng = torch.Generator().manual_seed(0)
    z, x0 = (SD * torch.randn(4, 2, 4096, generator=rng) for _ in range(2))
    problem.likelihood = WhiteNoise(0.05, 64, 16)
    problem.likelihood.reset(problem.y, problem.item_of_row)
    own = Proximal(uncertainty=SD**2 / (SD**2 + 0.1**2)).correct(z, x0, sigma, problem)
    torch.testing.assert_close(own, Proximal().correct(z, x0, sigma, problem), atol=1e-7, rtol=1e-4)
    even = Proximal(uncertainty=1e6).correct(z, x0, sigma, problem)
    torch.testing.assert_close(even, Projection().correct(z, x0, sigma, problem), atol=1e-5, rtol=1e-4)
    assert float((even - own).abs().max()) > 0.01
    with pytest.raises(ConfigError, match="above 0"):
        Proximal(uncertainty=0.0)
