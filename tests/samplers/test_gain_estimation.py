"""The M-step of gains: finds them, leaves them alone, and says what it needs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from diffsr.degradations import Chain, Clipping, Gain, Mixing, Room
from diffsr.degradations.gain import LIMIT_DB
from diffsr.diffusion.analytic import WhiteGaussianPrior
from diffsr.errors import ConfigError
from diffsr.likelihoods import NMFNoise, WhiteNoise
from diffsr.samplers import Problem, RowNoise, UpdateGain, UpdateNoise
from diffsr.signal.stft import STFT

ROWS, T = 3, 6000
TRUE_DB = torch.tensor([[3.0, -4.0], [0.0, 8.0], [-11.0, 5.0]])
SIGMA = torch.full((ROWS,), 0.05)


class Unsure:
    """A prior with one uncertainty everywhere."""

    rate_hz, sigma_data = 16000, 0.05

    def uncertainty(self, x0: Tensor, sigma: Tensor, stft: STFT) -> Tensor:
        return torch.full((*x0.shape[:-1], 1, 1), 1e-4)


def sources() -> Tensor:
    return 0.05 * torch.randn(ROWS, 2, T, generator=torch.Generator().manual_seed(0))


def posed(chain, y: Tensor, n_sources: int = 2) -> Problem:
    names = [str(row) for row in range(len(y))]
    return Problem.pose(y, Unsure(), chain, WhiteNoise(1e-4), RowNoise(0, names), n_sources=n_sources)


def with_gain(gain_db: Tensor, x: Tensor) -> Tensor:
    return 10 ** (gain_db / 20)[..., None] * x


def test_gains_of_talkers_in_a_mixture_are_found_row_by_row():
    x, gain = sources(), Gain(fit=True)
    y = with_gain(TRUE_DB, x).sum(1, keepdim=True)
    problem = posed(Chain([gain, Mixing()]), y)
    UpdateGain().update(x, SIGMA, problem)
    torch.testing.assert_close(gain.gain_db, TRUE_DB, atol=0.05, rtol=0)
    together = gain.gain_db
    for row in range(ROWS):
        alone = Gain(fit=True)
        UpdateGain().update(x[row : row + 1], SIGMA[:1], posed(Chain([alone, Mixing()]), y[row : row + 1]))
        torch.testing.assert_close(alone.gain_db[0], together[row], atol=1e-3, rtol=0)


def test_the_level_behind_a_room_is_found_and_limited():
    x = sources()[:, :1]
    response = torch.zeros(1, 1, 1, 200)
    response[..., 0], response[..., 150] = 1.0, 0.4
    true_db = torch.tensor([[5.0], [-7.0], [30.0]])
    gain, room = Gain(fit=True), Room(response)
    chain = Chain([gain, room])
    chain.reset(torch.zeros(ROWS, 1, T), 1)
    y = room(with_gain(true_db, x))
    UpdateGain().update(x, SIGMA, posed(chain, y, n_sources=1))
    torch.testing.assert_close(gain.gain_db, true_db.clamp(-LIMIT_DB, LIMIT_DB), atol=0.05, rtol=0)


def test_an_estimate_that_is_shrunk_as_a_posterior_mean_leaves_the_gain_unbiased():
    """`E[X | z]` is uncorrelated with its own error: least squares on it find the gain all the same."""
    rng = torch.Generator().manual_seed(1)
    x0 = 0.05 * torch.randn(ROWS, 1, 20 * T, generator=rng)
    x = x0 + 0.05 * torch.randn(ROWS, 1, 20 * T, generator=rng)
    gain = Gain(fit=True)
    y = with_gain(TRUE_DB[:, :1], x)
    UpdateGain().update(x0, SIGMA, posed(Chain([gain, Mixing()]), y, n_sources=1))
    torch.testing.assert_close(gain.gain_db, TRUE_DB[:, :1], atol=0.4, rtol=0)


@pytest.mark.parametrize("gain_db", [0.0, -6.0, -12.0])
def test_noise_is_found_behind_any_gain(gain_db):
    rng = torch.Generator().manual_seed(2)
    x, n, e = (sd * torch.randn(1, 1, 4 * T, generator=rng) for sd in (0.05, 0.01, 0.05))
    prior, sigma = WhiteGaussianPrior(0.05), torch.tensor([0.05])
    chain, noise = Chain([Gain(torch.tensor([[gain_db]])), Mixing()]), NMFNoise(rank=1)
    y = with_gain(torch.tensor([[gain_db]]), x) + n
    problem = Problem.pose(y, prior, chain, noise, RowNoise(0, ["a"]))
    UpdateNoise(sigma_start=1.0, n_updates=200).update(prior.denoise(x + e, sigma[:, None]), sigma, problem)
    found = (noise.variance.mean() / noise.stft.window_energy).sqrt()
    assert float(found) == pytest.approx(0.01, rel=0.25)


def test_gains_move_between_its_levels_alone():
    x, gain = sources(), Gain(fit=True)
    problem = posed(Chain([gain, Mixing()]), with_gain(TRUE_DB, x).sum(1, keepdim=True))
    for sigma in (0.3, 0.004):
        UpdateGain(0.2, 0.005).update(x, torch.full((ROWS,), sigma), problem)
    assert torch.equal(gain.gain_db, torch.zeros(ROWS, 2))


@pytest.mark.parametrize(
    ("chain", "words"),
    [
        (Chain([Gain(), Mixing()]), r"holds no Gain\(fit=True\)"),
        (Mixing(), r"holds no Gain\(fit=True\)"),
        (Chain([Gain(fit=True), Mixing(), Clipping(0.1)]), "needs a linear chain"),
    ],
)
def test_what_cannot_be_fitted_is_told(chain, words):
    x = sources()
    y = x.sum(1, keepdim=True).clamp(-0.1, 0.1)
    with pytest.raises(ConfigError, match=words):
        UpdateGain().update(x, SIGMA, posed(chain, y))
