"""Voices that some restarts have found are told to the others, and to nobody who cannot be told."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from diffsr import Restorer
from diffsr.diffusion import AdaptedPrior, Prior, ToldPrior, WindowedPrior
from diffsr.errors import ConfigError
from diffsr.networks import NCSNpp, TFTransformer
from diffsr.recipes import make_recipe
from diffsr.samplers import (
    AnnealedSampler,
    BalancedRenoise,
    KnownVoices,
    LearnVoices,
    Projection,
    SecondSearch,
    TellVoices,
)

N_STEPS, N_TOLD = 4, 3
"""Noise levels, and those of them above 0.25."""
RATE_HZ = 16000


@pytest.fixture(scope="module")
def tell() -> TellVoices:
    return TellVoices()


@pytest.fixture(scope="module")
def told_prior(tell) -> Prior:
    """Random weights that depend on the talker."""
    rng = torch.Generator().manual_seed(0)
    network = TFTransformer(width=16, depth=1, heads=2, speaker_width=tell.encoder.embedding_dim)
    prior = Prior(network, window_s=0.5)
    for name, parameter in prior.named_parameters():
        torch.nn.init.normal_(parameter, std=1.0 if "condition" in name else 0.1, generator=rng)
    return prior.eval().requires_grad_(False)


@pytest.fixture
def mixture(make_speech) -> torch.Tensor:
    return torch.from_numpy(make_speech(0.8))


def voices(*shape: int, width: int) -> torch.Tensor:
    drawn = torch.randn(*shape, width, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.normalize(drawn, dim=-1)


def learn() -> LearnVoices:
    """Enough that something changes."""
    return LearnVoices(sigma_low=0.25, n_steps=2, n_crops=2, learning_rate=0.5)


def recipe(n_samples: int = 4, **changes):
    made = make_recipe("separate")
    made.sampler.sigmas = torch.tensor([2.0, 1.0, 0.5, 0.1, 0.0])
    return replace(made, n_samples=n_samples, **changes)


def restarts(prior, mixture, made) -> torch.Tensor:
    return Restorer(prior, recipe=made, n_samples=made.n_samples).restore(mixture, RATE_HZ).samples


# The prior that is told ------------------------------------------------------------------------------


@pytest.mark.parametrize("n_samples", [6000, 20_000])  # one window, and three
def test_a_told_prior_guides_without_a_classifier(told_prior, n_samples):
    z = torch.randn(2, 2, n_samples, generator=torch.Generator().manual_seed(2))
    sigma = torch.full((2, 2), 0.5)
    windowed = WindowedPrior(told_prior, 0.5, 0.1)
    who = voices(2, 2, width=windowed.speaker_width)
    plain, told = windowed.denoise(z, sigma), windowed.denoise(z, sigma, who)
    assert float((told - plain).abs().max()) > 1e-3
    for weight in (0.0, 1.0, 6.0):
        prior = ToldPrior(windowed, who, weight, sigma_low=0.25)
        torch.testing.assert_close(prior.denoise(z, sigma), plain + weight * (told - plain))
        assert prior.n_told == (weight == 6.0)  # a weight of 1 takes no second call
    assert torch.equal(prior.denoise(z, 0.5 * sigma), windowed.denoise(z, 0.5 * sigma))
    assert prior.n_told == 1


def test_every_signal_is_told_its_own_voice(told_prior):
    z = torch.randn(2, 2, 20_000, generator=torch.Generator().manual_seed(2))
    windowed = WindowedPrior(told_prior, 0.5, 0.1, windows_per_call=3)
    who, sigma = voices(2, 2, width=windowed.speaker_width), torch.full((2, 2), 0.5)
    together = windowed.denoise(z, sigma, who)
    for row in range(2):
        for track in range(2):
            alone = windowed.denoise(z[row, track], sigma[row, track], who[row, track])
            torch.testing.assert_close(together[row, track], alone, rtol=0, atol=1e-5)


def test_one_window_is_what_the_prior_says(told_prior):
    z = torch.randn(2, 6000, generator=torch.Generator().manual_seed(2))
    who, sigma = voices(2, width=told_prior.speaker_width), torch.tensor([0.5, 0.2])
    found = WindowedPrior(told_prior, 0.5, 0.1).denoise(z, sigma, who)
    torch.testing.assert_close(found, told_prior.denoise(z, sigma, who))


# Who is told -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_restarts", "n_untold"), [(1, 1), (2, 2), (3, 2), (4, 2), (5, 2), (8, 4), (13, 6)]
)
def test_half_of_the_restarts_are_told(tell, told_prior, n_restarts, n_untold):
    assert tell.n_untold(WindowedPrior(told_prior, 0.5, 0.1), n_restarts, RATE_HZ) == n_untold


def test_nobody_is_told_where_the_prior_takes_no_talkers_or_no_voice_is_heard(tell, tiny_prior, told_prior):
    assert tell.n_untold(WindowedPrior(tiny_prior, 0.5, 0.1), 8, RATE_HZ) == 8
    assert tell.n_untold(told_prior, 8, RATE_HZ) == 8  # only windows are told
    assert tell.n_untold(WindowedPrior(told_prior, 0.5, 0.1), 8, 7999) == 8


@pytest.mark.parametrize("tells", [True, False])
def test_a_second_search_hears_what_the_first_one_found(told_prior, mixture, tells):
    again = AnnealedSampler(Projection(), BalancedRenoise(), [], N_STEPS, 0.2, 0.01, churn=0.0)
    heard: list[torch.Tensor] = []

    class Tells(TellVoices):
        """Remembers the tracks whose voices it tells."""

        def voices(self, tracks):
            heard.append(tracks)
            return super().voices(tracks)

    second = SecondSearch(again, voices=Tells(sigma_low=0.1) if tells else None)
    made = recipe(n_samples=2, voices=None)
    first = Restorer(told_prior, recipe=made).restore(mixture, RATE_HZ)
    done = Restorer(told_prior, recipe=replace(made, second_search=second)).restore(mixture, RATE_HZ)
    n_told = int((again.sigmas > 0.1).sum()) if tells else 0
    assert done.n_calls == first.n_calls + 2 * (N_STEPS + n_told)
    assert len(heard) == tells
    for tracks in heard:
        level = tracks[0].norm() / first.wave.norm()
        error = min(
            float((order - tracks[0] / level).abs().max()) for order in (first.wave, first.wave.flip(0))
        )
        assert error < 1e-5


def test_later_restarts_hear_what_the_first_ones_found(told_prior, mixture):
    plain = restarts(told_prior, mixture, recipe(voices=None))
    told = restarts(told_prior, mixture, recipe())
    for k in range(2):  # as they are, in the order of another result
        error = min(float((order - plain[k]).abs().max()) for order in (told[k], told[k].flip(0)))
        assert error < 1e-6
    for k in range(2, 4):
        error = min(float((order - plain[k]).abs().max()) for order in (told[k], told[k].flip(0)))
        assert error > 1e-3


def test_restarts_that_are_told_nothing_new_are_those_of_one_pass(told_prior, mixture):
    plain = restarts(told_prior, mixture, recipe(voices=None, joiner=None))
    made = recipe(voices=TellVoices(weight=1e-9), joiner=None)
    found = restarts(told_prior, mixture, made)
    torch.testing.assert_close(found, plain, rtol=0, atol=1e-5)


def test_calls_of_both_passes_and_their_progress_are_counted(told_prior, mixture):
    seen = []
    restorer = Restorer(told_prior, recipe=recipe())
    done = restorer.restore(mixture, RATE_HZ, on_step=lambda *step: seen.append(step))
    assert done.n_calls == 2 * N_STEPS + 2 * (N_STEPS + N_TOLD)
    assert seen == [(k, 2 * N_STEPS) for k in range(1, 2 * N_STEPS + 1)]


def test_known_voices_are_told_to_all_restarts(told_prior, mixture):
    known = KnownVoices(voices(2, width=told_prior.speaker_width))
    done = Restorer(told_prior, recipe=recipe(voices=known)).restore(mixture, RATE_HZ)
    assert done.n_calls == 4 * (N_STEPS + N_TOLD)
    assert done.samples.shape[0] == 4
    single = Restorer(told_prior, recipe=recipe(1, voices=known)).restore(mixture, RATE_HZ)
    assert single.n_calls == N_STEPS + N_TOLD


def test_recordings_in_one_batch_are_told_their_own_voices(told_prior, make_speech):
    waves = [torch.from_numpy(make_speech(0.8, seed=seed)) for seed in (0, 1)]
    waves[1] = waves[1].flip(-1)
    together = Restorer(told_prior, recipe=recipe(), batch=2).restore_many(waves, [RATE_HZ] * 2, ["a", "b"])
    for wave, name, one in zip(waves, "ab", together, strict=True):
        alone = Restorer(told_prior, recipe=recipe()).restore(wave, RATE_HZ, name)
        torch.testing.assert_close(one.wave, alone.wave, rtol=0, atol=1e-4)


def test_a_weight_that_tells_nothing_is_refused():
    with pytest.raises(ConfigError, match="TellVoices has a weight of 0; expected a number above 0"):
        TellVoices(weight=0.0)


# Voices that are learnt ------------------------------------------------------------------------------


def test_later_restarts_have_a_prior_that_learnt_from_the_first_ones(told_prior, mixture):
    plain = restarts(told_prior, mixture, recipe(voices=None))
    learnt = restarts(told_prior, mixture, recipe(voices=learn()))
    errors = [
        min(float((order - plain[k]).abs().max()) for order in (learnt[k], learnt[k].flip(0)))
        for k in range(4)
    ]
    assert max(errors[:2]) < 1e-6
    assert min(errors[2:]) > 1e-4


def test_what_is_learnt_is_that_of_the_tracks(told_prior):
    prior = WindowedPrior(told_prior, 0.5, 0.1)
    tracks = torch.randn(2, 2, 8000, generator=torch.Generator().manual_seed(5))
    both = learn().told(prior, tracks, 3)
    assert isinstance(both, AdaptedPrior)
    assert both.known.shape == (6, 2, *prior.adaptation_shape)
    alone = learn().told(prior, tracks[1:], 3)  # the numbers of a recording depend on no other one
    torch.testing.assert_close(both.known[3:], alone.known)
    torch.testing.assert_close(both.known[:3], both.known[:1].expand(3, -1, -1, -1))
    assert float((both.known[0] - both.known[3]).abs().max()) > 1e-2
    lost = tracks.clone()
    lost[0, 1, 100] = torch.nan
    assert learn().told(prior, lost, 3).known.isfinite().all()


def test_calls_of_the_learning_and_its_progress_are_counted(told_prior, mixture):
    seen = []
    made = recipe(voices=learn())
    done = Restorer(told_prior, recipe=made).restore(
        mixture, RATE_HZ, on_step=lambda *step: seen.append(step[0] / step[1])
    )
    assert done.n_calls == 4 * N_STEPS + 2 * 2
    expected = [*(k / 12 for k in range(1, 5)), 2 / 3, *(2 / 3 + k / 12 for k in range(1, 5))]
    assert seen == pytest.approx(expected)


def test_recordings_in_one_batch_learn_their_own_voices(told_prior, make_speech):
    waves = [torch.from_numpy(make_speech(0.8, seed=seed)) for seed in (0, 1)]
    waves[1] = waves[1].flip(-1)
    made = recipe(voices=learn())
    together = Restorer(told_prior, recipe=made, batch=2).restore_many(waves, [RATE_HZ] * 2, ["a", "b"])
    for wave, name, one in zip(waves, "ab", together, strict=True):
        alone = Restorer(told_prior, recipe=made).restore(wave, RATE_HZ, name)
        torch.testing.assert_close(one.wave, alone.wave, rtol=0, atol=1e-4)


def test_nothing_is_learnt_where_the_prior_cannot_be_adapted_or_nothing_is_heard(tiny_prior):
    windowed = WindowedPrior(tiny_prior, 0.5, 0.1)  # which takes no embedding
    assert LearnVoices().n_untold(windowed, 8, RATE_HZ) == 4
    assert LearnVoices().n_untold(windowed, 8, RATE_HZ // 2 - 1) == 8
    assert LearnVoices().n_untold(tiny_prior, 8, RATE_HZ) == 8  # only windows are
    assert LearnVoices().n_untold(WindowedPrior(Prior(NCSNpp(nf=16)), 0.5, 0.1), 8, RATE_HZ) == 8


def test_a_second_search_may_learn(told_prior, mixture):
    again = AnnealedSampler(Projection(), BalancedRenoise(), [], N_STEPS, 0.2, 0.01, churn=0.0)
    made = recipe(n_samples=2, voices=None, second_search=SecondSearch(again, voices=learn()))
    done = Restorer(told_prior, recipe=made).restore(mixture, RATE_HZ)
    assert done.n_calls == 2 * N_STEPS + 2 * N_STEPS + 2 * 2


@pytest.mark.parametrize(
    "bad",
    [
        {"n_steps": 0},
        {"n_crops": 0},
        {"crop_s": 0.0},
        {"learning_rate": 0.0},
        {"sigma_low": 0.0},
        {"sigma_low": float("nan")},
    ],
)
def test_a_learning_that_cannot_be_is_refused(bad):
    with pytest.raises(ConfigError, match="LearnVoices has .*; expected at least 1 step and crop"):
        LearnVoices(**bad)
