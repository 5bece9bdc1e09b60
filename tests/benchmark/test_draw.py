"""Lists that are drawn keep the rules, and come out the same."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from diffsr.benchmark import tracks
from diffsr.benchmark.draw import draw_list
from diffsr.benchmark.items import Item, ItemList, count_strata, read_list, write_list
from diffsr.benchmark.scenes import located, render_item
from diffsr.benchmark.subset import stratified
from diffsr.benchmark.tracks import TRACKS
from diffsr.errors import DataError
from diffsr.io.manifest import Utterance, read_manifest
from diffsr.signal.levels import active_rms, db
from diffsr.simulation.levels import snr_db
from diffsr.simulation.measured import MeasuredRooms
from diffsr.simulation.plan import MeasuredRoom, Room
from diffsr.simulation.rooms import SimulatedRooms
from diffsr.simulation.scene import render


@pytest.fixture(scope="module")
def lists(data: Path) -> dict[str, ItemList]:
    """All that the folder gives: 14 files are 28 items of one talker, or 13 pairs."""
    return {name: draw_list(TRACKS[name], "test", data) for name in ("enhance", "separate")}


@pytest.fixture(scope="module")
def short_lists(data: Path) -> dict[str, ItemList]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracks, "N_ITEMS", 4)
        return {name: draw_list(TRACKS[name], "test", data) for name in TRACKS}


def test_counts_and_halves(lists):
    assert len(lists["enhance"].items) == 28
    # Two corpora of 8 and 6 files: 7 pairs across leave 9 and 5 uses, which are 6 pairs.
    assert len(lists["separate"].items) == 13
    assert count_strata(lists["separate"]) == {"across": 7, "within": 6}
    assert "13 items instead of 50" in lists["separate"].notes[0]
    for found in lists.values():
        uses = Counter(talker.path for item in found.items for talker in item.plan.talkers)
        assert max(uses.values()) == 2


def test_parts_of_a_corpus_are_one_corpus(lists):
    for item in lists["separate"].items:
        first, second = (talker.corpus.split()[0] for talker in item.plan.talkers)
        assert (first == second) == (item.pair == "within")
    met = {
        frozenset(t.corpus for t in item.plan.talkers)
        for item in lists["separate"].items
        if item.pair == "within"
    }
    assert frozenset(("Alpha clean", "Alpha other")) in met


def test_crops_are_4_to_8_s_and_hold_the_speech(lists, data):
    rows = {row.id: row for row in read_manifest(data / "speech_test.csv")}
    for item in (*lists["enhance"].items, *lists["separate"].items):
        assert 4.0 <= item.plan.duration_s <= 8.0
        for talker in item.plan.talkers:
            row = rows[talker.id]
            end_s = talker.start_s + talker.duration_s
            assert talker.start_s >= 0
            assert end_s <= row.duration_s + 1e-9
            assert talker.duration_s == item.plan.duration_s
            if row.speech_end_s - row.speech_start_s >= talker.duration_s:
                assert row.speech_start_s - 1e-3 <= talker.start_s  # inside the span ...
                assert end_s <= row.speech_end_s + 1e-3
            else:
                assert talker.start_s <= row.speech_start_s + 1e-3  # ... or around it
                assert row.speech_end_s <= end_s + 2e-3


def test_levels_are_those_of_the_rules(lists):
    snrs = [item.plan.noise.snr_db for item in lists["enhance"].items]
    # One in every part of the range, none by luck.
    assert np.floor((np.sort(snrs) + 5) / 15 * len(snrs)).tolist() == list(range(len(snrs)))
    assert sorted(snrs) != snrs
    spreads = [
        item.plan.talkers[0].gain_db - item.plan.talkers[1].gain_db for item in lists["separate"].items
    ]
    assert 0 <= min(spreads) < 0.5 < 4.5 < max(spreads) <= 5
    assert all(item.plan.noise is None and item.plan.room is None for item in lists["separate"].items)


def test_every_track_has_what_belongs_to_it(short_lists):
    joint = short_lists["joint"].items
    assert all(isinstance(item.plan.room, Room) and len(item.plan.room.talkers_m) == 2 for item in joint)
    assert all(item.plan.snr_by == "loudness" and -3 <= item.plan.noise.snr_db <= 6 for item in joint)
    dereverb = short_lists["dereverb"].items
    assert [type(item.plan.room) for item in dereverb] == [Room, MeasuredRoom] * 2
    assert [item.response for item in dereverb] == ["simulated", "measured"] * 2
    assert len({item.plan.room.ids for item in dereverb[1::2]}) == 2  # every response before any comes again
    assert all(item.plan.noise is None for item in dereverb)
    assert all(item.plan.snr_by == "rms" for item in short_lists["enhance"].items)


def test_rendered_scenes_have_the_levels_of_their_plans(short_lists, data):
    for name, by in (("enhance", "rms"), ("joint", "loudness")):
        for item in short_lists[name].items:
            rooms = SimulatedRooms() if item.plan.room else None
            scene = render(located(item.plan, data), rooms)
            assert snr_db(scene.dry[0], scene.noise[0], 16000, by) == pytest.approx(
                item.plan.noise.snr_db, abs=0.01
            )
            levels_db = [db(float(active_rms(wave, 16000))) for wave in scene.dry / scene.gain]
            wanted_db = [db(0.05) + talker.gain_db for talker in item.plan.talkers]
            assert levels_db == pytest.approx(wanted_db, abs=0.01)


def test_the_same_list_twice_and_another_with_another_seed(data, few, tmp_path):
    paths = [tmp_path / name for name in "abc"]
    for path, seed in zip(paths, (0, 0, 1), strict=True):
        write_list(path, draw_list(TRACKS["dereverb"], "test", data, seed=seed))
    texts = [path.read_text() for path in paths]
    assert texts[0] == texts[1] != texts[2]


def test_splits_draw_from_their_own_files(data, few):
    found = draw_list(TRACKS["enhance"], "valid", data)
    assert all(name.startswith(("speech/valid/", "noise/train")) for name in found.files)


def test_a_list_is_relative_and_survives_a_trip_to_disk(short_lists, data, tmp_path):
    for found in short_lists.values():
        write_list(tmp_path / "list.jsonl", found)
        text = (tmp_path / "list.jsonl").read_text()
        assert str(data) not in text
        assert read_list(tmp_path / "list.jsonl") == replace(
            found, rules=read_list(tmp_path / "list.jsonl").rules
        )
        for item in found.items:
            shape = render_item(item, data, found).reference.shape
            assert shape == (len(item.plan.talkers), item.plan.n_samples)


def test_references_are_the_direct_path_where_it_is_exact_and_dry_where_it_is_measured(short_lists, data):
    for found in short_lists.values():
        for item in found.items[:2]:
            rendered = render_item(item, data, found)
            plan = located(item.plan, data)
            is_measured = isinstance(plan.room, MeasuredRoom)
            rooms = (
                MeasuredRooms([Utterance(plan.room.ids[0], Path(plan.room.paths[0]))])
                if is_measured
                else None
            )
            scene = render(plan, rooms or SimulatedRooms())
            assert torch.equal(rendered.reference, scene.dry if is_measured else scene.direct[:, 0])
            assert torch.equal(rendered.observation, scene.observation)


def test_the_subset_is_spread_over_strata_and_difficulty(lists):
    items = [item for item in lists["separate"].items if item.subset]
    assert len(items) == 13  # there are no more
    chosen = stratified(thirty(lists["enhance"].items[0]))
    assert len(chosen) == 20
    assert len([number for number in chosen if number < 10]) in (6, 7)  # a third of the items
    snrs = sorted(number - 10 for number in chosen if number >= 10)
    assert snrs[0] <= 1
    assert snrs[-1] >= 18
    assert max(np.diff(snrs)) <= 2


def thirty(item: Item) -> list[Item]:
    """10 within and 20 across, in order of their SNR."""

    def of(number: int, pair: str) -> Item:
        return replace(
            item, pair=pair, plan=replace(item.plan, noise=replace(item.plan.noise, snr_db=number))
        )

    return [of(number, "within") for number in range(10)] + [of(number, "across") for number in range(20)]


@pytest.mark.parametrize(("kind", "track"), [("speech", "separate"), ("noise", "joint"), ("rir", "dereverb")])
def test_a_missing_manifest_is_named(build, tmp_path, kind, track):
    folder = build.data(tmp_path)
    (folder / f"{kind}_test.csv").unlink()
    with pytest.raises(
        DataError, match=rf"no manifest {kind}_test.csv or {kind}_test.jsonl \(there: .*\). Expected"
    ):
        draw_list(TRACKS[track], "test", folder)


def test_a_missing_recording_is_named(build, tmp_path):
    folder = build.data(tmp_path)
    (folder / "noise" / "test-1.flac").unlink()
    with pytest.raises(DataError, match="1 of 2 files are missing; first in line 3: .*test-1.flac"):
        draw_list(TRACKS["enhance"], "test", folder)


def test_too_short_too_few_and_silent(build, tmp_path):
    folder = build.data(tmp_path)
    rows = list(csv.DictReader((folder / "speech_test.csv").open()))
    build.table(folder / "speech_test.csv", rows[-1:])
    with pytest.raises(DataError, match="None of the 1 files of speech lasts 4 s"):
        draw_list(TRACKS["enhance"], "test", folder)
    build.table(folder / "speech_test.csv", [{**row, "speaker": "one", "corpus": "mine"} for row in rows])
    with pytest.raises(DataError, match="at least 2 labelled talkers"):
        draw_list(TRACKS["separate"], "test", folder)
    silent = build.add(folder, "speech/test/silent", np.zeros(5 * 16000))
    build.table(folder / "speech_test.csv", [{**silent, "speaker": "nobody"}])
    with pytest.raises(DataError, match=r"enhance-test-00 cannot be rendered: .*silent.flac holds silence"):
        draw_list(TRACKS["enhance"], "test", folder)


def test_a_silent_stretch_is_drawn_around(build, tmp_path, few):
    folder = build.data(tmp_path)
    rng = np.random.default_rng(0)
    wave = np.concatenate([np.zeros(12 * 16000), 0.1 * rng.standard_normal(6 * 16000)])
    row = build.add(folder, "noise/half", wave)
    build.table(folder / "noise_test.csv", [{**row, "category": "hiss"}])
    found = draw_list(TRACKS["enhance"], "test", folder)
    assert len(found.items) == 4
    assert any(item.plan.attempt for item in found.items)


def test_responses_without_a_clear_direct_path_are_left_out(build, tmp_path, few):
    folder = build.data(tmp_path)
    noise = build.add(folder, "rir/noise", 0.1 * np.random.default_rng(0).standard_normal(8000))
    low = folder / "rir/low.wav"
    soundfile.write(
        low, np.eye(1, 8000, 100)[0] + 1e-3 * np.random.default_rng(1).standard_normal(8000), 8000
    )
    rows = list(csv.DictReader((folder / "rir_test.csv").open()))
    others = [{**noise, "room": "blurred"}, {**noise, "path": "rir/low.wav", "room": "low"}]
    build.table(folder / "rir_test.csv", [*rows, *others])
    found = draw_list(TRACKS["dereverb"], "test", folder)
    assert found.notes == ("2 of 4 measured responses left out: no clear direct path, or below 16000 Hz",)
    assert "rir/noise.flac" not in found.files
