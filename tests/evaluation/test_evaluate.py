import csv
import math

import numpy as np
import pytest
import torch

from diffsr.errors import AudioError, DataError
from diffsr.evaluation.evaluate import evaluate
from diffsr.evaluation.metrics import DEFAULT_METRICS, score_pair
from diffsr.io.audio import write_audio

RATE_HZ = 16000
COLUMNS = [f"{name}_{side}" for name in DEFAULT_METRICS for side in ("input", "output", "improvement")]


def voice(seed, seconds=1.0, channels=1):
    generator = torch.Generator().manual_seed(seed)
    t = torch.arange(round(seconds * RATE_HZ)) / RATE_HZ
    wave = sum(torch.sin(2 * np.pi * 130 * k * t + seed) / k for k in range(1, 20))
    wave = 0.05 * wave * torch.sin(2 * np.pi * 4 * t).clamp_min(0)
    return wave + 1e-4 * torch.randn(channels, len(t), generator=generator)


def noisy(wave, level):
    return wave + level * torch.randn(wave.shape, generator=torch.Generator().manual_seed(9))


def put(folder, name, wave, rate_hz=RATE_HZ):
    write_audio(folder / name, wave, rate_hz, "FLOAT" if name.endswith(".wav") else None)


@pytest.fixture
def folders(tmp_path):
    """Three items in two sub-folders; the estimate of `b` is worse than its input."""
    for seed, (name, level) in enumerate({"x/a": 0.002, "x/b": 0.05, "y/a": 0.004}.items()):
        put(tmp_path / "ref", f"{name}.flac", voice(seed))
        put(tmp_path / "est", f"{name}.wav", noisy(voice(seed), level))
        put(tmp_path / "in", f"{name}.wav", noisy(voice(seed), 0.02))
    return tmp_path


def test_folders_are_matched_by_relative_path_and_scored(folders):
    seen = []
    found = evaluate(folders / "est", folders / "ref", folders / "in", lambda *step: seen.append(step))
    assert [row.id for row in found.rows] == ["x/a", "x/b", "y/a"]
    assert seen == [(1, 3, "x/a"), (2, 3, "x/b"), (3, 3, "y/a")]
    assert found.failed == {}
    assert found.unmatched == {"est": [], "ref": [], "input": []}
    row = found.rows[1]
    expected = score_pair(noisy(voice(1), 0.05), voice(1), RATE_HZ)
    assert row.output["si_sdr_db"] == pytest.approx(expected["si_sdr_db"], abs=0.05)
    assert row.improvement("si_sdr_db") == row.output["si_sdr_db"] - row.input["si_sdr_db"] < 0
    assert row.duration_s == 1.0
    part = found.summary("si_sdr_db", "improvement")
    assert (part.n, part.n_worse, part.worst) == (3, 1, row.improvement("si_sdr_db"))
    means = [found.summary("si_sdr_db", which).mean for which in ("input", "output", "improvement")]
    assert means[1] - means[0] == pytest.approx(means[2])


def test_text_and_markdown(folders):
    found = evaluate(folders / "est", folders / "ref", folders / "in")
    lines = found.to_text().splitlines()
    assert lines[0].split() == ["metric", "input", "output", "improvement", "items", "NaN"]
    assert lines[1].startswith("SI-SDR (dB)")
    assert lines[1].split()[-2:] == ["3", "0"]
    assert lines[6].split("  ")[0] == "improvement"
    assert "1 of 3 (33%)" in lines[7]
    assert found.to_markdown().startswith("| metric | input |")


def test_without_inputs(folders):
    found = evaluate(folders / "est", folders / "ref")
    assert not found.has_input
    assert found.summary("si_sdr_db").n == 3
    assert found.summary("si_sdr_db", "improvement").n == 0
    text = found.to_text()
    assert text.splitlines()[1].split()[2] == "-"
    assert text.splitlines()[6].startswith("output")
    assert "made worse" not in text


def test_csv(folders):
    found = evaluate(folders / "est", folders / "ref", folders / "in")
    found.write_csv(folders / "new" / "scores.csv")
    with (folders / "new" / "scores.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == ["id", "duration_s", *COLUMNS, "notes"]
    assert [line["id"] for line in lines] == ["x/a", "x/b", "y/a"]
    assert float(lines[0]["estoi_output"]) == pytest.approx(found.rows[0].output["estoi"], abs=1e-5)
    assert [path.name for path in (folders / "new").iterdir()] == ["scores.csv"]


def test_csv_that_cannot_be_written(folders):
    found = evaluate(folders / "est", folders / "ref")
    with pytest.raises(DataError, match="folder"):
        found.write_csv(folders / "est")
    with pytest.raises(DataError, match="Cannot write"):
        found.write_csv(folders / "est" / "x" / "a.wav" / "scores.csv")


def test_single_files_need_no_common_name(folders):
    found = evaluate(folders / "est/x/a.wav", folders / "ref/x/a.flac", folders / "in/x/a.wav")
    assert [row.id for row in found.rows] == ["a"]
    assert "SI-SDR" in found.to_text()  # one item: no interval, no crash


def test_unmatched_files_are_listed(folders):
    (folders / "est/x/a.wav").unlink()
    (folders / "in/y/a.wav").unlink()
    put(folders / "est", "extra.wav", voice(5))
    found = evaluate(folders / "est", folders / "ref", folders / "in")
    assert [row.id for row in found.rows] == ["x/b"]
    assert found.unmatched == {"est": ["extra", "y/a"], "ref": ["x/a", "y/a"], "input": ["x/a"]}
    assert "Estimates without partner (2):" in found.to_text()


def test_nothing_matches(folders):
    with pytest.raises(DataError, match="matched by their path below the folder") as error:
        evaluate(folders / "est" / "x", folders / "ref")
    assert "has a, b" in str(error.value)
    assert "has x/a, x/b, y/a" in str(error.value)


def test_one_id_twice(folders):
    put(folders / "est", "x/a.flac", voice(0))
    with pytest.raises(DataError, match="differ only in the suffix"):
        evaluate(folders / "est", folders / "ref")


def test_missing_and_mixed_paths(folders):
    with pytest.raises(DataError, match="does not exist"):
        evaluate(folders / "nowhere", folders / "ref")
    with pytest.raises(DataError, match="only files or only folders"):
        evaluate(folders / "est/x/a.wav", folders / "ref")


def test_small_difference_of_length_is_cut_with_a_note(folders):
    put(folders / "est", "x/a.wav", noisy(voice(0), 0.002)[:, :-700])
    row = evaluate(folders / "est", folders / "ref", folders / "in").rows[0]
    assert row.notes == ("reference cut by 700 samples", "input cut by 700 samples")
    assert row.duration_s == pytest.approx(15300 / RATE_HZ)
    assert row.output["si_sdr_db"] > 15


@pytest.mark.parametrize(
    ("wave", "rate_hz", "message"),
    [
        (voice(0, 1.05), RATE_HZ, "lasts 1.050 s"),
        (voice(0, channels=2), RATE_HZ, "has 2 channels and .* has 1 channel"),
        (voice(0), 8000, "8000 Hz"),
    ],
)
def test_files_that_do_not_fit(folders, wave, rate_hz, message):
    put(folders / "est", "x/a.wav", wave, rate_hz)
    with pytest.raises(DataError, match=message):
        evaluate(folders / "est/x/a.wav", folders / "ref/x/a.flac")
    found = evaluate(folders / "est", folders / "ref")
    assert [row.id for row in found.rows] == ["x/b", "y/a"]
    assert "x/a: " in found.to_text()
    assert "Items that could not be scored (1):" in found.to_text()


def test_bad_file_does_not_stop_the_others(folders):
    (folders / "est/x/a.wav").write_text("not audio")
    found = evaluate(folders / "est", folders / "ref")
    assert list(found.failed) == ["x/a"]
    assert len(found.rows) == 2
    with pytest.raises(AudioError, match="not audio"):
        evaluate(folders / "est/x/a.wav", folders / "ref/x/a.flac")
    for name in ("x/b", "y/a"):
        (folders / f"est/{name}.wav").write_text("")
    with pytest.raises(DataError, match="None of the 3 items"):
        evaluate(folders / "est", folders / "ref")


def test_undefined_scores_are_counted_and_named(folders):
    put(folders / "est", "x/a.wav", torch.zeros(1, RATE_HZ))
    found = evaluate(folders / "est", folders / "ref", folders / "in")
    for which in ("input", "output", "improvement"):  # all over the same two items
        assert (found.summary("estoi", which).n, found.summary("estoi", which).n_nan) == (2, 1)
    assert math.isfinite(found.rows[0].input["estoi"])
    text = found.to_text()
    assert text.splitlines()[1].split()[-2:] == ["2", "1"]
    labels = ("SI-SDR (dB)", "SDR (dB)", "PESQ wide band", "ESTOI")
    assert "x/a: " + ", ".join(f"{label} of the output" for label in labels) in text
    part = found.summary("si_sdr_db", "improvement")  # x/b is worse, x/a has lost its score
    assert (part.n_worse, part.n_compared) == (2, 3)
    assert "2 of 3 (67%)" in text.splitlines()[7]
    found.write_csv(folders / "scores.csv")
    assert ",nan," in (folders / "scores.csv").read_text()


def test_stereo_against_stereo(folders):
    put(folders / "ref", "x/a.flac", voice(0, channels=2))
    put(folders / "est", "x/a.wav", noisy(voice(0, channels=2), 0.002))
    assert evaluate(folders / "est", folders / "ref").rows[0].output["si_sdr_db"] > 15
