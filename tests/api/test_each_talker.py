"""Talkers that were told apart are restored once more, each as a recording of one talker."""

from __future__ import annotations

import math

import pytest
import torch

from diffsr import Restorer
from diffsr.benchmark.oracle import Known, informed
from diffsr.errors import AudioError, ConfigError
from diffsr.likelihoods import WhiteNoise
from diffsr.recipes import TASKS, Recipe, make_recipe
from diffsr.restoration.refining import refined
from diffsr.samplers import AnnealedSampler, EachTalker, Projection

RATE_HZ = 16000
N_STEPS = 3
LEVEL = 0.05


class Lost(WhiteNoise):
    """A noise model that makes every sampler diverge."""

    @property
    def variance(self) -> torch.Tensor:
        return super().variance * math.nan


def each_talker(likelihood=None) -> EachTalker:
    return EachTalker(AnnealedSampler(estimators=[], n_steps=N_STEPS), likelihood or WhiteNoise(LEVEL))


def recipe(each: EachTalker | None) -> Recipe:
    sampler = AnnealedSampler(Projection(), estimators=[], n_steps=4)
    return Recipe(sampler, WhiteNoise(1e-4), n_sources=2, each_talker=each)


@pytest.fixture
def mixture(make_speech) -> torch.Tensor:
    return torch.from_numpy(make_speech())


def test_each_track_comes_out_as_a_recording_of_one_talker_does(tiny_prior, mixture):
    plain = Restorer(tiny_prior, recipe=recipe(None)).restore(mixture, RATE_HZ, "mix")
    done = Restorer(tiny_prior, recipe=recipe(each_talker())).restore(mixture, RATE_HZ, "mix")
    alone = Recipe(AnnealedSampler(estimators=[], n_steps=N_STEPS), WhiteNoise(LEVEL))
    one = Restorer(tiny_prior, recipe=alone)
    by_itself = one.restore(plain.wave[:1], RATE_HZ, "mix/0").wave[0]  # whose random numbers are the first's
    assert torch.allclose(done.wave[0], by_itself, atol=1e-3 * float(by_itself.abs().max()))
    assert not torch.allclose(done.wave[1], plain.wave[1], atol=1e-2 * float(plain.wave[1].abs().max()))
    assert done.n_calls == plain.n_calls + 2 * N_STEPS
    assert done.talkers.joined is plain.talkers.joined is False
    assert torch.allclose(torch.as_tensor(done.talkers.residual), mixture.flatten() - done.wave.sum(0))


def test_a_track_is_restored_whatever_its_level_and_silence_stays(tiny_prior, mixture):
    prior = Restorer(tiny_prior).prior
    loud = torch.stack([mixture.flatten(), torch.zeros(mixture.shape[-1])])
    tracks = torch.stack([loud, loud.flip(0) / 1000, 0 * loud])  # of three recordings
    found, n_calls = refined(tracks, ["a", "b", "c"], prior, each_talker(), 0)
    faint, _ = refined(tracks[:1] / 1000, ["a"], prior, each_talker(), 0)
    assert torch.allclose(found[:1], 1000 * faint, atol=1e-4 * float(found.abs().max()))
    assert not found[0, 1].any()
    assert not found[1, 0].any()
    assert found[1, 1].any()
    assert not found[2].any()
    assert n_calls == [N_STEPS, N_STEPS, 0]


def test_a_track_in_which_the_sampler_diverges_stays_as_it_was(tiny_prior, mixture):
    tracks = torch.stack([mixture.flatten(), mixture.flatten().flip(0)])[None]
    found, _ = refined(tracks, ["mix/0"], Restorer(tiny_prior).prior, each_talker(Lost(1e-3)), 0)
    assert torch.equal(found, tracks)


def test_joint_restores_each_talker_by_the_recipe_for_one():
    each, one = make_recipe("joint").each_talker, TASKS["denoise_dereverb"](60, RATE_HZ)
    assert type(each.likelihood) is type(one.likelihood)
    assert type(each.degradation) is type(one.degradation)
    assert each.n_samples == one.n_samples
    assert [type(step) for step in each.sampler.estimators] == [type(step) for step in one.sampler.estimators]
    assert make_recipe("separate").each_talker is None


def test_who_knows_the_room_needs_no_second_look():
    known = Known(responses=torch.ones(2, 1, 8))
    told = informed(make_recipe("joint"), known, torch.zeros(1, 800), RATE_HZ, RATE_HZ)
    assert told.each_talker is None


def test_its_models_go_to_the_device_of_the_others():
    made = make_recipe("joint")
    assert made.each_talker.likelihood in made.modules()
    assert made.each_talker.degradation in made.modules()


def test_progress_goes_on_to_the_end(tiny_prior, mixture):
    seen = []
    restorer = Restorer(tiny_prior, recipe=recipe(each_talker()))
    restorer.restore(mixture, RATE_HZ, on_step=lambda done, total: seen.append(done / total))
    assert seen == sorted(seen)
    assert len(set(seen)) == len(seen) == 4 + N_STEPS
    assert (seen[3], seen[-1]) == (0.8, 1.0)


@pytest.mark.parametrize("at", [1, 2])
def test_too_little_memory_in_the_second_half_fails_one_file_alone(tiny_prior, mixture, monkeypatch, at):
    """As in the search: a batch is halved, and one that is too long by itself is named."""
    done = []

    def fails(tracks, *args):
        done.append(len(tracks))
        if len(tracks) >= at:
            raise MemoryError
        return refined(tracks, *args)

    monkeypatch.setattr("diffsr.restoration.batch.refined", fails)
    restorer = Restorer(tiny_prior, recipe=recipe(each_talker()), batch=2)
    found = restorer.restore_many([mixture, mixture], [RATE_HZ, RATE_HZ], ["a", "b"])
    assert done == [2, 1, 1]
    assert [isinstance(one, AudioError) for one in found] == 2 * [at == 1]


def test_less_than_one_sample_is_refused():
    with pytest.raises(ConfigError, match="EachTalker has n_samples = 0; expected 1 or more"):
        EachTalker(AnnealedSampler(n_steps=2), WhiteNoise(1e-3), n_samples=0)
