"""Scores are those of the estimates against the items' own references, and none is lost or made up."""

from __future__ import annotations

import csv
import json
import math
import shutil
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from diffsr.baselines import make_baseline
from diffsr.benchmark import scorer, tracks
from diffsr.benchmark.items import ItemList
from diffsr.benchmark.lists import open_list
from diffsr.benchmark.oracle import Known
from diffsr.benchmark.runner import run_items
from diffsr.benchmark.scenes import render_item
from diffsr.benchmark.scorer import SystemScores, choose_labels, score_system
from diffsr.benchmark.store import TrackPlace, append_row, read_rows
from diffsr.benchmark.systems import Baseline, Restored
from diffsr.benchmark.table import tables
from diffsr.benchmark.tracks import METRICS, TRACKS
from diffsr.errors import DataError
from diffsr.evaluation.metrics import TALKER_METRICS, si_sdr_db
from diffsr.evaluation.results import Evaluation
from diffsr.io.audio import read_audio, write_audio

QUICK = ("si_sdr_db",)


class Oracle:
    """Knows the answers, talkers swapped."""

    label, device, oracle = "oracle", "cpu", ()

    def __init__(self, found: ItemList, data: Path) -> None:
        self.answers = {item.id: render_item(item, data, found).reference.flip(0) for item in found.items}

    def settings(self) -> dict[str, str]:
        return {"system": "oracle"}

    def restore(
        self, observation: Tensor, rate_hz: int, n_talkers: int, item_id: str, known: Known
    ) -> Restored:
        return Restored(self.answers[item_id], 3)


Track = tuple[ItemList, Path, TrackPlace]


def unprocessed(track: Track) -> None:
    found, folder, place = track
    run_items(found, found.items, folder, Baseline(make_baseline("unprocessed")), place.system("unprocessed"))


def score(track: Track, label: str = "unprocessed", metrics: tuple[str, ...] = QUICK) -> SystemScores:
    found, folder, place = track
    return score_system(found, found.items, folder, place, label, metrics)


@pytest.fixture
def track(data: Path, few: int, tmp_path: Path) -> Track:
    """Pairs without a room, run with the unprocessed input."""
    opened = open_list("separate", "test", data, tmp_path)
    unprocessed(opened)
    return opened


@pytest.mark.parametrize("name", TRACKS)
def test_from_items_to_a_table(name, data, tmp_path, monkeypatch):
    monkeypatch.setattr(tracks, "N_ITEMS", 2)
    opened = found, folder, place = open_list(name, "test", data, tmp_path)
    unprocessed(opened)
    run_items(found, found.items, folder, Oracle(found, data), place.system("oracle"))
    base, best = (score(opened, label, METRICS) for label in ("unprocessed", "oracle"))
    for row, item in zip(base.rows, found.items, strict=True):
        exact = item.response != "measured"
        assert set(row.output) == {"pesq_wb", "estoi"} | ({"si_sdr_db"} if exact else set())
        assert all(row.improvement(metric) == 0 for metric in row.output)  # exactly
        assert row.groups == item.plan.speakers
        assert row.parameters["snr_db"] == (item.plan.noise.snr_db if item.plan.noise else None)
    for row in best.rows:
        assert row.output.get("si_sdr_db", 200.0) > 100
        assert row.output["pesq_wb"] > 4.5
        assert row.output["estoi"] > 0.999
    text = tables(found, [base, best])
    assert f"{name}, test" in text
    assert "own data" in text
    halves = name in ("dereverb", "denoise_dereverb")  # one item in a simulated room, one in a measured one
    assert ("simulated" in text) == halves
    assert ("within" in text) == (TRACKS[name].n_talkers == 2)
    line = next(line for line in text.splitlines() if line.startswith("unprocessed") and "SI-SDR" in line)
    interval = ["+0.00", "-"] if halves else ["to", "+0.00"]  # of one item there is none
    assert line.split()[-5:] == [*interval, "0%", "1" if halves else "2", "0"]


def test_the_csv_has_a_row_for_each_item_and_system(track, tmp_path):
    found, folder, place = track
    run_items(found, found.items, folder, Oracle(found, folder), place.system("oracle"))
    rows = [row for label in ("unprocessed", "oracle") for row in score(track, label).rows]
    Evaluation(rows).write_csv(tmp_path / "scores.csv")
    lines = list(csv.DictReader((tmp_path / "scores.csv").open()))
    assert [(line["system"], line["id"]) for line in lines] == [
        (label, item.id) for label in ("unprocessed", "oracle") for item in found.items
    ]
    first = lines[0]
    item = found.items[0]
    assert first["pair"] == item.pair
    assert first["talkers"].split() == list(item.plan.speakers)
    assert float(first["level_difference_db"]) == pytest.approx(2 * item.plan.talkers[0].gain_db, abs=2e-3)
    assert lines[-1]["calls"] == "3"
    rendered = render_item(item, folder, found)
    expected = si_sdr_db(rendered.observation.expand(2, -1), rendered.reference).mean()
    assert float(first["si_sdr_db_input"]) == pytest.approx(float(expected), abs=1e-3)


def test_scores_are_made_once(track, monkeypatch):
    calls: list[tuple[str, tuple[str, ...]]] = []
    original = scorer.score_item

    def counted(
        est: Tensor, ref: Tensor, rate_hz: int, metrics: tuple[str, ...], item: scorer.Scored
    ) -> object:
        calls.append((item.id, tuple(metrics)))
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        return original(est, ref, rate_hz, metrics=metrics, item=item)

    found, folder, place = track
    ids = [item.id for item in found.items]
    monkeypatch.setattr(scorer, "score_item", counted)
    stop_at = 4
    with pytest.raises(KeyboardInterrupt):
        score(track)  # input and output of the first item, input of the second
    stop_at = -1
    first = score(track)
    assert [name for name, _ in calls[4:]] == [ids[1], *(name for name in ids[2:] for _ in range(2))]
    calls.clear()
    assert score(track).rows == first.rows
    assert calls == []
    both = score(track, metrics=("si_sdr_db", "sdr_db"))  # only what is new
    assert {names for _, names in calls} == {("sdr_db",)}
    assert [row.output["si_sdr_db"] for row in both.rows] == [row.output["si_sdr_db"] for row in first.rows]
    assert score(track).rows == first.rows  # what was not asked for is not shown
    run_items(found, found.items, folder, Oracle(found, folder), place.system("oracle"))
    calls.clear()
    score(track, "oracle")
    assert len(calls) == 4  # the inputs are known


@pytest.mark.parametrize("name", ["diffsr", "pesq"])
def test_scores_of_another_version_are_made_again(name, track, monkeypatch):
    _, _, place = track
    files = (place.folder / "inputs.jsonl", place.system("unprocessed").scores)
    first = score(track)
    with monkeypatch.context() as patch:
        patch.setattr(scorer, "version" if name == "pesq" else "diffsr", newer(name))
        assert score(track).rows == first.rows
        assert [len(read_rows(path)) for path in files] == [8, 8]
        assert f"{name} 99" in read_rows(files[0])[-1]["scored_with"]
    score(track)  # what the first version scored is still there
    assert [len(read_rows(path)) for path in files] == [8, 8]
    for path in files:  # rows of before versions were noted
        rows = [{key: value for key, value in row.items() if key != "scored_with"} for row in read_rows(path)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert score(track).rows == first.rows
    assert [len(read_rows(path)) for path in files] == [12, 12]


def newer(name: str) -> object:
    """What tells the version, for a package that has been upgraded to 99."""
    if name == "diffsr":
        return SimpleNamespace(__version__="99")
    return lambda package: "99" if package == name else metadata.version(package)


def test_what_is_scored_already_takes_no_time(track):
    found, folder, place = track
    score(track)
    told: list[tuple[int, int, str]] = []
    for number in (1, 3):
        for path, wave in zip(
            place.system("unprocessed").estimates(found.items[number]), clean(track, number), strict=True
        ):
            write_audio(path, wave[None], 16000, "FLOAT")
    place.system("unprocessed").estimates(found.items[2])[0].unlink()
    score_system(found, found.items, folder, place, "unprocessed", QUICK, lambda *news: told.append(news))
    ids = [f"unprocessed {found.items[number].id}" for number in (1, 3)]
    assert told == [(2, 4, ids[0]), (3, 4, ids[1]), (4, 4, "unprocessed")]


def test_scores_of_before_there_were_those_of_talkers_are_kept(track):
    found, folder, place = track
    first = score(track)
    both = score(track, metrics=(*QUICK, *TALKER_METRICS))
    assert [row.output["si_sdr_db"] for row in both.rows] == [row.output["si_sdr_db"] for row in first.rows]
    for row in both.rows:
        assert set(row.output) == {*QUICK, *TALKER_METRICS}
        assert set(row.input) == {"si_sdr_db", "si_sdr_1000ms_db", "si_sdr_250ms_db", "si_sdr_64ms_db"}
        assert row.improvement("si_sdr_64ms_db") == 0
    assert "pieces of 1 s" not in tables(found, [first])
    again = score(track, metrics=(*QUICK, *TALKER_METRICS))
    assert [row.to_dict() for row in again.rows] == [row.to_dict() for row in both.rows]  # None for NaN


def test_local_errors_apart_from_those_of_identity(track, tmp_path):
    found, folder, place = track
    run_items(found, found.items, folder, Oracle(found, folder), place.system("oracle"))
    for item in found.items:  # the talkers change tracks in the middle, where a piece of 250 ms ends
        waves = render_item(item, folder, found).reference
        middle = item.plan.n_samples // 8000 * 4000
        waves[:, middle:] = waves[:, middle:].flip(0)
        for path, wave in zip(place.system("oracle").estimates(item), waves, strict=True):
            write_audio(path, wave[None], 16000, "FLOAT")
    scores = score(track, "oracle", (*QUICK, *TALKER_METRICS))
    for row in scores.rows:
        assert row.output["si_sdr_250ms_db"] > row.output["si_sdr_db"] + 10
        assert row.output["swaps"] == 1
        assert row.output["swaps_per_min"] == pytest.approx(60 / row.duration_s)
    lines = tables(found, [scores]).splitlines()
    start = next(k for k, line in enumerate(lines) if line.startswith("SI-SDR improvement (dB)"))
    columns = "as separated pieces of 1 s 250 ms 64 ms gap swaps per minute"
    assert " ".join(lines[start].split()).endswith(columns)
    cells = lines[start + 1].split()
    assert cells[:3] == ["oracle", "all", "4"]
    assert float(cells[5]) > float(cells[3]) + 10
    assert float(cells[-2]) == pytest.approx(float(cells[6]) - float(cells[3]), abs=0.02)
    assert [line.split()[1] for line in lines[start + 2 : start + 4]] == ["across", "within"]
    Evaluation(scores.rows).write_csv(tmp_path / "scores.csv")
    line = next(csv.DictReader((tmp_path / "scores.csv").open()))
    assert float(line["piecewise_gap_db_output"]) > 0
    assert float(line["si_sdr_250ms_db_improvement"]) > 10
    assert line["swaps_output"] == "1"
    assert line["sexes"] == ""  # the manifest does not tell


def test_pairs_by_sex(track, data, tmp_path):
    found, _, place = track
    shutil.copytree(data, told := tmp_path / "told")
    rows = list(csv.DictReader((told / "speech_test.csv").open()))
    talkers = sorted({row["speaker"] for row in rows})
    words = {name: ("F", "male")[number % 2] for number, name in enumerate(talkers)}
    with (told / "speech_test.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "sex"])
        writer.writeheader()
        writer.writerows({**row, "sex": words[row["speaker"]]} for row in rows)
    scores = score_system(found, found.items, told, place, "unprocessed", QUICK)
    for row, item in zip(scores.rows, found.items, strict=True):
        expected = "+".join(sorted(words[name][0].upper() for name in item.plan.speakers))
        assert row.parameters["sexes"] == expected
    pairs = {str(row.parameters["sexes"]) for row in scores.rows}
    assert len(pairs) > 1
    lines = [line.split() for line in tables(found, [scores]).splitlines() if line.startswith("unprocessed")]
    assert pairs <= {line[1] for line in lines}
    (told / "speech_test.csv").unlink()
    assert (
        score_system(found, found.items, told, place, "unprocessed", QUICK).rows[0].parameters["sexes"]
        is None
    )


def test_a_changed_estimate_is_scored_again(track):
    found, folder, place = track
    before = score(track)
    for path, wave in zip(
        place.system("unprocessed").estimates(found.items[2]), clean(track, 2), strict=True
    ):
        write_audio(path, wave[None], 16000, "FLOAT")
    after = score(track)
    assert after.rows[2].output["si_sdr_db"] > 100
    assert after.rows[2].improvement("si_sdr_db") > 50
    assert [after.rows[k] for k in (0, 1, 3)] == [before.rows[k] for k in (0, 1, 3)]


def clean(track: Track, number: int) -> Tensor:
    found, folder, _ = track
    return render_item(found.items[number], folder, found).reference


def test_what_is_missing_or_does_not_fit_is_named(track):
    found, _, place = track
    at = place.system("unprocessed")
    ids = [item.id for item in found.items]
    paths = [at.estimates(item) for item in found.items]
    paths[0][1].unlink()
    paths[1][0].unlink()
    append_row(at.facts, {"id": ids[1], "problem": "too hard"})
    write_audio(paths[2][0], clean(track, 2)[:1, :-100], 16000, "FLOAT")
    paths[3][0].write_bytes(b"RIFF")
    scores = score(track)
    assert scores.rows == []
    assert scores.missing == {ids[0]: "", ids[1]: "too hard"}
    n_samples = found.items[2].plan.n_samples
    assert f"{n_samples - 100} samples at 16000 Hz, expected 1 of {n_samples}" in scores.failed[ids[2]]
    assert "is not audio" in scores.failed[ids[3]]
    text = tables(found, [scores])
    assert f"unprocessed: no estimate (2):\n  {ids[0]}\n  {ids[1]}: too hard" in text
    assert "unprocessed: cannot be scored (2)" in text
    assert "2 of 4" in text


def test_a_silent_estimate_counts_as_made_worse(track):
    found, _, place = track
    path = place.system("unprocessed").estimates(found.items[0])[0]
    write_audio(path, torch.zeros_like(read_audio(path)[0]), 16000, "FLOAT")
    scores = score(track)
    assert math.isnan(scores.rows[0].output["si_sdr_db"])
    line = next(line for line in tables(found, [scores]).splitlines() if "SI-SDR" in line and "+" in line)
    assert line.split()[-3:] == ["25%", "3", "1"]


def test_scoring_can_happen_elsewhere(track, data, tmp_path):
    here = score(track)
    shutil.copytree(data, tmp_path / "data copy")
    shutil.copytree(tmp_path / "separate_test", tmp_path / "there" / "separate_test")
    for rows in (tmp_path / "there").rglob("*scores.jsonl"):
        rows.unlink()
    (tmp_path / "there" / "separate_test" / "inputs.jsonl").unlink()
    there = open_list("separate", "test", tmp_path / "data copy", tmp_path / "there")
    assert score(there).rows == here.rows


def test_systems_by_label_and_by_name(track):
    found, folder, place = track
    run_items(found, found.items[:1], folder, oracle := Oracle(found, folder), place.system("best of all"))
    assert oracle.label == "oracle"
    (place.folder / "notes").mkdir()
    assert choose_labels(found, place, []) == ["unprocessed", "best of all"]
    assert choose_labels(found, place, ["oracle", "unprocessed"]) == ["best of all", "unprocessed"]
    with pytest.raises(
        DataError, match=r"no estimates of wpe \(there: unprocessed, best of all\). Run the system"
    ):
        choose_labels(found, place, ["wpe"])
    with pytest.raises(DataError, match=r"holds no estimates \(there: none\)"):
        choose_labels(found, TrackPlace(place.folder / "gone"), [])
