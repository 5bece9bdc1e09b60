"""Packs of speech stay under their size, hold all talkers, are the same each time and go on after a stop."""

from __future__ import annotations

import json
import math
import os
import shutil

import numpy as np
import pytest
import soundfile

from diffsr.cli import main
from diffsr.errors import AudioError, ConfigError, DataError
from diffsr.io.audio import read_audio
from diffsr.io.manifest import read_manifest
from diffsr.prepare import pack as pack_module
from diffsr.prepare import pack_coding
from diffsr.prepare.pack import MIB, Coding, folder_bytes, pack


def speech(seconds: float, seed: int, rate_hz: int = 16000) -> np.ndarray:
    """Syllables of noise in a band of its own, between half a second of near silence."""
    rng = np.random.default_rng(seed)
    n = round(seconds * rate_hz)
    time_s = np.arange(n) / rate_hz
    voice = np.sin(2 * np.pi * (100 + 10 * seed) * time_s) + 0.1 * rng.standard_normal(n)
    wave = 0.2 * voice * np.sin(np.pi * 3 * time_s) ** 2
    pause = 1e-5 * rng.standard_normal(rate_hz // 2)
    return np.concatenate([pause, wave, pause])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Two corpora of four talkers, four files each, and a file for each other split."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = []
    for number in range(32):
        talker = number // 4
        path = folder / f"{number}.flac"
        soundfile.write(path, speech(1 + 0.25 * (number % 3), number), 16000)
        rows.append(
            {
                "path": path.name,
                "speaker": f"talker{talker}",
                "corpus": "one" if talker < 4 else "two",
                "licence": "CC BY 4.0",
                "speech_start_s": 0.5,
                "speech_end_s": 1.5,
                "split": "train",
            }
        )
    for split in ("valid", "test"):
        soundfile.write(folder / f"{split}.flac", speech(1, 99), 16000)
        rows.append({"path": f"{split}.flac", "speaker": split, "split": split})
    manifest = folder / "all.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return manifest


def contents(folder):
    """Samples and text by path; the bytes of an Ogg file hold a random serial number."""
    return {
        path.relative_to(folder): path.read_text(encoding="utf-8")
        if path.suffix == ".jsonl"
        else soundfile.read(path)[0].tobytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_parts_are_small_and_complete_and_all_talkers_are_in_each(corpus, tmp_path):
    mib = 0.13
    packed = pack(corpus, tmp_path / "packs", mib)
    assert len(packed.folders) > 1
    listed = [read_manifest(folder) for folder in packed.folders]
    train = [[row for row in rows if row.split == "train"] for rows in listed]
    assert all(folder_bytes(folder) <= mib * MIB for folder in packed.folders)
    assert sorted(row.id for rows in train for row in rows) == sorted(str(n) for n in range(32))
    for rows in train:
        assert len({row.speaker for row in rows}) == 8
        ones = sum(row.corpus == "one" for row in rows)
        assert ones / len(rows) == pytest.approx(0.5, abs=0.1)
        assert {row.licence for row in rows} == {"CC BY 4.0"}
    assert all([row.id for row in rows if row.split == "valid"] == ["valid"] for rows in listed)
    assert not any(row.split == "test" for rows in listed for row in rows)
    sizes = [sum(row.path.stat().st_size for row in rows) for rows in train]
    assert max(sizes) < 1.25 * min(sizes)
    for row in train[0]:
        assert not math.isnan(row.speech_end_s)
        wave, info = read_audio(row.path)
        assert (info.rate_hz, info.subtype, wave.shape[-1]) == (16000, "OPUS", 16000)
    assert not (tmp_path / "packs" / ".coded").exists()


def test_a_pack_can_be_moved_and_is_a_corpus(corpus, tmp_path):
    pack(corpus, tmp_path / "packs", 1)
    moved = (tmp_path / "packs" / "part-1").rename(tmp_path / "elsewhere")
    text = (moved / "manifest.jsonl").read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    assert len(read_manifest(moved)) == 33


def test_flac_keeps_every_sample_of_the_span(corpus, tmp_path):
    packed = pack(corpus, tmp_path / "packs", 4, coding=Coding("flac"))
    row = next(row for row in read_manifest(packed.folders[0]) if row.id == "7")
    expected, _ = soundfile.read(corpus.parent / "7.flac", dtype="float32")
    np.testing.assert_array_equal(read_audio(row.path)[0][0].numpy(), expected[8000:24000])


def test_other_rates_are_converted(corpus, tmp_path):
    packed = pack(corpus, tmp_path / "packs", 4, coding=Coding("opus", rate_hz=8000))
    wave, info = read_audio(read_manifest(packed.folders[0])[0].path)
    assert (info.rate_hz, wave.shape[-1]) == (8000, 8000)


@pytest.mark.parametrize("kbit", [16, 32, 64])
def test_opus_has_about_the_bit_rate_that_was_asked_for(tmp_path, kbit):
    path = tmp_path / "long.flac"
    soundfile.write(path, speech(30, 0), 16000)
    manifest = tmp_path / "m.jsonl"
    row = {"path": "long.flac", "speech_start_s": 0.5, "speech_end_s": 30.5}
    manifest.write_text(json.dumps(row), encoding="utf-8")
    [[file]] = pack(manifest, tmp_path / "packs", 4, coding=Coding("opus", kbit=kbit)).parts
    assert file.n_bytes * 8 / 30 / 1000 == pytest.approx(kbit, rel=0.25)


def test_one_part_is_the_same_as_in_a_pack_of_all(corpus, tmp_path):
    pack(corpus, tmp_path / "all", 0.13)
    packed = pack(corpus, tmp_path / "one", 0.13, part=2)
    assert [folder.name for folder in packed.folders] == ["part-2"]
    assert not (tmp_path / "one" / "part-1").exists()
    assert contents(tmp_path / "one" / "part-2") == contents(tmp_path / "all" / "part-2")


def test_a_stopped_call_goes_on(corpus, tmp_path, monkeypatch):
    write, calls = pack_coding.write_audio, []

    def stop_after_ten(*args, **options):
        calls.append(args)
        if len(calls) > 10:
            raise KeyboardInterrupt
        write(*args, **options)

    monkeypatch.setattr(pack_coding, "write_audio", stop_after_ten)
    with pytest.raises(KeyboardInterrupt):
        pack(corpus, tmp_path / "packs", 0.13)
    monkeypatch.setattr(pack_coding, "write_audio", write)
    assert pack(corpus, tmp_path / "packs", 0.13).n_reused >= 10
    pack(corpus, tmp_path / "whole", 0.13)
    assert contents(tmp_path / "packs") == contents(tmp_path / "whole")


def test_another_size_replaces_the_parts_without_coding_anew(corpus, tmp_path, monkeypatch):
    assert len(pack(corpus, tmp_path / "packs", 0.08).folders) > 2
    monkeypatch.setattr(pack_coding, "write_audio", None)
    packed = pack(corpus, tmp_path / "packs", 1)
    assert packed.n_reused == 33
    assert sorted(path.name for path in (tmp_path / "packs").iterdir()) == ["part-1"]
    assert all(row.path.is_file() for row in read_manifest(packed.folders[0]))


def test_a_recording_that_was_rewritten_is_coded_anew(tmp_path):
    path, manifest = tmp_path / "1.wav", tmp_path / "m.jsonl"
    manifest.write_text(json.dumps({"path": path.name, "speech_start_s": 0.5, "speech_end_s": 1.5}))
    for seed in (1, 2):
        soundfile.write(path, speech(1, seed), 16000)
        os.utime(path, ns=(seed, seed))  # of the same size
        packed = pack(manifest, tmp_path / "packs", 4, coding=Coding("flac"))
    assert packed.n_reused == 0
    expected, _ = soundfile.read(path, dtype="float32")
    [row] = read_manifest(packed.folders[0])
    np.testing.assert_array_equal(read_audio(row.path)[0][0].numpy(), expected[8000:24000])


def test_a_copy_is_there_completely_or_not_at_all(corpus, tmp_path, monkeypatch):
    def half(source, target):
        with open(target, "wb") as file:
            file.write(source.read_bytes()[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(pack_module.os, "link", lambda *paths: (_ for _ in ()).throw(OSError("no links")))
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", half)
        with pytest.raises(KeyboardInterrupt):
            pack(corpus, tmp_path / "packs", 4)
    assert not list((tmp_path / "packs" / "part-1" / "audio").iterdir())
    pack(corpus, tmp_path / "packs", 4)
    pack(corpus, tmp_path / "whole", 4)
    assert contents(tmp_path / "packs") == contents(tmp_path / "whole")


def test_validation_speech_takes_talkers_in_turn(corpus, tmp_path):
    unmarked = tmp_path / "unmarked.jsonl"
    rows = [{"path": str(r.path), "speaker": r.speaker} for r in read_manifest(corpus) if r.split == "train"]
    unmarked.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    packed = pack(corpus, tmp_path / "packs", 4, valid=unmarked, n_valid=8)
    assert len({file.utterance.speaker for file in packed.valid}) == 8
    assert {file.path.suffix for file in packed.valid} == {".flac"}
    assert len(pack(corpus, tmp_path / "none", 4, n_valid=0).valid) == 0


def test_validation_speech_is_what_is_marked_so_and_a_warning_tells_of_what_trains_too(
    corpus, tmp_path, caplog
):
    packed = pack(corpus, tmp_path / "marked", 4, valid=corpus)
    assert [file.utterance.id for file in packed.valid] == ["valid"]
    assert not caplog.text
    packed = pack(corpus, tmp_path / "unmarked", 4, valid=corpus.parent)
    assert {file.utterance.id for file in packed.valid} >= {"0", "valid"}
    assert "32 of 34 validation recordings" in caplog.text
    assert "also train" in caplog.text


def test_bad_files_are_left_out_and_named(corpus, tmp_path):
    for name, content in {"empty": b"", "text": b"not audio"}.items():
        (tmp_path / f"{name}.wav").write_bytes(content)
    soundfile.write(tmp_path / "silent.wav", np.zeros(16000), 16000)
    soundfile.write(tmp_path / "short.wav", speech(1, 0), 16000)
    names = ["empty", "text", "silent", "short"]
    rows = [{"path": f"{name}.wav", "speech_start_s": 5.0} for name in ["short"]]
    rows += [{"path": f"{name}.wav"} for name in names]
    for number in range(5):
        soundfile.write(tmp_path / f"good{number}.wav", speech(1, number), 16000)
        rows.append({"path": f"good{number}.wav"})
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    packed = pack(manifest, tmp_path / "packs", 4)
    assert len(packed.parts[0]) == 6
    assert len(packed.problems) == 4
    assert any("empty.wav is empty" in why for why in packed.problems)
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows[:4]), encoding="utf-8")
    with pytest.raises(DataError, match="4 of 4 files cannot be packed"):
        pack(manifest, tmp_path / "more", 4)


def test_a_disk_that_is_full_ends_the_run(corpus, tmp_path, monkeypatch):
    written = pack_coding.write_audio

    def full(path, *others, **options):
        if len(list(path.parent.glob("*"))) > 20:
            raise AudioError(f"Cannot write {path}: No space left on device.")
        written(path, *others, **options)

    monkeypatch.setattr(pack_coding, "write_audio", full)
    with pytest.raises(AudioError, match="No space left"):
        pack(corpus, tmp_path / "packs", 4)
    monkeypatch.undo()
    packed = pack(corpus, tmp_path / "packs", 4)
    assert not packed.problems
    assert packed.n_reused > 10


def test_speech_that_lies_where_the_parts_go_is_refused(corpus, tmp_path):
    packed = pack(corpus, tmp_path / "packs", 4)
    before = contents(tmp_path)
    for source, output in (
        (packed.folders[0], tmp_path / "packs"),
        (packed.folders[0], packed.folders[0]),
        (corpus, corpus.parent),
    ):
        with pytest.raises(ConfigError, match="where the parts are written. Choose another folder"):
            pack(source, output, 4)
    assert contents(tmp_path) == before


def test_what_cannot_work_is_refused(corpus, tmp_path):
    with pytest.raises(ConfigError, match="no room for training speech"):
        pack(corpus, tmp_path / "packs", 0.001)
    with pytest.raises(ConfigError, match="alone takes"):
        pack(corpus, tmp_path / "packs", 0.004, n_valid=0)
    with pytest.raises(ConfigError, match="--part 9: there are"):
        pack(corpus, tmp_path / "packs", 1, part=9)
    with pytest.raises(ConfigError, match="--valid-files -1"):
        pack(corpus, tmp_path / "packs", 1, n_valid=-1)
    with pytest.raises(ConfigError, match="kbit/s"):
        Coding(kbit=400)
    with pytest.raises(ConfigError, match="0 Hz is no sampling rate"):
        Coding("flac", rate_hz=0)
    with pytest.raises(ConfigError, match="22050 Hz"):
        Coding(rate_hz=22050)
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="is a file"):
        pack(corpus, tmp_path / "file", 1)
    only_test = tmp_path / "t.jsonl"
    only_test.write_text(json.dumps({"path": str(corpus.parent / "1.flac"), "split": "test"}))
    with pytest.raises(DataError, match="no rows for training"):
        pack(only_test, tmp_path / "packs", 1)


def test_the_command_reports_what_it_wrote(corpus, tmp_path, capsys):
    assert main(["prepare", "pack", str(corpus), str(tmp_path / "packs"), "--mib", "0.13"]) == 0
    out = capsys.readouterr().out
    assert "part-1: 0.1" in out
    assert "8 talkers" in out
    assert "kbit/s; 1 files of validation speech in each" in out
    assert main(["prepare", "pack", str(corpus), str(tmp_path / "all"), "--mib", "inf"]) == 0
    assert main(["prepare", "pack", str(corpus), str(tmp_path / "packs"), "--mib", "0"]) == 2
    assert "--mib 0: expected a size above 0" in capsys.readouterr().err


def test_the_command_tells_of_speech_without_the_upper_band(tmp_path, capsys):
    (tmp_path / "speech").mkdir()
    for number, rate_hz in enumerate((8000, 8000, 11025, 16000, 48000)):
        soundfile.write(tmp_path / "speech" / f"{number}.wav", speech(1, number, rate_hz), rate_hz)
    command = ["prepare", "pack", str(tmp_path / "speech"), str(tmp_path / "packs"), "--valid-files", "0"]
    for _ in range(2):  # files that are there already are counted as well
        assert main(command) == 0
        out = capsys.readouterr().out
        assert "3 of 5 files had a lower rate (2 at 8000 Hz, 1 at 11025 Hz): their upper band is empty" in out


def test_an_audio_file_of_a_compression_that_is_not_there_is_an_error(tmp_path):
    import torch

    from diffsr.io.audio import write_audio

    with pytest.raises(AudioError, match="Cannot write"):
        write_audio(tmp_path / "x.opus", torch.zeros(1, 100), 16000, compression_level=7.0)
