"""`diffsr prepare` from the command line to the manifest."""

import io
import os
import sys
from types import SimpleNamespace

import pytest

from diffsr.cli import main
from diffsr.errors import DataError
from diffsr.prepare.build import prepare
from diffsr.prepare.folder import folder_corpus


@pytest.fixture
def corpus(tmp_path, record):
    record("LibriSpeech/train-clean-100/103/1240/103-1240-0000.flac")
    record("LibriSpeech/dev-clean/84/1/84-1-0000.flac")
    (tmp_path / "LibriSpeech/dev-clean/84/1/84-1-0001.flac").touch()
    return tmp_path / "LibriSpeech"


def test_a_corpus_becomes_a_manifest_with_a_table(corpus, capsys):
    assert main(["prepare", "librispeech", str(corpus)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(corpus / "manifest.jsonl")
    table = [line.split() for line in lines[1:5]]
    assert table == [
        ["split", "files", "hours", "speakers", "left", "out"],
        ["train", "1", "0.00", "1", "0"],
        ["valid", "1", "0.00", "1", "1"],
        ["all", "2", "0.00", "2", "1"],
    ]
    assert lines[5] == "  left out, 1 of them:"
    assert "84-1-0001.flac is empty (0 bytes)" in lines[6]
    assert lines[7].startswith("  sha256 ")
    assert (
        lines[8]
        == f"  train on it with: make train EXP=prior/speech-16k-fast DATA={corpus / 'manifest.jsonl'}"
    )


def test_options_reach_the_corpus(corpus, capsys, tmp_path):
    given = ["prepare", "librispeech", str(corpus), "--output", str(tmp_path / "m.jsonl"), "--quick"]
    assert main([*given, "--subset", "dev-clean", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "(dry run, nothing is written)" in out
    assert "train" not in out
    assert "sha256" not in out
    assert not (tmp_path / "m.jsonl").exists()
    assert main([*given, "--subset", "dev-clean", "train-clean-100"]) == 0
    text = (tmp_path / "m.jsonl").read_text()
    assert text.count("\n") == 2
    assert "sha1" not in text


def test_noise_and_everything(tmp_path, record, capsys):
    record("n/fan.wav")
    assert main(["prepare", "folder", str(tmp_path / "n"), "--kind", "noise", "--name", "mine"]) == 0
    assert "make train" not in capsys.readouterr().out
    assert '"corpus": "mine"' in (tmp_path / "n" / "manifest.jsonl").read_text()
    record("v/wav48_silence_trimmed/p225/p225_001_mic1.flac")
    record("v/wav48_silence_trimmed/p225/p225_001_mic2.flac")
    assert main(["prepare", "vctk", str(tmp_path / "v")]) == 0
    assert "not listed by default: 1 x second microphone" in capsys.readouterr().out
    assert main(["prepare", "vctk", str(tmp_path / "v"), "--all"]) == 0
    assert (tmp_path / "v" / "manifest.jsonl").read_text().count("\n") == 2


@pytest.mark.skipif(sys.platform != "linux", reason="file systems elsewhere take no such names")
def test_names_that_are_not_utf8_are_left_out_and_shown(tmp_path, record, monkeypatch):
    record("voices/anna/1.wav")
    os.rename(record("voices/2.wav"), os.path.join(os.fsencode(tmp_path), b"voices", b"M\xfcller.wav"))
    for command in ("folder", "pack"):
        stdout = io.TextIOWrapper(io.BytesIO(), "utf-8")  # strict, unlike that of capsys
        monkeypatch.setattr(sys, "stdout", stdout)
        output = [str(tmp_path / "packs")] if command == "pack" else []
        assert main(["prepare", command, str(tmp_path / "voices"), *output]) == 0
        out = stdout.buffer.getvalue().decode()
        assert "left out, 1 of them:" in out
        assert r"M\udcfcller.wav: a name in this path is not UTF-8 (where \udc is shown). Rename it." in out
        (tmp_path / "voices" / "manifest.jsonl").unlink(missing_ok=True)
    os.rename(tmp_path / "voices", badly_named := os.fsdecode(bytes(tmp_path) + b"/st\xfcck"))
    with pytest.raises(DataError, match="None of the 2 recordings"):
        prepare(folder_corpus(), badly_named)


def test_a_wrong_folder_shows_the_tree(tmp_path, capsys):
    assert main(["prepare", "ears", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("diffsr: error: No talkers p001 to p107")
    assert "\n  p001/  " in error
    assert "Traceback" not in error


def test_download_only_when_asked(corpus, capsys, monkeypatch):
    calls = []
    monkeypatch.setattr(
        "diffsr.prepare.download.download", lambda source, *given: calls.append(given[:2]) or corpus
    )
    assert main(["prepare", "librispeech", str(corpus)]) == 0
    assert not calls
    assert main(["prepare", "librispeech", str(corpus), "--download", "--subset", "dev-clean"]) == 0
    assert calls == [(str(corpus), ["dev-clean"])]
    assert main(["prepare", "librispeech", str(corpus), "--download", "--dry-run"]) == 2
    assert "exclude each other" in capsys.readouterr().err
    assert len(calls) == 1
    assert main(["prepare", "wsj0", str(corpus), "--download"]) == 2


def test_rooms_have_a_module_of_their_own_that_is_imported_late(monkeypatch, corpus):
    seen = []
    rooms = SimpleNamespace(
        add_arguments=lambda parser: parser.add_argument("--count", type=int),
        run=lambda options: seen.append(options.count) or 3,
    )
    monkeypatch.setitem(sys.modules, "diffsr.commands.prepare_rooms", None)
    assert main(["prepare", "librispeech", str(corpus), "--dry-run"]) == 0
    monkeypatch.setitem(sys.modules, "diffsr.commands.prepare_rooms", rooms)
    assert main(["prepare", "rooms", "--count", "5"]) == 3
    assert seen == [5]
    assert main(["prepare", "rooms", "--cuont", "5"]) == 2


def test_the_manifest_is_a_jsonl_and_the_next_command_can_be_pasted(tmp_path, record, capsys):
    record("my voices/anna/1.wav")
    folder = tmp_path / "my voices"
    assert main(["prepare", "folder", str(folder), "--output", str(tmp_path / "m.csv")]) == 2
    assert "m.csv: expected a name that ends in .jsonl" in capsys.readouterr().err
    assert not (tmp_path / "m.csv").exists()
    assert main(["prepare", "folder", str(folder), "--output", ""]) == 2
    assert "A path is empty" in capsys.readouterr().err
    assert main(["prepare", "folder", str(folder)]) == 0
    assert (
        f"make train EXP=prior/speech-16k-fast DATA='{folder / 'manifest.jsonl'}'" in capsys.readouterr().out
    )
