"""Talkers that were told apart are restored once more, each as a recording of one talker."""

from __future__ import annotations

import math

import pytest
import torch

from diffsr import Restorer
from diffsr.benchmark.oracle import Known, informed
from diffsr.degradations import BlindRoom
from diffsr.errors import AudioError, ConfigError
from diffsr.likelihoods import WhiteNoise
from diffsr.recipes import TASKS, Recipe, make_recipe
from diffsr.restoration.posterior import Posterior
from diffsr.restoration.refining import refined, told_apart
from diffsr.restoration.room_between import halfway
from diffsr.restoration.solved import Solved
from diffsr.samplers import AnnealedSampler, Consensus, EachTalker, Projection
from diffsr.signal.room_acoustics import rt60_s

RATE_HZ = 16000
N_STEPS = 3
LEVEL = 0.05


class Lost(WhiteNoise):
    """A noise model that makes every sampler diverge."""

    @property
    def variance(self) -> torch.Tensor:
        return super().variance * math.nan


def each_talker(likelihood=None, n_restart_samples: int = 0) -> EachTalker:
    sampler = AnnealedSampler(estimators=[], n_steps=N_STEPS)
    return EachTalker(sampler, likelihood or WhiteNoise(LEVEL), n_restart_samples=n_restart_samples)


def recipe(each: EachTalker | None, joiner: Consensus | None = None) -> Recipe:
    sampler = AnnealedSampler(Projection(), estimators=[], n_steps=4)
    return Recipe(sampler, WhiteNoise(1e-4), n_sources=2, each_talker=each, joiner=joiner)


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
    found, n_calls, _ = refined(tracks, ["a", "b", "c"], prior, each_talker(), 0)
    faint, *_ = refined(tracks[:1] / 1000, ["a"], prior, each_talker(), 0)
    assert torch.allclose(found[:1], 1000 * faint, atol=1e-4 * float(found.abs().max()))
    assert not found[0, 1].any()
    assert not found[1, 0].any()
    assert found[1, 1].any()
    assert not found[2].any()
    assert n_calls == [N_STEPS, N_STEPS, 0]


def test_a_track_in_which_the_sampler_diverges_stays_as_it_was(tiny_prior, mixture):
    tracks = torch.stack([mixture.flatten(), mixture.flatten().flip(0)])[None]
    found, *_ = refined(tracks, ["mix/0"], Restorer(tiny_prior).prior, each_talker(Lost(1e-3)), 0)
    assert torch.equal(found, tracks)


def test_joint_restores_each_talker_by_the_recipe_for_one():
    each, one = make_recipe("joint").each_talker, TASKS["denoise_dereverb"](60, RATE_HZ)
    assert type(each.likelihood) is type(one.likelihood)
    assert type(each.degradation) is type(one.degradation)
    assert (each.n_samples, each.n_restart_samples) == (one.n_samples, 1)
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

    def fails(made, *args):
        done.append(len(made))
        if len(made) >= at:
            raise MemoryError
        return told_apart(made, *args)

    monkeypatch.setattr("diffsr.restoration.several_talkers.told_apart", fails)
    restorer = Restorer(tiny_prior, recipe=recipe(each_talker()), batch=2)
    found = restorer.restore_many([mixture, mixture], [RATE_HZ, RATE_HZ], ["a", "b"])
    assert done == [2, 1, 1]
    assert [isinstance(one, AudioError) for one in found] == 2 * [at == 1]


def restarts_of(tracks: torch.Tensor, scores: list[float]) -> Solved:
    """Restarts `[R, S, T]` of one recording."""
    return Solved(tracks[None], [7], {}, {}, torch.tensor([scores]))


def test_a_second_opinion_is_that_of_the_restarts_restored_and_joined(tiny_prior, make_speech):
    """In the order of what was made of them, from the restarts that were not lost, whatever they scored."""
    one, two, wrong = (torch.from_numpy(make_speech(seed=seed)).flatten() for seed in range(3))
    tracks = torch.stack([torch.stack(pair) for pair in ([two, one], [one, two], [wrong, wrong])])
    made = torch.stack([one, two])[None]
    prior, plain = Restorer(tiny_prior).prior, each_talker()
    solved = restarts_of(tracks, [0.3, 0.1, -math.inf])
    asked = recipe(each_talker(n_restart_samples=1), Consensus())
    found, n_calls, _ = told_apart(
        made, solved, Posterior(made.sum(1), ["mix"], prior, asked), asked.each_talker
    )

    first, *_ = refined(made, ["mix"], prior, plain, 0)
    again, *_ = refined(tracks[:2], ["mix/0", "mix/1"], prior, plain, 0)
    joined = Consensus()(again, torch.full((2,), math.nan), RATE_HZ)
    assert float((joined[0] - first[0, 0]).square().mean()) > float((joined[1] - first[0, 0]).square().mean())
    torch.testing.assert_close(found[0], (first[0] + joined.flip(0)) / 2, atol=1e-5, rtol=1e-3)
    assert n_calls == [(2 + 3 * 2) * N_STEPS]


@pytest.mark.parametrize("n_restarts", [1, 2])
def test_nobody_to_ask_for_a_second_opinion(tiny_prior, mixture, n_restarts):
    """One restart, or restarts of which one is chosen."""
    made = torch.stack([mixture.flatten(), mixture.flatten().flip(0)])[None]
    solved = restarts_of(made.expand(n_restarts, -1, -1), n_restarts * [0.1])
    asked = recipe(each_talker(n_restart_samples=1), Consensus() if n_restarts == 1 else None)
    prior = Restorer(tiny_prior).prior
    found, n_calls, _ = told_apart(
        made, solved, Posterior(made.sum(1), ["mix"], prior, asked), asked.each_talker
    )
    assert torch.equal(found, refined(made, ["mix"], prior, each_talker(), 0)[0])
    assert n_calls == [2 * N_STEPS]


def test_progress_with_a_second_opinion(tiny_prior, mixture):
    seen = []
    asked = recipe(each_talker(n_restart_samples=1), Consensus())
    restorer = Restorer(tiny_prior, recipe=asked, n_samples=2)
    done = restorer.restore(mixture, RATE_HZ, on_step=lambda done, total: seen.append(done / total))
    assert seen == sorted(seen)
    assert len(set(seen)) == len(seen) == 4 + 2 * N_STEPS
    # 4 for the search, 1 for what was made of the restarts, 2 for the restarts.
    assert (seen[3], seen[3 + N_STEPS], seen[-1]) == pytest.approx((4 / 7, 5 / 7, 1.0))
    assert done.n_calls == 2 * 4 + 2 * N_STEPS + 2 * 2 * N_STEPS


def test_a_number_of_samples_that_makes_no_sense_is_refused():
    with pytest.raises(ConfigError, match="EachTalker has n_restart_samples = -1; expected 0 or more"):
        EachTalker(AnnealedSampler(n_steps=2), WhiteNoise(1e-3), n_restart_samples=-1)
    with pytest.raises(ConfigError, match="EachTalker has n_samples = 0; expected 1 or more"):
        EachTalker(AnnealedSampler(n_steps=2), WhiteNoise(1e-3), n_samples=0)


# The room that was found twice ---------------------------------------------------------------------


def found_room(times_s: list[float]) -> dict[str, torch.Tensor]:
    """Physics of two recordings with one restart and two talkers each."""
    room = BlindRoom(RATE_HZ)
    room.reset(torch.zeros(2, 1, 1), 2)
    room.take_over(torch.tensor(times_s)[:, None, None].expand(2, 2, 25), torch.full((2, 2, 25), 15.0))
    return {name: value[:, None] for name, value in room.describe().items()} | {"gain_db": torch.ones(2, 1)}


def test_what_a_room_describes_can_be_taken_over():
    described = found_room([0.4, 0.8])
    torch.testing.assert_close(described["rt60_s"][:, 0, 0, 3], torch.tensor([0.4, 0.8]))
    torch.testing.assert_close(described["room_level_db"], torch.full((2, 1, 2, 25), 15.0))


def test_the_room_lies_halfway_between_that_of_the_search_and_that_of_each_talker():
    before = found_room([0.4, 0.8])
    after = halfway(before, torch.tensor([0.9, math.nan]), BlindRoom(RATE_HZ))
    assert after.keys() == before.keys()
    found = rt60_s(after["room_response"][:, 0, :, 0], RATE_HZ)
    own = rt60_s(before["room_response"][:, 0, :, 0], RATE_HZ)
    assert float(found[0].mean()) == pytest.approx(math.sqrt(0.9 * float(own[0].mean())), rel=0.03)
    torch.testing.assert_close(after["room_response"][1], before["room_response"][1])  # nothing else is known
    assert torch.equal(after["room_level_db"], before["room_level_db"])
    room = BlindRoom(RATE_HZ)
    assert torch.equal(halfway(before, torch.tensor([math.nan] * 2), room)["rt60_s"], before["rt60_s"])
    assert halfway({"gain_db": torch.ones(1, 1)}, torch.ones(1), BlindRoom(RATE_HZ)).keys() == {"gain_db"}


def test_joint_tells_of_the_room_of_search_and_restorations(tiny_prior, mixture, monkeypatch):
    monkeypatch.setattr("diffsr.recipes.by_name.PRESETS", {"default": 3})
    told = Restorer(tiny_prior, task="joint").restore(mixture, RATE_HZ, "mix").physics
    monkeypatch.setattr("diffsr.restoration.several_talkers.halfway", lambda described, *_: described)
    before = Restorer(tiny_prior, task="joint").restore(mixture, RATE_HZ, "mix").physics
    assert told.values.keys() == before.values.keys()
    assert told.values["room_response"].shape == before.values["room_response"].shape
    assert not torch.equal(told.values["rt60_s"], before.values["rt60_s"])
