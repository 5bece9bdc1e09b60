import json

import pytest
import torch

from diffsr.errors import DataError
from diffsr.io.audio import write_audio
from diffsr.io.manifest import read_manifest
from diffsr.prepare.folder import prepare_folder


def burst(rate_hz, channels=1):
    """Half a second of silence, one of sound, half a second of silence."""
    rng = torch.Generator().manual_seed(0)
    wave = torch.zeros(channels, 2 * rate_hz)
    wave[:, rate_hz // 2 : 3 * rate_hz // 2] = 0.1 * torch.randn(channels, rate_hz, generator=rng)
    return wave


@pytest.fixture
def folder(tmp_path):
    write_audio(tmp_path / "c" / "anna" / "1.wav", burst(16000), 16000)
    write_audio(tmp_path / "c" / "anna" / "2.flac", burst(44100, 2), 44100)
    write_audio(tmp_path / "c" / "ben" / "3.opus", burst(48000), 48000)
    write_audio(tmp_path / "c" / "4.mp3", burst(16000), 16000)
    return tmp_path / "c"


def test_the_manifest_holds_talkers_lengths_and_spans(folder):
    calls = []
    path = prepare_folder(folder, progress=lambda done, total: calls.append((done, total)))
    assert path == folder / "manifest.jsonl"
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    rows = {row["id"]: row for row in map(json.loads, path.read_text().splitlines())}
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
    assert [row.id for row in read_manifest(folder)] == ["4", "anna/1", "anna/2", "ben/3"]


def test_bad_files_are_left_out_and_counted(folder, caplog):
    (folder / "bad.wav").write_text("no recording")
    write_audio(folder / "silent.wav", torch.zeros(1, 16000), 16000)
    prepare_folder(folder)
    assert len(read_manifest(folder)) == 4
    assert "Left out 2 of 6 recordings" in caplog.text


def test_another_place_and_a_second_time(folder, tmp_path):
    target = tmp_path / "lists" / "all.jsonl"
    assert prepare_folder(folder, target) == target
    first = target.read_text()
    prepare_folder(folder, target)
    assert target.read_text() == first
    assert len(read_manifest(target)) == 4


def test_nothing_usable_writes_nothing(tmp_path):
    with pytest.raises(DataError, match="No recording"):
        prepare_folder(tmp_path)
    (tmp_path / "bad.wav").write_text("no recording")
    with pytest.raises(DataError, match="None of the 1 recordings"):
        prepare_folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.wav"]
