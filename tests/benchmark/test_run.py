"""Runs stop, go on, and never mix."""

from __future__ import annotations

import errno
import functools
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from diffsr.benchmark import draw, scenes, store
from diffsr.benchmark.items import ItemList
from diffsr.benchmark.lists import open_list
from diffsr.benchmark.oracle import Known
from diffsr.benchmark.runner import finished, run_items
from diffsr.benchmark.store import SystemPlace, append_row, read_rows
from diffsr.benchmark.systems import OwnTask, Restored, known_systems, open_system
from diffsr.benchmark.tracks import TRACKS
from diffsr.benchmark.workers import Workers
from diffsr.errors import AudioError, CheckpointError, ConfigError, DataError
from diffsr.io.audio import read_audio
from diffsr.recipes import TASKS


class Counting:
    """A system that counts its calls and does what it is told."""

    label, device, oracle = "counting", "cpu", ()

    def __init__(self, version: str = "1", stop_at: int | None = None, answer: object = None) -> None:
        self.version, self.stop_at, self.answer = version, stop_at, answer
        self.heard: list[str] = []
        self.shapes: list[tuple[int, ...]] = []

    def settings(self) -> dict[str, str]:
        return {"system": self.label, "version": self.version}

    def restore(
        self, observation: Tensor, rate_hz: int, n_talkers: int, item_id: str, known: Known
    ) -> Restored:
        if self.stop_at == len(self.heard):
            raise KeyboardInterrupt
        self.heard.append(item_id)
        self.shapes.append(tuple(observation.shape))
        out = observation[:1].repeat(n_talkers, 1)
        observation.zero_()  # working in place must not reach the scorer
        if callable(self.answer):
            return Restored(self.answer(item_id, out), 7)
        return Restored(out, 7)


@pytest.fixture
def opened(data: Path, few: int, tmp_path: Path) -> tuple[ItemList, SystemPlace]:
    found, _, place = open_list("separate", "test", data, tmp_path)
    return found, place.system("counting")


def test_a_stopped_run_goes_on_where_it_was(opened, data):
    found, place = opened
    with pytest.raises(KeyboardInterrupt):
        run_items(found, found.items, data, first := Counting(stop_at=2), place)
    assert len(finished(place)) == 2
    told = []
    report = run_items(found, found.items, data, second := Counting(), place, lambda *news: told.append(news))
    assert (report.n_run, report.n_before, report.failed) == (2, 2, {})
    assert first.heard + second.heard == [item.id for item in found.items]
    assert told == [(2, 4, found.items[2].id), (3, 4, found.items[3].id), (4, 4, "")]
    assert run_items(found, found.items, data, third := Counting(), place).n_run == 0
    assert third.heard == []


def test_a_subset_is_part_of_the_whole(opened, data):
    found, place = opened
    few_items = found.choose(2)
    run_items(found, few_items, data, Counting(), place)
    report = run_items(found, found.items, data, Counting(), place)
    assert (report.n_run, report.n_before) == (2, 2)


def test_a_system_hears_the_observation_alone(opened, data):
    found, place = opened
    run_items(found, found.items, data, system := Counting(), place)
    for item, shape in zip(found.items, system.shapes, strict=True):
        assert shape == (1, item.plan.n_samples)
        observation = scenes.render_item(item, data, found).observation
        for path in place.estimates(item):
            estimate, info = read_audio(path)
            assert info.subtype == "FLOAT"
            assert torch.equal(estimate, observation)
    facts = read_rows(place.facts)
    assert [row["id"] for row in facts] == [item.id for item in found.items]
    for row, item in zip(facts, found.items, strict=True):
        assert row["calls"] == 7
        assert row["rtf"] == pytest.approx(row["seconds"] / item.plan.duration_s, abs=1e-4)
        assert row["memory_mib"] > 50


def test_what_was_killed_half_way_is_done_again(opened, data):
    found, place = opened
    run_items(found, found.items, data, Counting(), place)
    lines = place.facts.read_text().splitlines()
    place.facts.write_text("\n".join(lines[:3]) + "\n" + lines[3][:20])  # the last line was cut off
    place.estimates(found.items[0])[1].unlink()
    report = run_items(found, found.items, data, again := Counting(), place)
    assert again.heard == [found.items[0].id, found.items[3].id]
    assert report.n_before == 2
    assert len(finished(place)) == 4


def test_other_settings_and_other_lists_are_refused(opened, data, tmp_path):
    found, place = opened
    run_items(found, found.items[:1], data, Counting(), place)
    with pytest.raises(ConfigError, match=r"other settings \(version was 1, now 2\).*--label NAME"):
        run_items(found, found.items, data, Counting("2"), place)
    other, _, _ = open_list("enhance", "test", data, tmp_path)
    with pytest.raises(ConfigError, match=r"list was separate_test \w+, now enhance_test"):
        run_items(other, other.items, data, Counting(), place)
    for damaged in ("{", "[]", "5"):
        (place.folder / "settings.json").write_text(damaged)
        with pytest.raises(DataError, match="settings.json is damaged"):
            run_items(found, found.items, data, Counting(), place)


LOCKING = """
import sys, time
from pathlib import Path
from diffsr.benchmark.store import SystemPlace
with SystemPlace(Path(sys.argv[1])).alone():
    print("at work", flush=True)
    time.sleep(600)
"""


def test_a_second_run_of_a_label_is_refused_while_the_first_is_at_work(opened, data):
    found, place = opened
    command = [sys.executable, "-c", LOCKING, str(place.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        try:
            assert first.stdout.readline() == "at work\n"
            with pytest.raises(ConfigError, match=r"Another .* is at work in .*counting\..*--label NAME"):
                run_items(found, found.items, data, second := Counting(), place)
            assert second.heard == []
            assert not place.settings.exists()
        finally:
            first.kill()
    assert run_items(found, found.items, data, Counting(), place).n_run == 4  # what it held is free


def open_deaf() -> Counting:
    def fail(item_id: str, out: Tensor) -> Tensor:
        raise AudioError("cannot hear")

    return Counting(answer=fail)


def open_dying() -> Counting:
    def die(item_id: str, out: Tensor) -> Tensor:
        os._exit(9)

    return Counting(answer=die)


def open_slow() -> Counting:
    def wait(item_id: str, out: Tensor) -> Tensor:
        if not item_id.endswith("00"):
            time.sleep(600)
        return out

    return Counting(answer=wait)


def test_several_processes_give_what_one_gives(opened, data, tmp_path):
    found, place = opened
    open_alike = functools.partial(open_system, "wpe")
    system = open_alike()
    told: list[tuple[int, int, str]] = []
    report = run_items(
        found, found.items, data, system, place, lambda *news: told.append(news), Workers(2, open_alike)
    )
    assert (report.n_run, report.failed) == (4, {})
    assert told == [(0, 4, ""), (1, 4, ""), (2, 4, ""), (3, 4, ""), (4, 4, "")]
    one = SystemPlace(tmp_path / "one")
    run_items(found, found.items, data, system, one)
    assert finished(place) == finished(one) == {item.id for item in found.items}
    for item in found.items:
        for ours, theirs in zip(place.estimates(item), one.estimates(item), strict=True):
            torch.testing.assert_close(read_audio(ours)[0], read_audio(theirs)[0])


def test_what_an_item_of_a_process_fails_with_is_told(opened, data):
    found, place = opened
    report = run_items(found, found.items, data, Counting(), place, workers=Workers(2, open_deaf))
    assert report.failed == {item.id: "cannot hear" for item in found.items}
    assert run_items(found, found.items, data, Counting(), place).n_run == 4


def test_processes_that_are_killed_end_the_run_and_what_is_finished_stays(opened, data):
    found, place = opened
    run_items(found, found.items[:1], data, Counting(), place)
    with pytest.raises(DataError, match="ended from outside.*fewer --workers"):
        run_items(found, found.items, data, Counting(), place, workers=Workers(2, open_dying))
    assert run_items(found, found.items, data, Counting(), place).n_before == 1


def test_an_interrupted_run_waits_for_no_process(opened, data):
    found, place = opened

    def interrupt(done: int, total: int, name: str) -> None:
        if done:
            raise KeyboardInterrupt

    started_s = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_items(found, found.items, data, Counting(), place, interrupt, Workers(2, open_slow))
    assert time.monotonic() - started_s < 300
    assert not multiprocessing.active_children()
    assert finished(place) == {found.items[0].id}


def test_processes_end_with_one_that_was_killed(opened, data, tmp_path):
    found, place = opened
    begun = tmp_path / "begun"
    begun.mkdir()
    context = multiprocessing.get_context("spawn")
    open_system = functools.partial(open_that_tells, begun)
    first = context.Process(target=run_in_processes, args=(found, data, place, open_system))
    first.start()
    wait_for(lambda: len(list(begun.iterdir())) == 2)
    workers = [int(path.name) for path in begun.iterdir()]
    first.kill()
    first.join()
    wait_for(lambda: not any(is_alive(worker) for worker in workers))
    assert run_items(found, found.items, data, Counting(), place).n_run == 4


def open_that_tells(begun: Path) -> Counting:
    def wait(item_id: str, out: Tensor) -> Tensor:
        (begun / str(os.getpid())).touch()
        time.sleep(600)
        return out

    return Counting(answer=wait)


def run_in_processes(
    found: ItemList, data: Path, place: SystemPlace, open_system: Callable[[], Counting]
) -> None:
    run_items(found, found.items, data, Counting(), place, workers=Workers(2, open_system))


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def wait_for(is_so: Callable[[], bool], limit_s: float = 300.0) -> None:
    started_s = time.monotonic()
    while not is_so():
        assert time.monotonic() - started_s < limit_s
        time.sleep(0.1)


def test_less_than_one_process_is_refused():
    with pytest.raises(ConfigError, match="--workers 0: expected at least 1"):
        Workers(0, open_slow)


def test_a_run_needs_no_locks(opened, data, monkeypatch):
    found, place = opened
    monkeypatch.setitem(sys.modules, "fcntl", None)  # as on Windows
    with place.alone():
        assert run_items(found, found.items, data, Counting(), place).n_run == 4


def test_an_item_that_fails_is_written_down_and_tried_again(opened, data):
    found, place = opened
    bad = found.items[1].id

    def refuse(item_id: str, out: Tensor) -> Tensor:
        if item_id == bad:
            raise AudioError("too hard")
        return out

    report = run_items(found, found.items, data, Counting(answer=refuse), place)
    assert report.failed == {bad: "too hard"}
    assert report.n_run == 3
    assert bad not in finished(place)
    assert run_items(found, found.items, data, again := Counting(), place).failed == {}
    assert again.heard == [bad]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda out: out[:, :-3], r"counting gave estimates of shape \[2, \d+\], expected .* \[2, \d+\]"),
        (lambda out: out[:1], r"shape \[1, \d+\]"),
        (lambda out: out / 0, "NaN or infinite samples"),
    ],
)
def test_estimates_that_cannot_be_scored_are_not_written(opened, data, change, message):
    found, place = opened
    report = run_items(found, found.items[:1], data, Counting(answer=lambda _, out: change(out)), place)
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(report.failed[found.items[0].id])
    assert not any(path.exists() for path in place.estimates(found.items[0]))


def test_a_full_disk_ends_the_run(opened, data, monkeypatch):
    found, place = opened

    def full(*parts: object) -> object:
        raise OSError(errno.ENOSPC, "No space left on device")

    run_items(found, found.items[:1], data, Counting(), place)
    with monkeypatch.context() as patch:
        patch.setattr("diffsr.io.audio.replacing", full)
        with pytest.raises(AudioError, match="No space left on device.*free disk space"):
            run_items(found, found.items, data, Counting(), place)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.raises(
            DataError, match="Cannot write .*: No space left on device. Choose another --output"
        ):
            append_row(place.facts, {})
    with monkeypatch.context() as patch:
        patch.setattr(store, "replacing", full)
        with pytest.raises(DataError, match=r"settings.json: No space left"):
            SystemPlace(place.folder.parent / "new").claim({})
    assert run_items(found, found.items, data, Counting(), place).n_before == 1


def test_a_library_that_renders_otherwise_is_noticed(opened, data, monkeypatch):
    found, place = opened
    render = scenes.render

    def louder(*parts: object) -> object:
        scene = render(*parts)
        scene.observation.mul_(1.01)
        return scene

    monkeypatch.setattr(scenes, "render", louder)
    with pytest.raises(
        DataError, match=r"separate-test-00 is rendered with levels of .* expected .*pyroomacoustics"
    ):
        run_items(found, found.items, data, Counting(), place)


def test_own_tracks_stay_the_same_when_the_manifest_grows(build, few, tmp_path, monkeypatch):
    folder = build.data(tmp_path / "data")
    found, _, place = open_list("enhance", "test", folder, tmp_path / "out")
    assert found.own
    text = (folder / "speech_test.csv").read_text()
    (folder / "speech_test.csv").write_text(text.replace("Alpha", "Gamma") + text.splitlines()[-1] + "\n")
    monkeypatch.setattr(draw, "ATTEMPTS", 0)  # nothing is drawn any more
    again, _, _ = open_list("enhance", "test", folder, tmp_path / "out")
    assert again.digest == found.digest
    assert place.items.is_file()


def test_changed_and_missing_files_are_named(build, few, tmp_path):
    folder = build.data(tmp_path / "data")
    found, _, place = open_list("enhance", "test", folder, tmp_path / "out")
    path = folder / next(iter(found.files))
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(
        DataError, match=rf"{path.name} has changed: SHA-1 \w+, expected .*use another --output"
    ):
        open_list("enhance", "test", folder, tmp_path / "out")
    path.unlink()
    with pytest.raises(DataError, match=rf"{path.name} cannot be read \(No such file"):
        open_list("enhance", "test", folder, tmp_path / "out")
    path.write_bytes(content)
    place.items.write_text(place.items.read_text().splitlines()[0])
    with pytest.raises(DataError, match="is not a list of benchmark items of version 1 .*0 of 4 items"):
        open_list("enhance", "test", folder, tmp_path / "out")


def test_a_folder_with_files_of_the_benchmark_must_have_them_all(build, few, tmp_path):
    folder = build.data(tmp_path / "data")
    build.add(folder, "speech/test/librispeech/2196-170151-0000", build.voice(5, 100, 0))
    with pytest.raises(
        DataError, match=r"list of the benchmark, enhance_test.*draw tracks of your own with --own"
    ):
        open_list("enhance", "test", folder, tmp_path / "out")
    found, _, _ = open_list("enhance", "test", folder, tmp_path / "out", own=True)
    assert found.own
    assert len(found.items) == 4


def test_the_committed_list_is_used_with_its_own_data(data, few, tmp_path, monkeypatch):
    drawn = draw.draw_list(TRACKS["enhance"], "test", data)
    monkeypatch.setattr("diffsr.benchmark.lists.committed_list", lambda track, split: drawn)
    found, _, place = open_list("enhance", "test", data, tmp_path)
    assert not found.own
    assert found is drawn
    assert not place.items.exists()


def test_names_of_folders(tmp_path):
    place = store.TrackPlace(tmp_path)
    for label in ("", "..", "a/b", ".hidden"):
        with pytest.raises(ConfigError, match="cannot name a folder"):
            place.system(label)
    assert place.labels() == []


def test_systems_by_name(tiny_prior_folder: Path):
    assert {"unprocessed", "wpe", "rnnoise", "noisereduce", *TASKS} <= set(known_systems())
    with pytest.raises(ConfigError, match="no system 'wep'; choose one of unprocessed, .*enhance"):
        open_system("wep")
    with pytest.raises(ConfigError, match="--prior --preset: the system unprocessed has no such option"):
        open_system("unprocessed", prior="x", preset="fast")
    with pytest.raises(ConfigError, match="--precision: the system wpe has no such option"):
        open_system("wpe", precision="bfloat16")
    with pytest.raises(CheckpointError, match="No prior at nowhere"):
        open_system("enhance", prior="nowhere")
    system = open_system("enhance", prior=tiny_prior_folder, preset="fast", device="cpu")
    assert system.label == "enhance-fast"
    assert system.settings()["preset"] == "fast"
    exact, rounded = (
        open_system("enhance", prior=tiny_prior_folder, device="cpu", precision=name).settings()
        for name in ("float32", "bfloat16")
    )
    assert rounded == {**exact, "precision": "bfloat16"}  # so that results of both are not mixed


def test_a_task_gives_its_one_output_for_every_talker(tiny_prior_folder: Path, make_speech):
    system = OwnTask("enhance", tiny_prior_folder, "fast", "cpu", 0)
    wave = torch.from_numpy(make_speech(seconds=0.6))
    out, calls, responses, _ = system.restore(wave, 16000, 2, "item")
    assert responses is None
    assert out.shape == (2, wave.shape[-1])
    assert torch.equal(out[0], out[1])
    assert calls >= 30
    assert torch.equal(out, system.restore(wave, 16000, 2, "item")[0])
    assert not torch.equal(out, system.restore(wave, 16000, 2, "other item")[0])


def test_rows_survive_what_a_killed_run_leaves(tmp_path):
    path = tmp_path / "deep" / "rows.jsonl"
    assert read_rows(path) == []
    append_row(path, {"a": 1})
    with path.open("a") as file:
        file.write('{"a": 2')
    append_row(path, {"a": 3})
    assert [row["a"] for row in read_rows(path)] == [1, 3]
    assert json.loads(path.read_text().splitlines()[-1]) == {"a": 3}
