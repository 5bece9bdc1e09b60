"""Adapting a prior to talkers: what an adaptation is, and what is learnt by it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from diffsr.diffusion import AdaptedPrior, Lesson, Prior, WindowedPrior, adapted
from diffsr.diffusion.adaptation import crops_of
from diffsr.diffusion.loss import denoising_loss
from diffsr.networks import NCSNpp, TFDualPath, TFTransformer

RATE_HZ = 16000
QUICK = Lesson(n_steps=30, n_crops=2, learning_rate=0.1)


def prior_of(network: torch.nn.Module) -> Prior:
    """Random weights that do something at every noise level."""
    rng = torch.Generator().manual_seed(0)
    prior = Prior(network, window_s=0.5)
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=rng)
    return prior.eval().requires_grad_(False)


@pytest.fixture(scope="module", params=["tf_transformer", "tf_dualpath"])
def prior(request) -> Prior:
    if request.param == "tf_transformer":
        return prior_of(TFTransformer(width=16, depth=2, heads=2))
    return prior_of(TFDualPath(width=16, depth=2, heads=2))


def drawn(prior: Prior, *shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, *prior.adaptation_shape, generator=torch.Generator().manual_seed(seed))


def states(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


def two_voices(n_samples: int = 8000) -> Tensor:
    """One talks low, the other one high, `[2, T]`, at the level of a prior."""
    time_s = torch.arange(n_samples) / RATE_HZ
    waves = torch.stack([(2 * torch.pi * f_hz * time_s).sin() for f_hz in (300.0, 3000.0)])
    return 0.05 * 2**0.5 * waves


def loss_of(prior: Prior, tracks: Tensor, known: Tensor | None) -> Tensor:
    """Denoising loss of each track, the mean over levels and the same noise."""
    losses = []
    for sigma in (0.1, 0.3, 1.0):
        rng = torch.Generator().manual_seed(3)
        level = torch.full((len(tracks),), sigma)
        losses.append(denoising_loss(prior, tracks, level, rng, adaptation=known))
    return torch.stack(losses).mean(0)


# What an adaptation is -------------------------------------------------------------------------------


def test_no_adaptation_is_one_of_zeros(prior):
    z, sigma = states(2, 6000), torch.tensor([0.5, 0.2])
    plain = prior.denoise(z, sigma)
    torch.testing.assert_close(prior.denoise(z, sigma, adaptation=0 * drawn(prior, 2)), plain)
    assert float((prior.denoise(z, sigma, adaptation=drawn(prior, 2)) - plain).abs().max()) > 1e-3


@pytest.mark.parametrize("n_samples", [6000, 20_000])  # one window, and three
def test_every_signal_and_all_of_its_windows_have_their_own(prior, n_samples):
    z, sigma, known = states(2, 2, n_samples), torch.full((2, 2), 0.5), drawn(prior, 2, 2)
    windowed = WindowedPrior(prior, 0.5, 0.1, windows_per_call=3)
    together = windowed.denoise(z, sigma, adaptation=known)
    for row in range(2):
        for track in range(2):
            place = (row, track)
            alone = windowed.denoise(z[place], sigma[place], adaptation=known[place])
            torch.testing.assert_close(together[place], alone, rtol=0, atol=1e-5)


def test_an_adapted_prior_is_as_it_was_at_little_noise(prior):
    z, sigma, known = states(4, 2, 6000), torch.full((4, 2), 0.5), drawn(prior, 4, 2)
    windowed = WindowedPrior(prior, 0.5, 0.1)
    personal = AdaptedPrior(windowed, known, sigma_low=0.25)
    assert torch.equal(personal.denoise(z, 0.5 * sigma), windowed.denoise(z, 0.5 * sigma))
    found = personal.denoise(z, sigma)
    torch.testing.assert_close(found, windowed.denoise(z, sigma, adaptation=known))
    second = personal.of([1], 2)  # two items of two restarts each
    torch.testing.assert_close(second.denoise(z[2:], sigma[2:]), found[2:], rtol=0, atol=1e-5)
    assert personal.n_told == second.n_told == 0


def test_a_network_without_modulation_is_refused():
    prior = Prior(NCSNpp(nf=16), window_s=0.5)
    assert prior.adaptation_shape is None
    with pytest.raises(ValueError, match="NCSNpp cannot be adapted"):
        adapted(prior, two_voices())
    with pytest.raises(ValueError, match="NCSNpp cannot be adapted"):
        prior.denoise(torch.zeros(1, 4000), torch.ones(1), adaptation=torch.zeros(1, 2, 3))
    with pytest.raises(ValueError, match="no talker and no adaptation"):
        prior.network(torch.zeros(1, 4000), torch.ones(1), None, torch.zeros(1, 2, 3))


# What is learnt --------------------------------------------------------------------------------------


def test_a_voice_is_denoised_best_by_its_own_adaptation(prior):
    tracks = two_voices()
    known = adapted(prior, tracks, QUICK)
    assert known.shape == (2, *prior.adaptation_shape)
    own, other = loss_of(prior, tracks, known), loss_of(prior, tracks, known.flip(0))
    assert (own < other - 0.003).all()
    assert (own < loss_of(prior, tracks, None)).all()


def test_what_talkers_have_in_common_is_not_learnt(prior):
    one = two_voices()[:1]
    common = adapted(prior, one.expand(2, -1), QUICK)
    apart = adapted(prior, two_voices(), QUICK)
    torch.testing.assert_close(apart.sum(0), torch.zeros(prior.adaptation_shape), rtol=0, atol=1e-5)
    assert float(common.norm()) < 0.5 * float(apart.norm())  # what is left of it is chance


def test_the_prior_stays_as_it_is_and_so_does_what_is_learnt(prior):
    before = {name: value.clone() for name, value in prior.state_dict().items()}
    with torch.no_grad():
        first = adapted(prior, two_voices(), replace(QUICK, n_steps=3))
    with torch.inference_mode():
        tracks = two_voices()
        second = adapted(prior, tracks, replace(QUICK, n_steps=3))
    assert torch.equal(first, second)
    assert not first.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in prior.state_dict().items())


def test_silence_teaches_nothing_that_is_not_finite(prior):
    tracks = two_voices()
    tracks[1] = 0.0
    assert adapted(prior, tracks, replace(QUICK, n_steps=3)).isfinite().all()
    assert adapted(prior, 0 * tracks, replace(QUICK, n_steps=3)).isfinite().all()


# From what ------------------------------------------------------------------------------------------


def test_crops_lie_where_a_talker_speaks():
    tracks = torch.zeros(2, 40_000)
    tracks[0, 3000:4000], tracks[1, 30_000:39_000] = 1.0, 1.0
    crops = crops_of(tracks, 8000, 50, torch.Generator().manual_seed(0))
    assert crops.shape == (2, 50, 8000)
    assert (crops[0].sum(-1) >= 499).all()  # at least half of what is said at the edge of a crop
    assert (crops[1].sum(-1) >= 3999).all()


def test_a_short_recording_is_heard_as_a_whole():
    tracks = two_voices(5000)
    crops = crops_of(tracks, 8000, 3, torch.Generator().manual_seed(0))
    assert torch.equal(crops, tracks[:, None].expand(-1, 3, -1))


def test_levels_are_spread_over_their_range():
    lesson = Lesson(n_crops=4, sigma_low=0.1, sigma_high=1.6)
    for seed in range(20):
        sigmas = lesson.sigmas(torch.Generator().manual_seed(seed))
        edges = torch.tensor([0.1, 0.2, 0.4, 0.8, 1.6])
        assert ((sigmas >= edges[:-1]) & (sigmas <= edges[1:])).all()


def test_the_learning_rate_rises_and_falls():
    rates = [Lesson(n_steps=40, learning_rate=2.0).rate(step) for step in range(40)]
    assert max(rates) == 2.0
    assert rates[0] == pytest.approx(0.4)
    assert rates[-1] == pytest.approx(2.0 * 0.145)
    assert sorted(rates[20:], reverse=True) == rates[20:]
    assert all(Lesson(n_steps=n).rate(step) > 0 for n in (1, 2, 3) for step in range(n))
