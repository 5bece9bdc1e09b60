"""What all corpora share: measuring, leaving out, going on after a stop, and never half a manifest."""

import errno
import hashlib
import json
import os
import threading

import numpy as np
import pytest

from diffsr.errors import AudioError, DataError
from diffsr.io.audio import read_audio
from diffsr.io.manifest import read_manifest
from diffsr.prepare import build
from diffsr.prepare.build import prepare
from diffsr.prepare.folder import folder_corpus
from diffsr.prepare.measure import measure
from diffsr.prepare.partial import Partial
from diffsr.prepare.summary import hours, summary

RATE_HZ = 16000
SPEECH, NOISE = folder_corpus(), folder_corpus("noise", "demand")


@pytest.fixture
def folder(tmp_path, record, tone):
    record("c/anna/1.wav", tone(1.0, pause_s=0.5))
    record("c/anna/2.flac", tone(1.0, 44100, 2, pause_s=0.5), 44100)
    record("c/ben/3.opus", tone(1.0, 48000, pause_s=0.5), 48000, format="OGG", subtype="OPUS")
    record("c/4.mp3", tone(1.0, pause_s=0.5))
    return tmp_path / "c"


def rows_in(path):
    return {row["id"]: row for row in map(json.loads, path.read_text(encoding="utf-8").splitlines())}


def hidden(folder):
    return [path.name for path in folder.rglob(".*")]


def test_the_manifest_holds_talkers_lengths_spans_and_checksums(folder):
    calls = []
    done = prepare(SPEECH, folder, on_progress=lambda *now: calls.append(now))
    assert done.manifest == folder / "manifest.jsonl"
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    rows = rows_in(done.manifest)
    assert {name: row.get("speaker") for name, row in rows.items()} == {
        "4": None,
        "anna/1": "anna",
        "anna/2": "anna",
        "ben/3": "ben",
    }
    assert (rows["anna/2"]["rate_hz"], rows["anna/2"]["n_samples"]) == (44100, 88200)
    for row in rows.values():
        assert row["speech_start_s"] == pytest.approx(0.4, abs=0.08)
        assert row["speech_end_s"] == pytest.approx(1.6, abs=0.08)
        assert row["sha1"] == hashlib.sha1((folder / row["path"]).read_bytes()).hexdigest()
    assert done.sha256 == hashlib.sha256(done.manifest.read_bytes()).hexdigest()
    assert hours(done.rows) * 3600 == pytest.approx(8.0, abs=0.2)
    assert [row.id for row in read_manifest(folder)] == ["4", "anna/1", "anna/2", "ben/3"]
    assert not hidden(folder)


def test_another_place_and_a_second_time(folder, tmp_path):
    target = tmp_path / "lists" / "all.jsonl"
    first = prepare(SPEECH, folder, target)
    assert first.manifest == target
    assert prepare(SPEECH, folder, target).sha256 == first.sha256
    assert len(read_manifest(target)) == 4


def test_a_moved_corpus_has_the_same_checksum(folder, tmp_path):
    first = prepare(SPEECH, folder).sha256
    moved = folder.rename(tmp_path / "elsewhere")
    assert prepare(SPEECH, moved).sha256 == first


def test_bad_files_are_left_out_counted_and_named(folder, record, tone):
    (folder / "train").mkdir()
    (folder / "train" / "text.wav").write_text("no recording")
    (folder / "empty.wav").touch()
    record("c/silent.wav", np.zeros(RATE_HZ))
    record("c/none.wav", np.zeros(0))
    nan = tone()
    nan[5] = np.nan
    record("c/nan.wav", nan, subtype="FLOAT")
    whole = record("c/cut.flac", tone(4.0)).read_bytes()
    (folder / "cut.flac").write_bytes(whole[: len(whole) // 3])
    done = prepare(SPEECH, folder)
    assert len(done.rows) == len(read_manifest(folder)) == 4
    reasons = {problem.utterance.path.name: problem.why for problem in done.problems}
    words = {
        "text.wav": "not audio",
        "empty.wav": "0 bytes",
        "silent.wav": "holds silence",
        "none.wav": "no samples",
        "nan.wav": "NaN",
        "cut.flac": "cut.flac",
    }
    assert set(reasons) == set(words)
    for name, word in words.items():
        assert word in reasons[name]
    lines = summary(done).splitlines()
    assert lines[0].split() == ["split", "files", "hours", "speakers", "left", "out"]
    assert lines[1].split() == ["train", "0", "0.00", "-", "1"]
    assert lines[3].split() == ["all", "4", "0.00", "2", "6"]
    assert lines[4:] == [
        "left out, 6 of them:",
        *(f"  {problem.why}" for problem in done.problems[:5]),
        "  and 1 more",
    ]


def test_nothing_usable_writes_nothing(tmp_path):
    with pytest.raises(DataError, match="No recording"):
        prepare(SPEECH, tmp_path)
    (tmp_path / "bad.wav").write_text("no recording")
    with pytest.raises(DataError, match="None of the 1 recordings"):
        prepare(SPEECH, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.wav"]


def test_noise_is_judged_by_level_alone(tmp_path, record, tone):
    record("n/kitchen/steady.wav", 0.001 * tone(), subtype="FLOAT")
    record("n/kitchen/silent.wav", 1e-6 * tone(), subtype="FLOAT")
    done = prepare(NOISE, tmp_path / "n")
    (row,) = rows_in(done.manifest).values()
    assert (row["category"], row["corpus"], "speaker" in row) == ("kitchen", "demand", False)
    assert "speech_start_s" not in row
    assert "is silent (-1" in done.problems[0].why


def test_responses_have_rooms(tmp_path, record):
    record("r/train/office/a.wav", np.eye(1, 800).T)
    (row,) = prepare(folder_corpus("response"), tmp_path / "r").rows
    assert (row.room, row.split, row.speaker, row.speech_start_s) == ("office", "train", None, None)


def test_quick_reads_headers_only(folder, monkeypatch):
    monkeypatch.setattr("diffsr.prepare.measure.read_audio", lambda path: pytest.fail("decoded"))
    done = prepare(SPEECH, folder, quick=True)
    assert (done.rows[2].rate_hz, done.rows[2].n_samples) == (44100, 88200)
    assert all("sha1" not in row and "speech_end_s" not in row for row in rows_in(done.manifest).values())


def test_a_dry_run_counts_and_writes_nothing(folder, monkeypatch):
    monkeypatch.setattr("diffsr.prepare.measure.read_audio", lambda path: pytest.fail("decoded"))
    before = sorted(folder.rglob("*"))
    done = prepare(SPEECH, folder, dry_run=True)
    assert len(done.rows) == 4
    assert hours(done.rows) * 3600 == pytest.approx(8.0, abs=0.2)
    assert (done.sha256, done.manifest) == (None, folder / "manifest.jsonl")
    assert sorted(folder.rglob("*")) == before


class Counting:
    """`measure` that counts, and stops after some files as Ctrl-C does."""

    def __init__(self, stop_after=None):
        self.names, self.stop_after, self.lock = [], stop_after, threading.Lock()

    def __call__(self, path, kind, quick=False):
        with self.lock:
            if self.stop_after is not None and len(self.names) >= self.stop_after:
                raise KeyboardInterrupt
            self.names.append(path.name)
        return measure(path, kind, quick)


def test_a_stopped_run_goes_on(folder, monkeypatch):
    fresh = prepare(SPEECH, folder, folder.parent / "fresh.jsonl").manifest.read_text().replace("c/", "")
    monkeypatch.setattr(build.os, "cpu_count", lambda: 1)
    first = Counting(stop_after=2)
    monkeypatch.setattr(build, "measure", first)
    with pytest.raises(KeyboardInterrupt):
        prepare(SPEECH, folder)
    assert hidden(folder) == [".manifest.jsonl.partial"]
    assert not (folder / "manifest.jsonl").exists()
    second = Counting()
    monkeypatch.setattr(build, "measure", second)
    done = prepare(SPEECH, folder)
    assert sorted(first.names + second.names) == ["1.wav", "2.flac", "3.opus", "4.mp3"]
    assert done.n_reused == len(first.names) == 2
    assert [row for row in rows_in(done.manifest).values()] == [
        {**row, "id": row["id"]} for row in map(json.loads, fresh.splitlines())
    ]
    assert not hidden(folder)


def test_changed_files_and_other_questions_are_measured_again(folder, monkeypatch):
    first = Counting(stop_after=3)
    monkeypatch.setattr(build.os, "cpu_count", lambda: 1)
    monkeypatch.setattr(build, "measure", first)
    with pytest.raises(KeyboardInterrupt):
        prepare(SPEECH, folder)
    kept = (folder / ".manifest.jsonl.partial").read_text()
    changed = folder / first.names[0]
    os.utime(changed, ns=(1, 1))
    (folder / ".manifest.jsonl.partial").write_text(kept + '["speech", "cut off')
    second = Counting()
    monkeypatch.setattr(build, "measure", second)
    assert prepare(SPEECH, folder).n_reused == 2
    assert sorted(second.names) == sorted(
        [changed.name, *({"1.wav", "2.flac", "3.opus", "4.mp3"} - {*first.names})]
    )
    (folder / ".manifest.jsonl.partial").write_text(kept)
    assert prepare(NOISE, folder).n_reused == 0


def test_a_stopped_run_does_not_read_on(tmp_path, record, monkeypatch):
    for number in range(20):
        record(f"many/{number:02d}.wav")
    monkeypatch.setattr(build.os, "cpu_count", lambda: 1)
    started, stopped = [], threading.Event()

    def slow(path, kind, quick):
        started.append(path)
        if len(started) > 3:
            stopped.wait(0.3)  # the file that is being read when the run is stopped
        return measure(path, kind, quick)

    def stop(n_done, n_files):
        if n_done == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(build, "measure", slow)
    with pytest.raises(KeyboardInterrupt):
        prepare(SPEECH, tmp_path / "many", on_progress=stop)
    assert len(started) <= 4


def test_a_full_disk_is_told_and_keeps_what_was_done(folder, monkeypatch):
    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("diffsr.io.manifest.replacing", full)
    with pytest.raises(DataError, match="Cannot write .*No space left"):
        prepare(SPEECH, folder)
    assert hidden(folder) == [".manifest.jsonl.partial"]


def test_a_full_disk_while_measuring(folder, monkeypatch):
    class Full:
        def write(self, text):
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self):
            raise OSError(errno.ENOSPC, "No space left on device")

    with Partial(folder / "m.jsonl", "speech") as partial:
        pass
    partial._file = Full()
    with pytest.raises(DataError, match="No space left.*--output"):
        partial.add(folder / "4.mp3", measure(folder / "4.mp3", "speech"))


def test_places_that_cannot_be_written(folder, monkeypatch):
    with pytest.raises(DataError, match="is a folder, expected a file"):
        prepare(SPEECH, folder, folder / "anna")
    monkeypatch.setattr(
        build, "measure", lambda *given: pytest.fail("measured before it is known to be of use")
    )
    with pytest.raises(DataError, match="Cannot write .*--output"):
        prepare(SPEECH, folder, folder / "4.mp3" / "m.jsonl")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_corpus(folder):
    folder.chmod(0o555)
    try:
        with pytest.raises(DataError, match="Permission denied.*--output"):
            prepare(SPEECH, folder)
    finally:
        folder.chmod(0o755)


def test_files_that_end_early(record, monkeypatch, tone):
    path = record("a.wav", tone(2.0))
    wave, info = read_audio(path)
    monkeypatch.setattr("diffsr.prepare.measure.read_audio", lambda path: (wave[:, :8000], info))
    with pytest.raises(AudioError, match="ends early: 8000 of the 32000 samples"):
        measure(path, "speech")


def test_recordings_with_one_name(tmp_path, record):
    for name in ("a.wav", "a.flac"):
        record(f"same/{name}")
    assert sorted(row.id for row in prepare(SPEECH, tmp_path / "same").rows) == ["a.flac", "a.wav"]
