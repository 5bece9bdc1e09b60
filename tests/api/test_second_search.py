"""A second search for several talkers, from what the first restarts gave together."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pytest
import torch

from diffsr import Restorer
from diffsr.errors import ConfigError
from diffsr.likelihoods import WhiteNoise
from diffsr.recipes import Recipe
from diffsr.samplers import (
    Agreement,
    AnnealedSampler,
    BalancedRenoise,
    Consensus,
    FromNoise,
    Projection,
    SecondSearch,
)
from diffsr.samplers.second_search import FromTracks

RATE_HZ = 16000
N_FIRST, N_AGAIN = 4, 3


class Diverges(Projection):
    """Not finite, however small the steps."""

    def correct(self, z, x0, sigma, problem):
        return super().correct(z, x0, sigma, problem) * torch.nan


class Overhears(Projection):
    """Remembers the first state that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.first: torch.Tensor | None = None

    def correct(self, z, x0, sigma, problem):
        self.first = z.clone() if self.first is None else self.first
        return super().correct(z, x0, sigma, problem)


def loop(n_steps: int, sigma_max: float, guidance=None) -> AnnealedSampler:
    return AnnealedSampler(
        guidance or Projection(),
        BalancedRenoise(),
        [],
        n_steps=n_steps,
        sigma_max=sigma_max,
        sigma_min=0.01,
        churn=0.0,
        initialiser=FromNoise(),
    )


def once() -> Recipe:
    return Recipe(loop(N_FIRST, 1.0), WhiteNoise(1e-4), n_samples=2, n_sources=2, joiner=Consensus())


def twice(guidance=None, sigma_max: float = 0.1) -> Recipe:
    return replace(once(), second_search=SecondSearch(loop(N_AGAIN, sigma_max, guidance)))


@pytest.fixture
def mixture(make_speech) -> torch.Tensor:
    one, other = torch.from_numpy(make_speech(channels=2))
    return (one + other.flip(-1))[None]


def test_it_adds_to_the_result_and_leaves_restarts_and_scores_as_they_are(tiny_prior, mixture):
    first = Restorer(tiny_prior, recipe=once()).restore(mixture, RATE_HZ)
    done = Restorer(tiny_prior, recipe=twice()).restore(mixture, RATE_HZ)
    assert (first.n_calls, done.n_calls) == (2 * N_FIRST, 2 * (N_FIRST + N_AGAIN))
    assert torch.equal(done.samples, first.samples)
    assert done.talkers.scores == first.talkers.scores
    assert not torch.allclose(done.wave, first.wave, atol=1e-4)
    torch.testing.assert_close(done.wave.sum(0) + done.talkers.residual, mixture[0], atol=1e-5, rtol=0)


def test_it_starts_from_what_the_restarts_give_together_and_noise_that_cancels(tiny_prior, mixture):
    first = Restorer(tiny_prior, recipe=once()).restore(mixture, RATE_HZ).wave
    heard = Overhears()
    Restorer(tiny_prior, recipe=twice(heard, sigma_max=0.02)).restore(mixture, RATE_HZ)
    for state in heard.first:  # of each restart
        scale = state.sum(0).norm() / first.sum(0).norm()
        torch.testing.assert_close(state.sum(0), scale * first.sum(0), atol=1e-4, rtol=0)
        noise = min((state - scale * order for order in (first, first.flip(0))), key=torch.norm)
        assert float(noise.std()) == pytest.approx(0.8 * 0.02, rel=0.05)
        torch.testing.assert_close(noise[0], -noise[1], atol=1e-4, rtol=0)
    assert not torch.allclose(heard.first[0], heard.first[1], atol=1e-3)


def test_where_the_second_one_diverges_the_first_stays(tiny_prior, mixture):
    first = Restorer(tiny_prior, recipe=once()).restore(mixture, RATE_HZ)
    done = Restorer(tiny_prior, recipe=twice(Diverges())).restore(mixture, RATE_HZ)
    torch.testing.assert_close(done.wave, first.wave, atol=1e-6, rtol=0)


def test_recordings_of_a_batch_are_searched_for_as_if_alone(tiny_prior, mixture):
    restorer = Restorer(tiny_prior, recipe=twice())
    together = restorer.restore_many([mixture, mixture.flip(-1)], [RATE_HZ] * 2, ["a", "b"])
    alone = restorer.restore(mixture.flip(-1), RATE_HZ, "b")
    torch.testing.assert_close(together[1].wave, alone.wave, atol=1e-5, rtol=0)


def test_a_single_restart_is_not_searched_for_again(tiny_prior, mixture):
    single = Restorer(tiny_prior, recipe=replace(twice(), n_samples=1)).restore(mixture, RATE_HZ)
    assert single.n_calls == N_FIRST  # nothing was joined that a second search could start from


def test_progress_rises_to_the_end(tiny_prior, mixture):
    told: list[float] = []
    restorer = Restorer(tiny_prior, recipe=twice())
    restorer.restore(mixture, RATE_HZ, on_step=lambda done, total: told.append(done / total))
    assert told == pytest.approx([(k + 1) / (N_FIRST + N_AGAIN) for k in range(N_FIRST + N_AGAIN)])


@pytest.mark.parametrize("share", [0.0, -0.5, float("nan")])
def test_a_share_without_noise_is_refused(share):
    with pytest.raises(ConfigError, match=r"SecondSearch has share = .*above 0"):
        SecondSearch(AnnealedSampler(), share)


def test_agreement_can_rank_what_is_searched_for_twice(tiny_prior, mixture):
    done = Restorer(tiny_prior, recipe=replace(twice(), ranker=Agreement())).restore(mixture, RATE_HZ)
    assert len(done.talkers.scores) == 2


def test_a_second_try_starts_from_the_tracks_of_its_own_recordings(tiny_prior, mixture):
    tracks = torch.arange(6.0).reshape(3, 2, 1).expand(3, 2, 100)
    assert torch.equal(FromTracks(tracks).of([2, 0]).tracks, tracks[[2, 0]])

    class Once(Diverges):
        """Not finite for the last recording, in the first try."""

        starts: ClassVar[list[torch.Tensor]] = []

        def correct(self, z, x0, sigma, problem):
            self.starts.append(z.sum(1))
            x0 = Projection.correct(self, z, x0, sigma, problem)
            if len(z) == 4:
                x0[2:] = torch.nan
            return x0

    recordings = [mixture, 0.5 * mixture.flip(-1)]
    Restorer(tiny_prior, recipe=twice(Once()), batch=2).restore_many(recordings, [RATE_HZ] * 2, ["a", "b"])
    again = next(sums for sums in Once.starts if len(sums) == 2)
    torch.testing.assert_close(again, Once.starts[0][2:], atol=1e-4, rtol=0)
