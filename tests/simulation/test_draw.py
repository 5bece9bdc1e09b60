"""Drawing scenes as numbers: the recipe, its axes, and what a corpus must offer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diffsr.errors import ConfigError, DataError
from diffsr.io.manifest import Utterance
from diffsr.simulation.draw import SceneMaker, SceneSettings
from diffsr.simulation.plan import from_row, to_row


def rows(n_talkers: int, n_each: int, seconds: float = 8.0) -> list[Utterance]:
    """Rows of files that need not exist: drawing reads none."""
    return [
        Utterance(
            f"t{t}/{i}", f"/nowhere/t{t}/{i}.wav", f"t{t}", rate_hz=16000, n_samples=int(seconds * 16000)
        )  # type: ignore[arg-type]
        for t in range(n_talkers)
        for i in range(n_each)
    ]


NOISE = [Utterance(f"n{i}", Path(f"/nowhere/n{i}.wav"), duration_s=30.0) for i in range(5)]


def test_snr_and_talker_levels_are_those_of_the_recipe():
    maker = SceneMaker(SceneSettings(), rows(20, 3), NOISE)
    plans = [maker.draw(3, index) for index in range(2000)]
    snr_db = np.array([plan.noise.snr_db for plan in plans if plan.noise])
    difference_db = np.array([plan.talkers[0].gain_db - plan.talkers[1].gain_db for plan in plans])
    shares = [0.05, 0.25, 0.5, 0.75, 0.95]
    assert np.quantile(snr_db, shares) == pytest.approx(-3 + 9 * np.array(shares), abs=0.35)
    assert np.quantile(difference_db, shares) == pytest.approx(5 * np.array(shares), abs=0.2)
    assert all(plan.talkers[0].speaker != plan.talkers[1].speaker for plan in plans)
    used = {talker.id for plan in plans for talker in plan.talkers}
    assert len(used) == 60, "every utterance is used"


def test_a_plan_is_a_function_of_seed_and_key_alone():
    make = lambda order, seed: SceneMaker(SceneSettings(), order, NOISE, seed=seed)  # noqa: E731
    speech = rows(5, 3)
    first, again, other = make(speech, 1), make(speech[::-1], 1), make(speech, 2)
    assert [first.draw(i) for i in (4, 2, 0)] == [again.draw(i) for i in (4, 2, 0)]
    assert first.draw(1) != other.draw(1)
    assert first.draw(1, 0) != first.draw(0, 1)
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_the_fingerprint_tells_corpora_and_settings_apart_but_not_places():
    speech = rows(5, 3)
    base = SceneMaker(SceneSettings(), speech, NOISE).fingerprint
    moved = [replace(row, path=Path(row.id)) for row in speech]
    assert SceneMaker(SceneSettings(), moved, NOISE).fingerprint == base
    others = [
        SceneMaker(SceneSettings(), speech[1:], NOISE),
        SceneMaker(SceneSettings(), speech, NOISE[1:]),
        SceneMaker(SceneSettings(), speech),
        SceneMaker(SceneSettings(mode="max"), speech, NOISE),
    ]
    assert len({base, *(maker.fingerprint for maker in others)}) == 5


def test_switching_noise_or_room_changes_nothing_else(rooms):
    speech = rows(5, 3)
    full = SceneMaker(SceneSettings(n_microphones=2), speech, NOISE, rooms).draw(7)
    quiet = SceneMaker(SceneSettings(n_microphones=2), speech, None, rooms).draw(7)
    dry = SceneMaker(SceneSettings(n_microphones=2), speech, NOISE, None).draw(7)
    assert quiet == replace(full, noise=None)
    assert dry == replace(full, room=None)


@pytest.mark.parametrize("n_talkers", [1, 2, 3])
@pytest.mark.parametrize("n_microphones", [1, 2, 4])
@pytest.mark.parametrize("crop_s", [None, 3.0])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_every_axis_gives_plans_that_fit(rooms, n_talkers, n_microphones, crop_s, mode):
    speech = [
        replace(row, duration_s=3.0 + 0.4371 * i, speech_start_s=0.5) for i, row in enumerate(rows(6, 2))
    ]
    settings = SceneSettings(n_talkers, n_microphones, mode, crop_s=crop_s)
    maker = SceneMaker(settings, speech, NOISE, rooms)
    for index in range(50):
        plan = maker.draw(index)
        assert len({talker.speaker for talker in plan.talkers}) == n_talkers
        assert plan.noise is not None
        assert len(plan.noise.start_s) == n_microphones
        lengths = {row.id: row.length_s for row in speech}
        for talker in plan.talkers:
            assert talker.start_s >= 0.5
            assert talker.start_s + talker.duration_s <= lengths[talker.id] + 1e-9
            assert talker.offset_s + talker.duration_s <= plan.duration_s + 1e-9
        used = [talker.duration_s for talker in plan.talkers]
        if crop_s is not None:
            assert plan.duration_s == crop_s
        elif mode == "max":
            assert max(used) <= plan.duration_s <= max(used) + 4.0
        if mode == "min":
            assert all(length == plan.duration_s for length in used)
        assert from_row(json.loads(json.dumps(to_row(plan)))) == plan


@pytest.mark.parametrize("length_s", [2.0, 4.0, 4.05, 30.0])
def test_the_noise_of_each_microphone_is_another_part_of_the_recording(length_s):
    """Also where the recording is just as long as the scene; the first one is that of a single microphone."""
    noise = [Utterance("n", Path("n.wav"), duration_s=length_s)]
    one, three = (SceneMaker(SceneSettings(n_microphones=n, crop_s=4.0), rows(4, 2), noise) for n in (1, 3))
    for index in range(50):
        starts_s = three.draw(index).noise.start_s
        assert starts_s[:1] == one.draw(index).noise.start_s
        gaps_s = np.diff([*sorted(starts_s), min(starts_s) + length_s])
        assert min(gaps_s) > 0.3 * length_s - 0.1
        assert all(0 <= start_s < length_s for start_s in starts_s)


def test_max_mode_has_noise_around_the_speech_but_not_without_noise():
    speech = rows(4, 2)
    noisy = [SceneMaker(SceneSettings(mode="max"), speech, NOISE).draw(i) for i in range(200)]
    leads = [plan.talkers[0].offset_s for plan in noisy]
    assert np.quantile(leads, [0.05, 0.5, 0.95]) == pytest.approx([0.1, 1.0, 1.9], abs=0.25)
    quiet = SceneMaker(SceneSettings(mode="max"), speech).draw(0)
    assert all(talker.offset_s == 0 for talker in quiet.talkers)


def test_too_few_talkers_are_refused():
    with pytest.raises(DataError, match=r"need 3 different talkers; found 2 .* Use fewer talkers"):
        SceneMaker(SceneSettings(n_talkers=3), rows(2, 9))
    unlabelled = [replace(row, speaker=None) for row in rows(4, 2)]
    with pytest.raises(DataError, match="column 'speaker'"):
        SceneMaker(SceneSettings(), unlabelled)
    assert SceneMaker(SceneSettings(n_talkers=1), unlabelled).draw(0).talkers[0].speaker is None
    with pytest.raises(DataError, match=r"at least 9\.0 s of speech among 8"):
        SceneMaker(SceneSettings(crop_s=9.0), rows(4, 2))
    assert SceneMaker(SceneSettings(crop_s=9.0, mode="max"), rows(4, 2)).draw(0).duration_s == 9.0


def test_files_that_cannot_fill_the_band_are_left_out_and_counted(caplog):
    speech = rows(4, 2)
    narrow = [replace(row, rate_hz=8000) for row in speech[:1]]
    maker = SceneMaker(SceneSettings(), narrow + speech[1:])
    assert len(maker.speech) == 7
    assert "Left out 1 of 8 speech files" in caplog.text
    assert "has 8000 Hz, expected at least the 16000 Hz" in caplog.text
    with pytest.raises(DataError, match="None of the 1 speech recordings"):
        SceneMaker(SceneSettings(), narrow)


def test_missing_files_without_lengths_are_left_out(tmp_path):
    lost = Utterance("x", tmp_path / "x.wav", "x")
    assert len(SceneMaker(SceneSettings(), [*rows(3, 1), lost]).speech) == 3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_talkers": 4}, "n_talkers is 4, expected 1, 2 or 3"),
        ({"n_microphones": 0}, "n_microphones is 0"),
        ({"mode": "mid"}, "mode is mid, expected min or max"),
        ({"crop_s": 0.1}, "crop_s is 0.1, expected at least 0.4"),
        ({"snr_db": (5, 1)}, r"snr_db is \(5, 1\)"),
        ({"rate_hz": 44}, "rate_hz is 44"),
        ({"snr_by": "ear"}, "snr_by is ear"),
        (
            {"crop_s": 4.0, "longest_s": 1.0},
            "longest_s is 1.0 and crop_s is 4.0; in mode min everybody speaks",
        ),
    ],
)
def test_impossible_settings_are_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        SceneSettings(**wrong)


def test_utterances_may_be_shorter_than_crops_where_not_all_speak_from_start_to_end():
    [talker] = SceneMaker(SceneSettings(1, mode="max", crop_s=4.0, longest_s=1.0), rows(1, 1)).draw(0).talkers
    assert talker.duration_s == 1.0
