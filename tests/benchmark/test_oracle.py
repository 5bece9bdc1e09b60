"""Oracles: what is told of an item is true, is never the speech, and helps."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from diffsr.benchmark import scenes, tracks
from diffsr.benchmark.items import ItemList
from diffsr.benchmark.lists import open_list
from diffsr.benchmark.oracle import (
    NOTHING,
    Known,
    check_oracle,
    check_prior,
    informed,
    known_of,
    parse_oracle,
)
from diffsr.benchmark.room_scores import room_errors, room_facts
from diffsr.benchmark.runner import run_items
from diffsr.benchmark.scorer import score_system
from diffsr.benchmark.store import TrackPlace, read_rows
from diffsr.benchmark.systems import OwnTask, Restored, open_system
from diffsr.benchmark.table import tables
from diffsr.degradations import BlindRoom, Chain, Clipping, Gain, Mixing, Room
from diffsr.diffusion import Prior
from diffsr.diffusion.analytic import WhiteGaussianPrior
from diffsr.errors import ConfigError
from diffsr.likelihoods import KnownNoise, NMFNoise
from diffsr.likelihoods.late_reverberation import LateReverberation
from diffsr.recipes import Recipe, make_recipe
from diffsr.samplers import (
    AnnealedSampler,
    EMPasses,
    KnownVoices,
    Problem,
    RowNoise,
    SecondSearch,
    TellVoices,
    UpdateNoise,
)
from diffsr.samplers.room_estimation import UpdateRoom

RATE_HZ = 16000
DEFAULT = str(Path(__file__).parents[2] / "experiments" / "enhance" / "default.yaml")
Opened = tuple[ItemList, Path, TrackPlace]


@pytest.fixture(scope="module")
def opened(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """Four items with one talker in a room with noise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracks, "N_ITEMS", 4)
        patch.setattr(tracks, "N_SUBSET", 2)
        return open_list("denoise_dereverb", "test", data, tmp_path_factory.mktemp("out"))


def rendered_of(opened: Opened, number: int = 0) -> scenes.Rendered:
    found, folder, _ = opened
    return scenes.render_item(found.items[number], folder, found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, ()),
        ("noise", ("noise",)),
        ("room, noise", ("noise", "room")),
        ("room,room", ("room",)),
        ("identity,room", ("room", "identity")),
    ],
)
def test_names_of_oracles(text, expected):
    assert parse_oracle(text) == expected


@pytest.mark.parametrize("text", ["", "speech", "noise,talker"])
def test_nothing_else_is_told(text):
    with pytest.raises(ConfigError, match="expected noise, room, identity, or several: noise,room"):
        parse_oracle(text)


@pytest.mark.parametrize("number", [0, 1])
def test_the_parts_make_up_the_observation(opened, number):
    """In simulated rooms (0) and measured ones (1): the talker through the room, plus the noise."""
    rendered = rendered_of(opened, number)
    known = known_of(rendered, ("noise", "room"))
    room = Room(known.responses[None], RATE_HZ)
    room.reset(rendered.observation[None], 1)
    heard = room(rendered.reference[None])[0]
    speech = rendered.observation - known.noise
    gain = (heard * speech).sum() / heard.square().sum()  # the direct path of the room has the factor 1
    error = (speech - gain * heard).square().sum() / speech.square().sum()
    # In a simulated room the reference has gone through the interpolation of its direct path already.
    assert float(error) < (0.05 if number == 0 else 1e-6)


def _holds(told: torch.Tensor, speech: torch.Tensor) -> bool:
    """Whether the two are alike, at any level."""
    n = min(told.shape[-1], speech.shape[-1])
    a, b = told[..., :n].flatten(), speech[..., :n].flatten()
    return abs(float((a @ b) / (a.norm() * b.norm()))) > 0.5


def test_the_speech_is_not_among_what_is_told(opened):
    rendered = rendered_of(opened)
    for names in ((), ("noise",), ("room",), ("noise", "room")):
        known = known_of(rendered, names)
        assert (known.noise is not None, known.responses is not None) == ("noise" in names, "room" in names)
        for told in (known.noise, known.responses):
            assert told is None or not _holds(told, rendered.reference)
    known_of(rendered, ("noise",)).noise.zero_()
    assert rendered.noise.any()  # a copy was told


def test_voices_are_told_as_embeddings_in_the_place_of_those_that_are_found(opened):
    rendered = rendered_of(opened)
    pair = replace(rendered, reference=torch.stack([rendered.reference[0], rendered.reference[0].flip(-1)]))
    known = known_of(pair, ("identity",))
    assert not known.is_nothing
    assert known.noise is None
    assert known.voices.shape[0] == 2
    assert known.voices.shape[1] < 200
    torch.testing.assert_close(known.voices.norm(dim=-1), torch.ones(2))
    again = SecondSearch(AnnealedSampler(), voices=TellVoices(sigma_low=0.1))
    own = replace(make_recipe("separate"), second_search=again)
    told = informed(own, known, pair.observation, RATE_HZ, RATE_HZ)
    assert isinstance(told.voices, KnownVoices)
    assert torch.equal(told.voices.voices(torch.zeros(3, 2, 8)), known.voices.expand(3, -1, -1))
    assert (told.voices.weight, told.voices.sigma_low) == (own.voices.weight, own.voices.sigma_low)
    assert told.sampler is own.sampler
    assert told.second_search.sampler is again.sampler
    assert isinstance(told.second_search.voices, KnownVoices)
    assert told.second_search.voices.sigma_low == 0.1
    learns = make_recipe("separate", "fast")  # whose prior is adapted in place of being told
    told = informed(learns, known, pair.observation, RATE_HZ, RATE_HZ)
    assert isinstance(told.voices, KnownVoices)
    assert (told.voices.weight, told.voices.sigma_low) == (own.voices.weight, own.voices.sigma_low)
    with pytest.raises(ConfigError, match="the system restores one talker"):
        informed(make_recipe("enhance"), known, pair.observation, RATE_HZ, RATE_HZ)


def test_identity_is_told_of_several_talkers_only():
    check_oracle(("identity",), tracks.TRACKS["separate"])
    check_oracle(("noise", "room", "identity"), tracks.TRACKS["joint"])
    with pytest.raises(ConfigError, match="the items of enhance have one talker"):
        check_oracle(("identity",), tracks.TRACKS["enhance"])
    with pytest.raises(ConfigError, match="the items of separate have no noise"):
        check_oracle(("noise",), tracks.TRACKS["separate"])


def test_voices_are_not_told_to_a_prior_that_takes_none(tiny_prior):
    check_prior(("noise", "room"), tiny_prior)
    check_prior(("identity",), Prior.from_pretrained("speech-16k-fast"))
    with pytest.raises(ConfigError, match=r"speaker_width 0\) takes no voices"):
        check_prior(("identity",), tiny_prior)


def test_talkers_are_not_restored_once_more_by_models_of_what_is_known(opened):
    """Whose row would not be an upper bound."""
    rendered = rendered_of(opened)
    for names in (("noise",), ("room",)):
        known = known_of(rendered, names)
        assert (
            informed(make_recipe("joint"), known, rendered.observation, RATE_HZ, RATE_HZ).each_talker is None
        )


@pytest.mark.parametrize("names", [("noise",), ("room",), ("noise", "room")])
def test_one_talker_is_restored_once_from_the_recording_that_the_truth_is_told_of(opened, names):
    rendered = rendered_of(opened)
    observation = rendered.observation
    told = informed(make_recipe("denoise_dereverb"), known_of(rendered, names), observation, RATE_HZ, RATE_HZ)
    assert told.second_pass is None
    assert told.early_reflections is None


@pytest.mark.parametrize("name", ["informed", "informed_dps"])
def test_an_experiment_that_asks_for_a_room_is_told_that_of_the_items(opened, name):
    """And so needs no file."""
    path = str(Path(__file__).parents[2] / "experiments" / "dereverb" / f"{name}.yaml")
    given = ("dereverb", "speech-16k-fast", path, "cpu", 0)
    with pytest.raises(ConfigError, match="Missing mandatory value"):
        OwnTask(*given)
    own = OwnTask(*given, oracle=("room",))
    assert own.label == f"dereverb-{name}+oracle-room"
    rendered = rendered_of(opened)
    known = known_of(rendered, own.oracle)
    told = informed(own._restorer.recipe, known, rendered.observation, RATE_HZ, RATE_HZ)
    assert isinstance(told.degradation, Room)


def recipe(degradation) -> Recipe:
    sampler = AnnealedSampler(estimators=[UpdateNoise(), UpdateRoom()], n_steps=3)
    return Recipe(sampler, NMFNoise(n_fft=256, hop_samples=64), degradation)


@pytest.mark.parametrize(
    ("degradation", "expected"),
    [
        (Mixing(), "Room"),
        (BlindRoom(), "Room"),
        (Chain([Gain(), BlindRoom()]), "Gain Room"),
        (Clipping(threshold=0.5), "Room Clipping"),
    ],
)
def test_the_room_takes_the_place_of_the_model(degradation, expected):
    own = recipe(degradation)
    told = informed(own, Known(responses=torch.rand(1, 1, 50)), torch.zeros(1, 100), RATE_HZ, RATE_HZ)
    parts = told.degradation.parts if isinstance(told.degradation, Chain) else [told.degradation]
    assert " ".join(type(part).__name__ for part in parts) == expected
    assert [type(one) for one in told.sampler.estimators] == [UpdateNoise]
    assert len(own.sampler.estimators) == 2  # left as it was
    assert told.likelihood is own.likelihood


def test_the_noise_takes_the_place_of_the_noise_model():
    noise, observation = torch.rand(2, 1, 4000)
    own = recipe(Mixing())
    told = informed(own, Known(noise=noise), observation, RATE_HZ, 8000)
    assert isinstance(told.likelihood, KnownNoise)
    assert told.likelihood.noise.shape == (1, 2000)
    assert (told.likelihood.stft.n_fft, told.likelihood.stft.hop_samples) == (256, 64)
    assert told.degradation is own.degradation


def test_passes_leave_a_known_room_alone():
    own = replace(recipe(Mixing()), sampler=EMPasses(recipe(Mixing()).sampler, 2))
    told = informed(own, Known(responses=torch.rand(1, 1, 50)), torch.zeros(1, 100), RATE_HZ, RATE_HZ)
    assert [type(one) for one in told.sampler.sampler.estimators] == [UpdateNoise]


@pytest.mark.parametrize("task", ["dereverb", "denoise_dereverb", "joint"])
def test_our_own_recipes_run_with_what_is_known(opened, task):
    rendered = rendered_of(opened)
    own = make_recipe(task)
    y = rendered.observation[:, None, :16000]
    for oracle in (("noise",), ("room",), ("noise", "room")):
        known = known_of(rendered, oracle)
        known = replace(known, noise=None if known.noise is None else known.noise[:, :16000])
        told = informed(own, known, y[0], RATE_HZ, RATE_HZ)
        assert isinstance(told.degradation, Room) == ("room" in oracle)
        is_late = isinstance(told.likelihood, LateReverberation)
        assert is_late == ("room" not in oracle)
        model = told.likelihood.noise if is_late else told.likelihood
        assert isinstance(model, KnownNoise) == ("noise" in oracle)
        sampler = AnnealedSampler(told.sampler.guidance, estimators=told.sampler.estimators, n_steps=4)
        parts = (told.degradation, told.likelihood)
        noise = RowNoise(0, ["a"], 2)
        problem = Problem.pose(y, WhiteGaussianPrior(0.05), *parts, noise, 2, told.n_sources)
        assert sampler.sample(problem, sampler.start(problem)).x.isfinite().all()


def test_a_system_with_an_oracle_has_a_name_of_its_own(opened, tiny_prior_folder):
    found, folder, place = opened
    settings, quick = [], ["sampler.init_args.n_steps=2"]
    for oracle in ((), ("noise",), ("noise", "room")):
        system = OwnTask("enhance", tiny_prior_folder, DEFAULT, "cpu", 0, quick, oracle)
        settings.append(system.settings())
        label = "+".join(["enhance-default+n_steps=2", *(f"oracle-{name}" for name in oracle)])
        assert system.label == label
        report = run_items(found, found.items[:2], folder, system, place.system(label))
        assert (report.n_run, report.failed) == (2, {})
    assert [row.get("oracle") for row in settings] == [None, "noise", "noise,room"]
    folders = [place.system(label) for label in sorted(place.labels()) if label.startswith("enhance")]
    assert len({at.estimates(found.items[0])[0].read_bytes() for at in folders}) == 3


def test_what_the_items_do_not_have_cannot_be_told(data, few, tmp_path, tiny_prior_folder):
    for track, oracle in (("enhance", ("room",)), ("dereverb", ("noise",))):
        found, folder, place = open_list(track, "test", data, tmp_path)
        system = OwnTask("enhance", tiny_prior_folder, "fast", "cpu", 0, oracle=oracle)
        with pytest.raises(ConfigError, match=f"the items of {track} have no {oracle[0]}"):
            run_items(found, found.items, folder, system, place.system("x"))
    with pytest.raises(ConfigError, match="--oracle: the system wpe has no such option"):
        open_system("wpe", oracle=("noise",))


class Acoustician:
    """Says what the room is, with a reverberation time that is too long by a tenth."""

    label, device, oracle = "acoustician", "cpu", ()

    def __init__(self, opened: Opened) -> None:
        self.opened = opened

    def settings(self) -> dict[str, str]:
        return {"system": self.label}

    def restore(self, observation, rate_hz, n_talkers, item_id, known):
        assert known is NOTHING or known.is_nothing
        found, folder, _ = self.opened
        item = next(item for item in found.items if item.id == item_id)
        response = scenes.render_item(item, folder, found).responses[:, 0]
        if item.response == "measured":
            return Restored(observation[:1], 5)  # estimates no room
        decay = torch.arange(response.shape[-1]) / rate_hz
        longer = response * torch.exp(decay * math.log(1000) * (1 - 1 / 1.1) / 0.3)
        return Restored(observation[:1], 5, longer, rate_hz)


def test_errors_of_the_room_reach_the_table(opened):
    found, folder, place = opened
    at = place.system("acoustician")
    run_items(found, found.items, folder, Acoustician(opened), at)
    facts = {row["id"]: row for row in read_rows(at.facts)}
    for item in found.items:
        assert ("estimated_rt60_s" in facts[item.id]) == (item.response == "simulated")
    errors = room_errors(facts.values())
    assert (errors.n, errors.n_rt60) == (2, 2)
    assert errors.rt60_bias_s > 0
    assert errors.rt60_error_s == pytest.approx(errors.rt60_bias_s)
    scores = score_system(found, found.items, folder, place, "acoustician", ("estoi",))
    assert scores.rows[0].parameters["estimated_rt60_s"] == facts[found.items[0].id]["estimated_rt60_s"]
    text = tables(found, [scores])
    assert "T60 error (s)" in text
    [line] = [line.split() for line in text.splitlines() if line.split()[:2] == ["acoustician", "all"]]
    assert line[:3] == ["acoustician", "all", "2"]
    assert line[3] == f"{errors.rt60_error_s:.3f}"
    json.dumps(facts)


def test_the_true_room_has_no_error_and_no_room_no_row(opened):
    rendered = rendered_of(opened)
    facts = room_facts(Restored(rendered.observation, 1, rendered.responses[:, 0], RATE_HZ), rendered)
    errors = room_errors([facts])
    assert (errors.rt60_error_s, errors.drr_error_db) == (0, 0)
    assert facts["true_rt60_s"] == pytest.approx(rendered.item.plan.room.rt60_s, rel=0.5)
    assert room_facts(Restored(rendered.observation, 1), rendered) == {}
    assert room_errors([{"rtf": 1.0}]) is None
    silent = room_facts(Restored(rendered.observation, 1, torch.zeros(1, 100), RATE_HZ), rendered)
    assert silent["estimated_rt60_s"] is None
    assert math.isnan(room_errors([silent]).rt60_error_s)
