"""`diffsr evaluate` of what `diffsr restore --task separate` writes: a.talker1.wav, a.residual.wav ..."""

import argparse
import csv
from pathlib import Path

import pytest
import torch

from diffsr.commands import evaluate as command
from diffsr.errors import DataError
from diffsr.evaluation.pairing import pair_files
from diffsr.io.audio import write_audio
from diffsr.restoration.side_files import AudioFiles

RATE_HZ = 16000
ITEMS = ("a", "deep/b.c")


def talkers(seed, n_talkers=2):
    return 0.1 * torch.randn(n_talkers, 4000, generator=torch.Generator().manual_seed(seed))


def restored(output, est):
    """The files of a restoration, as it names them."""
    for path, wave in zip(AudioFiles(Path(output), len(est)).files, [*est, est.sum(0)], strict=True):
        write_audio(path, wave[None], RATE_HZ)
    Path(output).with_suffix(".json").write_text("{}")


@pytest.fixture
def out(tmp_path, monkeypatch):
    """Two mixtures separated, the talkers of the second in the other order; an error at -20 dB."""
    monkeypatch.chdir(tmp_path)
    for k, name in enumerate(ITEMS):
        ref = talkers(k)
        est = ref + 0.1 * talkers(k + 10)
        write_audio(f"mix/{name}.wav", ref.sum(0, keepdim=True), RATE_HZ)
        for s in (0, 1):
            write_audio(f"clean/s{s + 1}/{name}.wav", ref[[s]], RATE_HZ)
        restored(f"out/{name}.wav", est if k == 0 else est.flip(0))
        write_audio(f"out/{name}.samples/1.talker1.wav", est[[0]], RATE_HZ)
    return tmp_path / "out"


def run(*words):
    """Rows of the table of items."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert command.run(parser.parse_args([*words, "--metrics", "si_sdr_db", "--output", "scores.csv"])) == 0
    with Path("scores.csv").open() as file:
        return list(csv.DictReader(file))


def assigned(rows):
    return {row["id"]: row.get("assignment", "") for row in rows}


def test_files_of_restore(out, capsys):
    rows = run("out", "clean", "--input", "mix")
    assert assigned(rows) == {"a": "1 2", "deep/b.c": "2 1"}
    assert all(float(row["si_sdr_db_output"]) == pytest.approx(20, abs=1) for row in rows)
    assert all(float(row["si_sdr_db_input"]) == pytest.approx(0, abs=1) for row in rows)
    assert "without partner" not in capsys.readouterr().out  # neither residuals nor samples count


def test_talkers_given(out):
    given = run("out", "clean", "--talkers", "talker2:s1,talker1:s2")
    assert assigned(given) == {"a": "2 1", "deep/b.c": "1 2"}
    Path("clean/s1").rename("clean/s1_anechoic")
    Path("clean/s2").rename("clean/s2_anechoic")
    with pytest.raises(DataError, match="No item is complete") as error:
        run("out", "clean")
    option, names = "--talkers", "talker1:s1_anechoic,talker2:s2_anechoic"
    assert "files of talker1, talker2, so clean is expected to have sub-folders s1, s2" in str(error.value)
    assert f"such as {option} {names}." in str(error.value)
    assert assigned(run("out", "clean", option, names)) == {"a": "1 2", "deep/b.c": "2 1"}
    with pytest.raises(
        DataError, match="out has no folder s1_anechoic and .*, but files of talker1, talker2"
    ):
        run("out", "clean", "--talkers", "s1_anechoic,s2_anechoic")
    with pytest.raises(DataError, match="clean/s1 does not exist"):
        run("out", "clean", "--talkers", "talker1:s1,talker2:s2")


def test_references_named_alike(out):
    for k, name in enumerate(ITEMS):
        restored(f"named/{name}.flac", talkers(k))
    assert assigned(run("out", "named", "--input", "mix")) == {"a": "1 2", "deep/b.c": "2 1"}
    assert assigned(run("clean", "named", "--input", "mix")) == {"a": "1 2", "deep/b.c": "1 2"}


def test_without_references_talkers_of_an_item_stay_together(out):
    pairing = pair_files("out", "out", "mix")
    assert [(pair.id, len(pair.est)) for pair in pairing.pairs] == [(name, 2) for name in ITEMS]
    assert pairing.unmatched == {"est": [], "ref": [], "input": []}


def test_missing_talker_is_named(out, capsys):
    (out / "a.talker2.wav").unlink()
    assert assigned(run("out", "clean", "--input", "mix")) == {"deep/b.c": "2 1"}
    text = capsys.readouterr().out
    assert "Estimates without partner (1):\n  a (without talker2)\n" in text
    assert "References without partner (1):\n  a\n" in text
    (out / "deep/b.c.talker1.wav").unlink()
    with pytest.raises(
        DataError, match=r"out has a \(without talker2\), deep/b.c \(without talker1\); clean"
    ):
        run("out", "clean")
    (out / "deep/b.c.talker2.wav").unlink()
    with pytest.raises(DataError, match="out has talker1 and clean has s1, s2, expected the same talkers"):
        run("out", "clean")


def test_more_talkers_than_references(out):
    restored("out/a.wav", talkers(0, 3))
    with pytest.raises(DataError, match="out has talker1, talker2, talker3 and clean has s1, s2") as error:
        run("out", "clean")
    assert "--talkers talker1:s1,talker2:s2, or add" in str(error.value)
    assert set(assigned(run("out", "clean", "--talkers", "talker1:s1,talker2:s2"))) == set(ITEMS)


def test_folders_and_files_in_one_folder(out):
    for s in (1, 2):
        for k, name in enumerate(ITEMS):
            write_audio(f"out/s{s}/{name}.wav", talkers(k)[[s - 1]], RATE_HZ)
    with pytest.raises(
        DataError, match="out has the folders s1, s2 and beside them files of talker1, talker2"
    ):
        run("out", "clean")
    folders = run("out", "clean", "--talkers", "s1,s2")
    assert float(folders[0]["si_sdr_db_output"]) > 60
    files = run("out", "clean", "--talkers", "talker1:s1,talker2:s2")
    assert float(files[0]["si_sdr_db_output"]) == pytest.approx(20, abs=1)
    restored("clean/a.wav", talkers(99))  # of references the folders count
    assert run("out", "clean", "--talkers", "talker1:s1,talker2:s2") == files


def test_names_within_folders_of_talkers(out):
    """Files of `s1` and `s2` may have any names, as long as they agree."""
    for folder in ("est", "ref"):
        for s in (1, 2):
            write_audio(f"{folder}/s{s}/x.talker1.wav", talkers(0)[[s - 1]], RATE_HZ)
    assert assigned(run("est", "ref")) == {"x.talker1": "1 2"}


def test_other_references_are_matched_as_single_files(out):
    """Without references of several talkers, files are matched as they are called."""
    write_audio("alone/a.talker1.wav", talkers(0)[[0]], RATE_HZ)
    assert assigned(run("out", "alone", "--talkers", "talker1")) == {"a": ""}
    write_audio("out/z.wav", talkers(5)[[0]], RATE_HZ)
    write_audio("plain/z.wav", talkers(5)[[0]], RATE_HZ)
    assert assigned(run("out", "plain")) == {"z": ""}


def test_one_talker_twice(out):
    write_audio("out/a.talker1.flac", talkers(0)[[0]], RATE_HZ)
    with pytest.raises(DataError, match=r"a.talker1.\w+ differ only in the suffix"):
        run("out", "clean")
