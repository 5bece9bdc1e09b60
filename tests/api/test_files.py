"""Restoring files and folders: formats, names, what is there already, and what goes wrong on the way."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from diffsr import Restorer
from diffsr.errors import AudioError, ConfigError, DataError
from diffsr.files import restore_path
from diffsr.io.audio import read_audio, write_audio
from diffsr.io.recordings import check_writable, list_recordings
from diffsr.recipes import Recipe
from diffsr.restoration import one_talker
from diffsr.restoration.file_report import FileReport, account, notes
from diffsr.samplers import AnnealedSampler


@pytest.fixture
def restorer(tiny_prior):
    return Restorer(tiny_prior, recipe=Recipe(AnnealedSampler(n_steps=3)))


@pytest.fixture
def noisy(tmp_path, make_speech) -> Path:
    for seed, name in enumerate(("a.wav", "deep/b.flac", "deep/er/c.wav")):
        write_audio(tmp_path / "in" / name, torch.from_numpy(make_speech(seed=seed)), 16000)
    return tmp_path / "in"


def files_in(folder: Path) -> list[str]:
    """Every file, hidden ones too: leftovers of writing would be among them."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def statuses(reports: list[FileReport]) -> dict[str, str]:
    return {report.path.name: report.status for report in reports}


@pytest.mark.parametrize(
    ("name", "subtype", "rates_hz"),
    [
        ("a.wav", "PCM_16", (8000, 16000, 44100, 48000)),
        ("a.wav", "PCM_24", (8000, 44100, 48000)),
        ("a.wav", "PCM_U8", (8000,)),
        ("a.wav", "FLOAT", (16000, 44100)),
        ("a.wav", "DOUBLE", (48000,)),
        ("a.wav", "ULAW", (8000,)),
        ("a.WAV", "PCM_16", (16000,)),
        ("a.flac", "PCM_16", (8000, 44100)),
        ("a.flac", "PCM_24", (48000,)),
        ("a.ogg", "VORBIS", (8000, 44100)),
        ("a.ogg", "OPUS", (16000,)),
        ("a.opus", "OPUS", (8000, 48000)),
        ("a.mp3", "MPEG_LAYER_III", (16000, 44100)),
        ("a.aiff", "PCM_24", (44100,)),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_format_rate_channels_and_length_come_back(
    tmp_path, restorer, make_speech, name, subtype, rates_hz, channels
):
    for rate_hz in rates_hz:
        wave = torch.from_numpy(make_speech(0.37, channels, rate_hz))
        write_audio(tmp_path / name, wave, rate_hz, subtype)
        [report] = restore_path(tmp_path / name, tmp_path / "out", restorer, overwrite=True)
        assert (report.status, report.message) == ("restored", "")
        before, after = soundfile.info(tmp_path / name), soundfile.info(tmp_path / "out" / name)
        for what in ("samplerate", "channels", "frames", "format", "subtype"):
            assert getattr(after, what) == getattr(before, what), what


@pytest.mark.parametrize(
    ("content", "subtype", "suffix", "expected"),
    [
        ("WAV", "PCM_24", ".flac", "PCM_24"),
        ("WAV", "FLOAT", ".flac", "PCM_24"),
        ("WAV", "PCM_32", ".flac", "PCM_24"),
        ("WAV", "PCM_16", ".opus", "OPUS"),
        ("OGG", "VORBIS", ".opus", "OPUS"),
        ("FLAC", "PCM_24", ".wav", "PCM_24"),
        ("MP3", "MPEG_LAYER_III", ".wav", "PCM_16"),
    ],
)
def test_another_format_keeps_the_depth_where_it_can(
    tmp_path, restorer, make_speech, content, subtype, suffix, expected
):
    """The suffix of the result decides; the content of the recording may differ from its name."""
    soundfile.write(tmp_path / "in.wav", make_speech()[0], 16000, subtype, format=content)
    [report] = restore_path(tmp_path / "in.wav", tmp_path / f"out{suffix}", restorer)
    assert report.status == "restored", report.message
    assert soundfile.info(report.output).subtype == expected


@pytest.mark.parametrize(
    ("suffix", "channels", "rate_hz"), [(".mp3", 3, 16000), (".mp3", 1, 96000), (".opus", 1, 44100)]
)
def test_a_format_without_such_a_rate_or_channels_is_found_before_the_work(
    tmp_path, restorer, make_speech, monkeypatch, suffix, channels, rate_hz
):
    write_audio(tmp_path / "in.wav", torch.from_numpy(make_speech(0.3, channels, rate_hz)), rate_hz)
    worked: list[str] = []
    solve = one_talker.solve
    monkeypatch.setattr(one_talker, "solve", lambda *given: worked.extend(given[0].ids) or solve(*given))
    [report] = restore_path(tmp_path / "in.wav", tmp_path / f"out{suffix}", restorer)
    assert report.status == "failed"
    assert report.message.startswith(f"{tmp_path / 'in.wav'}: Cannot write {tmp_path / f'out{suffix}'} as ")
    assert not worked
    [report] = restore_path(tmp_path / "in.wav", tmp_path / "out.wav", restorer)
    assert report.status == "restored"
    assert worked


def test_a_channel_that_is_not_there_is_told_with_the_file(tmp_path, restorer, make_speech):
    write_audio(tmp_path / "in.wav", torch.from_numpy(make_speech(0.3)), 16000)
    restorer.channels = "3"
    [report] = restore_path(tmp_path / "in.wav", tmp_path / "out.wav", restorer)
    assert report.status == "failed"
    assert report.message.startswith(f"{tmp_path / 'in.wav'}: channel '3' was asked for")


def test_what_is_restored_in_python_is_saved_as_by_the_command(tmp_path, restorer, make_speech):
    loud = 20.0 * torch.from_numpy(make_speech(0.3))
    for subtype in ("FLOAT", "PCM_24"):
        wave = loud if subtype == "FLOAT" else loud / 20.0
        write_audio(tmp_path / f"{subtype}.wav", wave, 16000, subtype)
        restore_path(tmp_path / f"{subtype}.wav", tmp_path / "out.wav", restorer, overwrite=True)
        saved = restorer.restore_file(tmp_path / f"{subtype}.wav").save(tmp_path / "saved.wav")
        assert saved.read_bytes() == (tmp_path / "out.wav").read_bytes()
    assert soundfile.info(saved).subtype == "PCM_24"


def test_arrays_of_any_scale_are_saved_at_theirs(tmp_path, restorer, make_speech):
    done = restorer.restore(2e4 * torch.from_numpy(make_speech(0.3)), 16000)
    kept, _ = read_audio(done.save(tmp_path / "a.wav"))
    torch.testing.assert_close(kept, done.wave)
    assert soundfile.info(tmp_path / "a.wav").subtype == "FLOAT"
    quiet, _ = read_audio(
        restorer.restore(0.1 * done.wave / done.wave.abs().max(), 16000).save(tmp_path / "b.wav")
    )
    assert soundfile.info(tmp_path / "b.wav").subtype == "PCM_16"
    assert float(quiet.abs().max()) < 1.0


def test_a_folder_keeps_its_tree(noisy, tmp_path, restorer):
    reports = restore_path(noisy, tmp_path / "out", restorer)
    assert files_in(tmp_path / "out") == ["a.wav", "deep/b.flac", "deep/er/c.wav"]
    assert [report.output.relative_to(tmp_path / "out") for report in reports] == [
        report.path.relative_to(noisy) for report in reports
    ]
    assert all(report.calls == 3 and report.duration_s == 0.5 and report.seconds > 0 for report in reports)


def test_the_result_does_not_depend_on_company(noisy, tmp_path, restorer, make_speech):
    restore_path(noisy, tmp_path / "all", restorer)
    alone = tmp_path / "lonely" / "deep"
    alone.mkdir(parents=True)
    shutil.copy(noisy / "deep" / "b.flac", alone)
    restore_path(tmp_path / "lonely", tmp_path / "one", restorer)
    write_audio(alone / "b.wav", torch.from_numpy(make_speech(seed=9)), 16000)  # the same name otherwise
    restore_path(tmp_path / "lonely", tmp_path / "two", restorer)
    expected = read_audio(tmp_path / "all" / "deep" / "b.flac")[0]
    for folder in ("one", "two"):
        assert torch.equal(read_audio(tmp_path / folder / "deep" / "b.flac")[0], expected)
    restore_path(noisy / "a.wav", tmp_path / "single.wav", restorer)
    assert (tmp_path / "single.wav").read_bytes() == (tmp_path / "all" / "a.wav").read_bytes()


def test_names_of_recordings(noisy, tmp_path):
    assert [recording.id for recording in list_recordings(noisy)] == ["a", "deep/b", "deep/er/c"]
    (recording,) = list_recordings(noisy / "deep" / "b.flac")
    assert (recording.id, recording.output(tmp_path)) == ("b", tmp_path / "b.flac")
    (noisy / "v1.2 take.wav").touch()
    assert list_recordings(noisy)[-1].output(tmp_path).name == "v1.2 take.wav"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no names that are not UTF-8")
def test_a_name_that_is_not_utf_8(noisy, tmp_path, restorer):
    """As old archives have them: `Müller.wav` in Latin-1."""
    old = noisy / os.fsdecode(b"M\xfcller.wav")
    (noisy / "a.wav").rename(old)
    reports = restore_path(noisy, tmp_path / "out", restorer, physics=True)
    assert {report.status for report in reports} == {"restored"}
    wave, _ = read_audio(tmp_path / "out" / old.name)
    assert bool(wave.any())


def test_what_is_there_is_skipped_unless_told_otherwise(noisy, tmp_path, restorer):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.wav").write_text("mine")
    reports = restore_path(noisy, tmp_path / "out", restorer)
    assert statuses(reports) == {"a.wav": "skipped", "b.flac": "restored", "c.wav": "restored"}
    assert "--overwrite" in reports[0].message
    assert (tmp_path / "out" / "a.wav").read_text() == "mine"
    assert set(statuses(restore_path(noisy, tmp_path / "out", restorer)).values()) == {"skipped"}
    again = restore_path(noisy, tmp_path / "out", restorer, overwrite=True)
    assert set(statuses(again).values()) == {"restored"}
    assert soundfile.info(tmp_path / "out" / "a.wav").frames == 8000


def test_the_results_may_lie_among_the_recordings(noisy, restorer):
    assert len(restore_path(noisy, noisy / "out", restorer)) == 3
    again = restore_path(noisy, noisy / "out", restorer)
    assert len(again) == 3
    assert {report.status for report in again} == {"skipped"}
    with pytest.raises(AudioError, match="holds no recordings outside"):
        restore_path(noisy / "deep", noisy, restorer)
    [report] = restore_path(noisy / "deep" / "er" / "c.wav", noisy, restorer)  # a file is what was asked for
    assert report.output == noisy / "c.wav"


def test_a_file_or_a_folder_to_write_to(noisy, tmp_path, restorer):
    (tmp_path / "there.v2").mkdir()
    for target, output in {"new": "new/a.wav", "there.v2": "there.v2/a.wav", "x/b.flac": "x/b.flac"}.items():
        [report] = restore_path(noisy / "a.wav", tmp_path / target, restorer)
        assert report.output == tmp_path / output
        assert report.output.is_file()


def test_a_recording_is_never_overwritten_by_its_restoration(noisy, tmp_path, restorer):
    before = (noisy / "a.wav").read_bytes()
    (tmp_path / "link").symlink_to(noisy)
    for source, target in (
        (noisy, noisy),
        (noisy, tmp_path / "link"),
        (noisy / "a.wav", noisy),
        (noisy / "a.wav", noisy / "a.wav"),
        (noisy / "a.wav", tmp_path / "link" / "a.wav"),
    ):
        with pytest.raises(ConfigError, match="overwritten by its own restoration"):
            restore_path(source, target, restorer, overwrite=True)
    assert (noisy / "a.wav").read_bytes() == before


def test_a_bad_file_among_good_ones(noisy, tmp_path, restorer, monkeypatch):
    (noisy / "b text.wav").write_text("no recording " * 50)
    (noisy / "c empty.wav").touch()
    soundfile.write(noisy / "d nan.wav", np.full(8000, np.nan), 16000, "FLOAT")
    soundfile.write(noisy / "e silent.wav", np.zeros(8000), 16000)
    soundfile.write(noisy / "f clipped.wav", np.sign(np.random.default_rng(0).standard_normal(8000)), 16000)
    soundfile.write(noisy / "g click.wav", np.ones(1), 16000)
    reports = restore_path(noisy, tmp_path / "out", restorer)
    failed = {report.path.name: report.message for report in reports if report.status == "failed"}
    words = ("is not audio", "is empty", "NaN", "silent", "clipped in 100%", "0.0001 s")
    assert len(failed) == len(words)
    for (name, message), word in zip(failed.items(), words, strict=True):
        assert word in message
        assert message.startswith(str(noisy / name))
        assert message.count(str(noisy)) == 1
        assert "\n" not in message
    assert files_in(tmp_path / "out") == ["a.wav", "deep/b.flac", "deep/er/c.wav"]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 80.00 GiB."),
        RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
        MemoryError(),
    ],
)
def test_a_file_too_long_for_the_memory_among_good_ones(noisy, tmp_path, restorer, monkeypatch, error):
    solve = one_talker.solve

    def solve_short(posterior, *others):
        if posterior.ids == ["deep/b/0"]:
            raise error
        return solve(posterior, *others)

    monkeypatch.setattr(one_talker, "solve", solve_short)
    reports = restore_path(noisy, tmp_path / "out", restorer)
    assert statuses(reports) == {"a.wav": "restored", "b.flac": "failed", "c.wav": "restored"}
    assert "b.flac: The recording is too long for this device's memory: cut it" in reports[1].message


def test_an_error_of_ours_is_not_taken_for_a_bad_file(noisy, tmp_path, restorer, monkeypatch):
    def fail(*_):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(one_talker, "solve", fail)
    with pytest.raises(RuntimeError, match="mat1"):
        restore_path(noisy, tmp_path / "out", restorer)


def test_files_that_this_user_may_not_read(noisy, tmp_path, restorer, monkeypatch):
    access = os.access  # root may read everything: pretend
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "b.flac" and access(path, mode))
    reports = restore_path(noisy, tmp_path / "out", restorer)
    assert statuses(reports) == {"a.wav": "restored", "b.flac": "failed", "c.wav": "restored"}
    assert "may not be read" in reports[1].message


def test_a_folder_that_this_user_may_not_enter(noisy, tmp_path, restorer, monkeypatch):
    stat = Path.stat

    def refuse(path, **options):
        if path.name == "b.flac" and "in" in path.parts:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    reports = restore_path(noisy, tmp_path / "out", restorer)
    assert statuses(reports) == {"a.wav": "restored", "b.flac": "failed", "c.wav": "restored"}
    assert reports[1].message == f"{noisy / 'deep' / 'b.flac'}: Permission denied."


def test_a_locked_folder_is_not_passed_over(noisy, tmp_path, restorer, monkeypatch):
    scan = os.scandir

    def refuse(path):
        if Path(path).name == "er":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match="deep/er cannot be read .Permission denied"):
        restore_path(noisy, tmp_path / "out", restorer)


@pytest.mark.parametrize("source", ["gone.wav", "gone", "n" * 300])
def test_missing_sources_are_found_before_anything_is_done(tmp_path, restorer, source):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "gone.wav").touch()  # must not pass for a finished restoration
    with pytest.raises(AudioError, match="does not exist"):
        restore_path(tmp_path / source, tmp_path / "out", restorer)


def test_a_folder_without_recordings(tmp_path, restorer):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match="No recording in"):
        restore_path(tmp_path, tmp_path / "out", restorer)
    assert files_in(tmp_path) == ["notes.txt"]


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ("in", "taken", "taken is a file or named like one; give a folder"),
        ("in", "out.wav", "out.wav is a file or named like one; give a folder"),
        ("in", "taken/deeper", "taken is not a folder"),
        ("in/a.wav", "taken", "taken is not a folder"),
        ("in/a.wav", "taken/b.wav", "taken is not a folder"),
        ("in/a.wav", "out.m4a", ".m4a is not a format that can be written"),
    ],
)
def test_targets_that_cannot_be_written(noisy, tmp_path, restorer, monkeypatch, source, target, words):
    (tmp_path / "taken").write_text("in the way")
    monkeypatch.setattr(restorer, "restore_many", lambda *_: pytest.fail("work was done before the check"))
    with pytest.raises((AudioError, ConfigError), match=words):
        restore_path(tmp_path / source, tmp_path / target, restorer)
    assert not [name for name in files_in(tmp_path) if not name.startswith("in/") and name != "taken"]


def test_a_target_that_this_user_may_not_write_to(tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir()
    check_writable(tmp_path / "locked" / "new" / "newer")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path / "locked")
    for target in ("locked", "locked/new/newer"):
        with pytest.raises(AudioError, match="locked may not be written by this user"):
            check_writable(tmp_path / target)


def test_a_full_disk_ends_the_run_and_leaves_what_is_whole(noisy, tmp_path, restorer, monkeypatch):
    write = Path.write_bytes

    def write_until_full(path: Path, content: bytes) -> int:
        if "b" in path.name.split(".")[1]:
            write(path, bytes(content)[:100])
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", write_until_full)
    with pytest.raises(AudioError, match="b.flac: No space left on device"):
        restore_path(noisy, tmp_path / "out", restorer)
    assert files_in(tmp_path / "out") == ["a.wav"]
    monkeypatch.undo()
    reports = restore_path(noisy, tmp_path / "out", restorer)
    assert statuses(reports) == {"a.wav": "skipped", "b.flac": "restored", "c.wav": "restored"}


@pytest.mark.parametrize("moment", ["restoring", "writing"])
def test_ctrl_c_leaves_what_is_whole(noisy, tmp_path, restorer, monkeypatch, moment):
    def interrupt(*_):
        raise KeyboardInterrupt

    if moment == "writing":
        monkeypatch.setattr(os, "replace", interrupt)
    steps = interrupt if moment == "restoring" else None
    with pytest.raises(KeyboardInterrupt):
        restore_path(noisy, tmp_path / "out", restorer, on_progress=steps)
    assert not (tmp_path / "out").exists() or files_in(tmp_path / "out") == []


def test_a_failed_overwrite_keeps_the_old_result(noisy, tmp_path, restorer, monkeypatch):
    restore_path(noisy, tmp_path / "out", restorer)
    before = (tmp_path / "out" / "a.wav").read_bytes()
    monkeypatch.setattr(restorer, "seed", 5)

    def refuse(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "replace", refuse)
    reports = restore_path(noisy, tmp_path / "out", restorer, overwrite=True)
    assert {report.status for report in reports} == {"failed"}
    assert "Input/output error" in reports[0].message
    assert (tmp_path / "out" / "a.wav").read_bytes() == before
    assert files_in(tmp_path / "out") == ["a.wav", "deep/b.flac", "deep/er/c.wav"]


def test_progress_is_told(noisy, tmp_path, restorer):
    (noisy / "b.wav").touch()
    told = []
    restore_path(noisy, tmp_path / "out", restorer, on_progress=lambda *progress: told.append(progress))
    assert told[:3] == [(0, 4, "a.wav", 1, 3), (0, 4, "a.wav", 2, 3), (1, 4, "a.wav", 0, 3)]
    assert told[3] == (2, 4, "b.wav", 0, 1)
    assert told[-1] == (4, 4, "deep/er/c.wav", 0, 3)
    shares = [(finished + step / steps) / files for finished, files, _, step, steps in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_the_account_shares_the_time_among_devices():
    reports = [FileReport(Path("a"), Path("b"), "restored", seconds=6.0, duration_s=4.0, calls=9)] * 2
    assert "(8.0 s of audio in 12.0 s, real-time factor 1.50, 9 network calls each" in account(reports, 100.0)
    assert "(8.0 s of audio in 6.0 s, real-time factor 0.75, 9 network calls each" in account(
        reports, 100.0, 2
    )


def test_what_is_told_of_results_is_told_once_a_run():
    def made(rate_hz: int = 16000, clipped: float = 0.0, status: str = "restored") -> FileReport:
        return FileReport(Path("in/a.wav"), Path("out/a.wav"), status, rate_hz=rate_hz, clipped=clipped)

    assert notes([made(), made(8000), made(48000, status="skipped")], 16000, False) == []
    wide = [made(44100), made(48000), made()]
    assert notes(wide, 16000, True) == []
    assert notes(wide, 16000, False) == [
        "nothing above 8 kHz is in the restored speech: the prior is for 16 kHz"
    ]
    [line] = notes([made(clipped=0.048)] * 7, 16000, False)
    assert line.startswith("peaks look cut off: a.wav (4.8% of its samples), a.wav (")
    assert line.count("a.wav") == 5
    assert line.endswith(") and 2 more; --task declip raises them in recordings of 16 kHz")
