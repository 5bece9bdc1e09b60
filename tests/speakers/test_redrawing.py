"""One call of a prior on clean speech: at the level of the prior, at a noise level for each group."""

from __future__ import annotations

import pytest
import torch

from diffsr.errors import ConfigError
from diffsr.tasks.redrawing import Redrawing


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_waves_go_to_the_prior_at_its_level_and_come_back_at_theirs(redrawing):
    """A common gain for the waves of a group, so that the louder one stays so."""
    torch.manual_seed(0)
    level = torch.tensor([1e-3, 1.0, 100.0])[:, None, None]
    waves = torch.randn(3, 2, 8_000)
    waves[:, 1] *= 0.1
    torch.testing.assert_close(redrawing(level * waves, rng()) / level, waves, rtol=0, atol=1e-4)
    state, sigma = redrawing.prior.shown
    torch.testing.assert_close(state.square().mean((1, 2)).sqrt(), torch.full((3,), 0.05), rtol=1e-3, atol=0)
    assert state[:, 1].std() < 0.2 * state[:, 0].std()
    assert torch.equal(sigma[:, 0], sigma[:, 1])


def test_silence_stays_silent(redrawing):
    redrawing.sigma = (0.2, 0.2)
    assert float(redrawing(torch.zeros(1, 1, 4_000), rng()).abs().max()) < 1e-9


def test_the_noise_of_each_group_has_the_size_that_the_prior_is_told(redrawing):
    redrawing.sigma = (0.02, 0.5)
    clean = torch.zeros(200, 1, 2_000)
    clean[..., 0] = 0.05 * 2_000**0.5  # an impulse: the rest of each state is noise
    redrawing(clean, rng())
    state, sigma = redrawing.prior.shown
    torch.testing.assert_close(state[..., 1:].std(-1), sigma, rtol=0.1, atol=0)
    assert 0.02 <= float(sigma.min()) < 0.025
    assert 0.4 < float(sigma.max()) <= 0.5
    assert float(sigma.log().mean().exp()) == pytest.approx(0.1, rel=0.15)  # log-uniform


def test_out_of_range():
    with pytest.raises(ConfigError, match="share = 2; expected a number from 0 to 1"):
        Redrawing(share=2.0)
    with pytest.raises(ConfigError, match=r"sigma = \(0.2, 0.1\); expected two numbers above 0"):
        Redrawing(sigma=(0.2, 0.1))
