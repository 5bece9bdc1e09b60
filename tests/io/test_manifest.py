import json
import os
from pathlib import Path

import pytest

from diffsr.errors import DataError, DiffsrError
from diffsr.io.manifest import Utterance, read_manifest, scan_folder, training_rows, write_manifest


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_csv_with_all_columns_and_empty_cells(tmp_path):
    touch(tmp_path, "s/a.wav", "s/b c.wav")
    (tmp_path / "m.csv").write_text(
        "path,speaker,sex,speech_start_s,speech_end_s,split,text\n"
        's/a.wav,anna,F,0.5,2.25,valid,"hello, you"\n'
        "s/b c.wav,,,,, ,\n",
        encoding="utf-8-sig",
    )
    first, second = read_manifest(tmp_path / "m.csv")
    assert first == Utterance(
        "s/a", tmp_path / "s/a.wav", "anna", 0.5, 2.25, split="valid", text="hello, you", sex="F"
    )
    assert second == Utterance("s/b c", tmp_path / "s/b c.wav")


def test_csv_with_only_a_path(tmp_path):
    touch(tmp_path, "a.wav")
    (tmp_path / "m.csv").write_text("path\na.wav\n")
    assert read_manifest(str(tmp_path / "m.csv")) == [Utterance("a", tmp_path / "a.wav")]


def test_names_that_look_like_something_else_go_round(tmp_path):
    names = ["~tilde.wav", " blank.wav", "a #1.wav"]
    touch(tmp_path, *names)
    rows = [Utterance(str(number), tmp_path / name) for number, name in enumerate(names)]
    write_manifest(tmp_path / "m.jsonl", rows)
    assert [row.path.name for row in read_manifest(tmp_path / "m.jsonl")] == names


@pytest.mark.parametrize("source", ["", Path("~") / "nowhere-at-all"])
def test_no_path_is_not_the_current_folder(tmp_path, monkeypatch, source):
    touch(tmp_path, "a.wav")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DiffsrError, match=r"path is empty|does not exist"):
        read_manifest(source)
    assert len(read_manifest(".")) == 1


def test_rows_that_train(tmp_path):
    touch(tmp_path, "a.wav")
    words = {"train": "tr, Training, train-clean-100, ", "valid": "cv, dev_other", "test": "tt, Eval"}
    for split, names in words.items():
        for word in names.split(", "):
            (tmp_path / "m.csv").write_text(f"path,split\na.wav,{word}\n")
            rows = read_manifest(tmp_path / "m.csv")
            assert bool(training_rows(rows, "m.csv")) == (split == "train"), word
    (tmp_path / "m.csv").write_text("path,split\na.wav,tset\n")
    with pytest.raises(DataError, match="m.csv: rows have the split 'tset'; expected train, valid, test"):
        training_rows(read_manifest(tmp_path / "m.csv"), "m.csv")


def test_jsonl_goes_round(tmp_path):
    touch(tmp_path, "s/ä.wav", "b.wav")
    rows = [
        Utterance("one", tmp_path / "s/ä.wav", "anna", 0.0, 1.0, "train", "grüß dich", 16000, 32000),
        Utterance("two", tmp_path / "b.wav"),
    ]
    write_manifest(tmp_path / "m.jsonl", rows)
    assert read_manifest(tmp_path / "m.jsonl") == rows
    lines = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines[0]["path"] == "s/ä.wav"
    assert "speaker" not in lines[1]
    assert "text" not in lines[1]


def test_paths_outside_the_folder_of_the_manifest_are_absolute(tmp_path):
    touch(tmp_path, "audio/a.wav")
    write_manifest(tmp_path / "lists" / "m.jsonl", [Utterance("a", tmp_path / "audio/a.wav")])
    assert read_manifest(tmp_path / "lists" / "m.jsonl")[0].path.is_absolute()


def test_a_manifest_moves_with_its_folder(tmp_path, monkeypatch):
    touch(tmp_path, "old/a.wav")
    monkeypatch.chdir(tmp_path)
    write_manifest("old/m.jsonl", [Utterance("a", Path("old/a.wav"))])
    os.rename("old", "new")
    assert read_manifest("new/m.jsonl")[0].path == Path("new/a.wav")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("m.csv", "file,speaker\na.wav,x\n", "line 1: columns are file, speaker; expected .* 'path'"),
        ("m.csv", "", "columns are none"),
        ("m.csv", "path\n", "lists no recordings"),
        ("m.csv", "path,speaker\na.wav,x\n,y\n", "line 3: no 'path'"),
        ("m.csv", "path,speech_start_s\na.wav,zero\n", "line 2: speech_start_s is 'zero'"),
        ("m.csv", "path,speech_start_s\na.wav,nan\n", "line 2: speech_start_s is 'nan'"),
        ("m.csv", "path,speech_end_s\na.wav,-1\n", "line 2: speech_end_s is '-1'"),
        ("m.csv", "path,speech_start_s,speech_end_s\na.wav,2,1\n", "line 2: .* not before"),
        ("m.csv", "path\na.wav\nx.wav\ny.wav\n", "2 of 3 files are missing; first in line 3: .*x.wav"),
        ("m.jsonl", '{"path": "a.wav"}\n\n{"path": a.wav}\n', "line 3: not JSON"),
        ("m.jsonl", '["a.wav"]\n', "line 1: found list"),
        ("m.jsonl", '{"speaker": "x"}\n', "line 1: no 'path'"),
        ("m.jsonl", '{"path": NaN}\n', "line 1: no 'path'"),
        ("m.jsonl", '{"path": "."}\n', r"line 1: path '\.' is not that of a recording"),
        (
            "m.csv",
            "path\n~nobody-of-this-name/a.wav\n",
            "1 of 1 files are missing; .*~nobody-of-this-name/a.wav",
        ),
        ("m.jsonl", "\n\n", "lists no recordings"),
        ("m.txt", "a.wav\n", "is not a manifest"),
    ],
)
def test_bad_manifests_name_file_and_line(tmp_path, name, content, words):
    touch(tmp_path, "a.wav")
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=words) as caught:
        read_manifest(tmp_path / name)
    assert name in str(caught.value)


def test_sources_that_are_not_there_or_not_text(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_manifest(tmp_path / "m.csv")
    (tmp_path / "m.csv").write_bytes(b"path\n\xff\xfe\x00\n")
    with pytest.raises(DataError, match="cannot be read"):
        read_manifest(tmp_path / "m.csv")
    with pytest.raises(DataError, match="No recording"):
        read_manifest(tmp_path)


def test_folder_names_give_talker_and_split(tmp_path):
    touch(tmp_path, "train/anna/1.wav", "dev-clean/ben/x/2.flac", "test/3.opus", "4.wav", "carl/5.mp3")
    found = {row.id: (row.speaker, row.split) for row in scan_folder(tmp_path)}
    assert found == {
        "train/anna/1": ("anna", "train"),
        "dev-clean/ben/x/2": ("x", "valid"),
        "test/3": (None, "test"),
        "4": (None, None),
        "carl/5": ("carl", None),
    }


def test_a_folder_is_read_through_its_manifest(tmp_path):
    touch(tmp_path, "a.wav", "b.wav")
    assert [row.id for row in read_manifest(tmp_path)] == ["a", "b"]
    write_manifest(tmp_path / "manifest.jsonl", [Utterance("b", tmp_path / "b.wav", "ben")])
    assert [row.speaker for row in read_manifest(tmp_path)] == ["ben"]


def test_ids_are_unique(tmp_path):
    touch(tmp_path, "a.wav", "a.mp3", "b.wav")
    assert [row.id for row in scan_folder(tmp_path)] == ["a.mp3", "a.wav", "b"]
    (tmp_path / "m.csv").write_text("path\na.wav\nb.wav\na.wav\n")
    assert [row.id for row in read_manifest(tmp_path / "m.csv")] == ["a.wav", "b", "a.wav.2"]


def test_an_unwritable_manifest(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="Cannot write"):
        write_manifest(tmp_path / "file" / "m.jsonl", [])


def test_a_word_for_not_knowing_is_no_speaker(tmp_path):
    touch(tmp_path, "a.wav", "b.wav", "c.wav")
    (tmp_path / "m.csv").write_text("path,speaker\na.wav,unlabelled\nb.wav,Unknown\nc.wav,anna\n")
    assert [row.speaker for row in read_manifest(tmp_path / "m.csv")] == [None, None, "anna"]


def test_what_pandas_writes_for_an_empty_cell_is_unknown(tmp_path):
    touch(tmp_path, "a.wav")
    empty = {"speaker", "text", "split", "sex", "licence", "rate_hz", "speech_start_s"}
    row = {"path": "a.wav", **dict.fromkeys(empty, float("nan")), "license": "CC0"}
    (tmp_path / "m.jsonl").write_text(json.dumps(row))
    assert read_manifest(tmp_path / "m.jsonl") == [Utterance("a", tmp_path / "a.wav", licence="CC0")]


def test_a_name_that_is_not_utf8_is_an_error_and_writes_nothing(tmp_path):
    path = Path(os.fsdecode(b"M\xfcller.wav"))
    with pytest.raises(
        DataError, match=r"M\\udcfcller.wav: a name in this path is not UTF-8.*Rename it"
    ) as caught:
        write_manifest(tmp_path / "m.jsonl", [Utterance("a", tmp_path / path)])
    assert str(caught.value).encode()
    assert not list(tmp_path.iterdir())


def test_a_path_that_cannot_be_looked_up_is_missing(tmp_path):
    (tmp_path / "m.csv").write_text("path\n" + "a" * 300 + ".wav\n")
    with pytest.raises(DataError, match="1 of 1 files are missing; first in line 2"):
        read_manifest(tmp_path / "m.csv")
    with pytest.raises(DataError, match="does not exist"):
        read_manifest(tmp_path / ("b" * 300))


def test_namesakes_of_several_corpora_are_no_one_person(tmp_path):
    touch(tmp_path, *(f"{number}.wav" for number in range(5)))
    (tmp_path / "m.csv").write_text(
        "path,speaker,corpus\n0.wav,440,librispeech\n1.wav,440,wsj0\n2.wav,anna,wsj0\n3.wav,440,\n4.wav,,wsj0\n"
    )
    found = [row.speaker for row in read_manifest(tmp_path / "m.csv")]
    assert found == ["librispeech/440", "wsj0/440", "anna", "440", None]


def test_folders_that_begin_with_the_word_of_a_split_are_none(tmp_path):
    marks = {
        **{"train": "train", "dev-clean": "valid", "test_other": "test", "Train-clean-100": "train"},
        **{"test-set": "test", "cv-corpus-17.0-2024": None, "val_smith": None, "test-kitchen": None},
    }
    touch(tmp_path, *(f"{folder}/a.wav" for folder in marks))
    found = {row.path.parent.name: row.split for row in scan_folder(tmp_path)}
    assert found == marks
