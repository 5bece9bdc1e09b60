"""A second restoration of one talker, from halfway between the recording and the first."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from diffsr import Restorer
from diffsr.errors import ConfigError
from diffsr.likelihoods import NMFNoise
from diffsr.recipes import TASKS, Recipe, make_recipe
from diffsr.samplers import AnnealedSampler, LogSpectralMean, Proximal, SecondPass, UpdateNoise

RATE_HZ = 16000
N_FIRST, N_AGAIN = 4, 3


class Diverges(Proximal):
    """Not finite, however small the steps."""

    def correct(self, z, x0, sigma, problem):
        return super().correct(z, x0, sigma, problem) * torch.nan


class Overhears(Proximal):
    """Remembers what it was asked to explain."""

    def __init__(self) -> None:
        super().__init__()
        self.y: torch.Tensor | None = None

    def correct(self, z, x0, sigma, problem):
        self.y = problem.y.clone()
        return super().correct(z, x0, sigma, problem)


def once(n_samples: int = 2) -> Recipe:
    sampler = AnnealedSampler(estimators=[UpdateNoise()], n_steps=N_FIRST)
    return Recipe(sampler, NMFNoise(), n_samples=n_samples, joiner=LogSpectralMean())


def twice(guidance=None, share: float = 0.5, n_samples: int = 2) -> Recipe:
    again = AnnealedSampler(guidance, estimators=[UpdateNoise()], n_steps=N_AGAIN, sigma_max=0.1)
    return replace(once(n_samples), second_pass=SecondPass(again, share))


@pytest.fixture
def speech(make_speech) -> torch.Tensor:
    return torch.from_numpy(make_speech(channels=2))


def test_it_adds_to_the_result_and_leaves_samples_and_physics_as_they_are(tiny_prior, speech):
    first = Restorer(tiny_prior, recipe=once()).restore(speech, RATE_HZ)
    done = Restorer(tiny_prior, recipe=twice()).restore(speech, RATE_HZ)
    assert (first.n_calls, done.n_calls) == (2 * N_FIRST, 2 * (N_FIRST + N_AGAIN))
    assert torch.equal(done.samples, first.samples)
    assert done.physics.summary() == first.physics.summary()
    assert not torch.allclose(done.wave, first.wave, atol=1e-4)


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_what_it_restores_lies_between_the_recording_and_the_first_restoration(tiny_prior, speech, share):
    first = Restorer(tiny_prior, recipe=once()).restore(speech, RATE_HZ).wave
    heard = Overhears()
    Restorer(tiny_prior, recipe=twice(heard, share)).restore(speech, RATE_HZ)
    between = share * first + (1 - share) * speech
    for channel, row in enumerate((0, 2)):  # of two channels with two samples each
        given = heard.y[row, 0]
        torch.testing.assert_close(
            given / given.norm(), between[channel] / between[channel].norm(), atol=1e-5, rtol=0
        )


def test_where_the_second_one_diverges_the_first_stays(tiny_prior, speech):
    first = Restorer(tiny_prior, recipe=once()).restore(speech, RATE_HZ)
    done = Restorer(tiny_prior, recipe=twice(Diverges())).restore(speech, RATE_HZ)
    assert torch.equal(done.wave, first.wave)


def test_a_single_sample_and_silent_channels_pass(tiny_prior, speech):
    speech[1] = 0.0
    done = Restorer(tiny_prior, recipe=twice(n_samples=1)).restore(speech, RATE_HZ)
    assert done.samples is None
    assert done.wave.isfinite().all()
    assert not bool(done.wave[1].any())
    assert bool(done.wave[0].any())


def test_progress_rises_to_the_end(tiny_prior, speech):
    told: list[float] = []
    restorer = Restorer(tiny_prior, recipe=twice())
    restorer.restore(speech, RATE_HZ, on_step=lambda done, total: told.append(done / total))
    assert len(told) == N_FIRST + N_AGAIN
    assert told == pytest.approx([(k + 1) / len(told) for k in range(len(told))])


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, float("nan")])
def test_a_share_that_leaves_nothing_between_is_refused(share):
    with pytest.raises(ConfigError, match=r"SecondPass has share = .*above 0 and below 1"):
        SecondPass(AnnealedSampler(), share)


def test_rooms_are_restored_twice_but_for_the_fast_preset():
    rooms = ("dereverb", "denoise_dereverb")
    assert all(make_recipe(task, preset).second_pass for task in rooms for preset in ("default", "quality"))
    assert not any(make_recipe(task, "fast").second_pass for task in TASKS)
