"""`diffsr validate --prior`: the table of a prior on any speech, and what goes to Lightning instead."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from diffsr.commands import lightning
from diffsr.diffusion import Prior
from diffsr.networks import TFTransformer
from diffsr.report import crop_scores
from diffsr.report.crop_scores import score_crops

RATE_HZ = 16000
SHORT = ("--crop_s", "0.5,0.25", "--count", "4")


@pytest.fixture
def prior(shell) -> Path:
    """An untrained prior, which is the Wiener gain of white signals."""
    torch.manual_seed(0)
    network = TFTransformer(width=16, depth=1, heads=2)
    return Prior(network, RATE_HZ, window_s=1.0).save_pretrained(shell.folder / "prior")


@pytest.fixture
def speech(shell) -> Path:
    """Four talkers of white noise that comes and goes, one of them marked valid, at different levels."""
    rng = np.random.default_rng(0)
    time_s = np.arange(2 * RATE_HZ) / RATE_HZ
    lines = ["path,speaker,split"]
    for index in range(4):
        envelope = 0.7 + 0.3 * np.cos(2 * np.pi * 4 * time_s)
        wave = 0.02 * (index + 1) * envelope * rng.standard_normal(len(time_s))
        (shell.folder / "speech").mkdir(exist_ok=True)
        soundfile.write(shell.folder / "speech" / f"{index}.wav", wave, RATE_HZ)
        lines.append(f"speech/{index}.wav,talker{index},{'valid' if index == 3 else 'test'}")
    return shell.write("speech.csv", "\n".join(lines) + "\n")


def read_csv(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return {(row["crop_s"], row["quantity"]): row for row in csv.DictReader(file)}


def validate(shell, *arguments: str) -> int:
    return shell("validate", "--prior", "prior", "--data", "speech.csv", *SHORT, *arguments)


def test_the_wiener_gain_scores_as_theory_says(shell, prior: Path, speech: Path) -> None:
    assert validate(shell, "--split", "test", "--output", "table.csv") == 0
    found = read_csv(shell.folder / "table.csv")
    # An untrained network scales z by a constant: SI-SDR cannot change, and on white speech the loss is 1.
    for crop_s in ("0.5", "0.25"):
        for snr_db in (-5, 0, 5, 10):
            row = found[crop_s, f"si_sdr_db_at_{snr_db:+d}_db"]
            assert float(row["mean"]) == pytest.approx(snr_db, abs=0.2)
            assert float(row["low"]) <= float(row["mean"]) <= float(row["high"])
            assert float(found[crop_s, f"gain_db_at_{snr_db:+d}_db"]["mean"]) == pytest.approx(0, abs=1e-3)
        # Whatever the level of the files: crops have the level that the prior expects.
        assert float(found[crop_s, "loss"]["mean"]) == pytest.approx(1, abs=0.15)
        row = found[crop_s, "loss_sigma_0.1"]
        assert (row["n_crops"], row["n_talkers"], row["device"]) == ("4", "3", "cpu")
        assert row["threads"] == str(torch.get_num_threads())
        assert (row["prior"], row["network"]) == ("prior", "tf_transformer")
        assert row["data"] == "speech.csv, rows marked test"
        assert float(found[crop_s, "gflop_per_s"]["mean"]) > 0
        assert float(found[crop_s, "seconds_per_s"]["mean"]) > 0
        assert float(found[crop_s, "peak_mib"]["mean"]) > 50
    n_parameters = sum(p.numel() for p in Prior.from_pretrained(prior).parameters())
    assert float(found["0.5", "n_parameters"]["mean"]) == n_parameters


def test_text_and_markdown_tables(shell, prior: Path, speech: Path) -> None:
    assert validate(shell, "--split", "test", "--output", "table.md") == 0
    assert "prior: prior (tf_transformer, " in shell.out
    assert re.search(r"computed on: cpu, \d+ thread", shell.out)
    markdown = (shell.folder / "table.md").read_text()
    assert "| crops of 0.5 s | crops of 0.25 s |" in markdown
    for text in (shell.out, markdown):
        for label in ("output SI-SDR (dB), input -5 dB", "gain of SI-SDR (dB), input 10 dB"):
            assert label in text
        for label in ("loss at sigma 0.003", "loss at sigma 3", "GFLOP per second", "peak memory"):
            assert label in text
        assert "95 % bootstrap interval over talkers" in text
    rows = [line.split(" | ") for line in markdown.splitlines() if line.startswith("| output SI-SDR")]
    assert len(rows) == 4
    assert all(re.fullmatch(r"-?\d+\.\d\d \[-?\d+\.\d\d, -?\d+\.\d\d\]", row[1]) for row in rows)


def test_the_rows_marked_valid_are_used_where_there_are_some(shell, prior: Path, speech: Path) -> None:
    assert validate(shell, "--output", "table.csv") == 0
    assert "speech: speech.csv, rows marked valid" in shell.out
    row = read_csv(shell.folder / "table.csv")["0.5", "si_sdr_db_at_+0_db"]
    assert row["n_talkers"] == "1"
    assert (row["low"], row["high"]) == ("", "")  # one talker gives no interval


def test_speech_without_labels_and_splits(shell, prior: Path, speech: Path) -> None:
    command = ("validate", "--prior", "prior", "--data", "speech", *SHORT, "--output", "table.csv")
    assert shell(*command) == 0
    assert read_csv(shell.folder / "table.csv")["0.5", "loss"]["n_talkers"] == "4"


def test_crops_that_are_filled_up_with_silence_are_told(shell, prior: Path, speech: Path) -> None:
    assert shell("validate", "--prior", "prior", "--data", "speech", "--crop_s", "3,1", "--count", "4") == 0
    assert "4 of 4 crops of 3 s are filled up with silence" in shell.err
    assert "crops of 1 s are" not in shell.err


def test_silence_of_a_recording_itself_fills_up_nothing(shell, prior: Path, speech: Path) -> None:
    for path in (shell.folder / "speech").iterdir():
        wave, rate_hz = soundfile.read(path)
        wave[: len(wave) // 8] = 0
        soundfile.write(path, wave, rate_hz)
    assert shell("validate", "--prior", "prior", "--data", "speech", "--crop_s", "1.9", "--count", "4") == 0
    assert "filled up" not in shell.err


def test_scores_of_a_crop_do_not_depend_on_the_others(prior: Path) -> None:
    loaded = Prior.from_pretrained(prior)
    crops = list(0.05 * torch.randn(3, 4000, generator=torch.Generator().manual_seed(0)))
    together = score_crops(loaded, crops, ["a", "b", "c"])
    assert together[:1] == score_crops(loaded, crops[:1], ["a"])
    assert together[0] != together[1]


def test_an_interrupted_run_continues(
    shell, prior: Path, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score, seeds = crop_scores.validation_scores, []

    def stop_at_fourth(*args, seed: int):
        if len(seeds) == 3:
            seeds.append(-1)
            raise KeyboardInterrupt
        seeds.append(seed)
        return score(*args, seed=seed)

    assert validate(shell, "--split", "test", "--output", "whole.csv") == 0
    monkeypatch.setattr(crop_scores, "validation_scores", stop_at_fourth)
    command = ("--split", "test", "--output", "table.csv")
    assert validate(shell, *command) == 130
    kept = shell.folder / "table.crops.jsonl"
    kept.write_text(kept.read_text()[:-30])  # the power went while the third was written
    assert validate(shell, *command) == 0
    assert seeds == [0, 1, 2, -1, 2, 3, 0, 1, 2, 3]
    whole, table = (read_csv(shell.folder / name) for name in ("whole.csv", "table.csv"))
    timed = ("seconds_per_s", "peak_mib")
    assert {k: v for k, v in table.items() if k[1] not in timed} == {
        k: v for k, v in whole.items() if k[1] not in timed
    }


def test_kept_scores_of_another_prior_are_not_taken(shell, prior: Path, speech: Path) -> None:
    assert validate(shell, "--output", "table.csv") == 0
    before = read_csv(shell.folder / "table.csv")
    changed = Prior.from_pretrained(prior)
    torch.nn.init.normal_(changed.network.decode.weight, std=0.3)
    changed.save_pretrained(prior)
    assert validate(shell, "--output", "table.csv") == 0
    after = read_csv(shell.folder / "table.csv")
    assert after["0.5", "loss"]["mean"] != before["0.5", "loss"]["mean"]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"--prior": "nowhere"}, "No prior at nowhere"),
        ({"--prior": "speech"}, "speech is not a prior folder"),
        ({"--data": "nowhere.csv"}, "nowhere.csv"),
        ({"--data": "text.csv"}, "text.csv"),
        ({"--split": "train"}, "no row is marked train (splits found: test, valid)"),
        ({"--crop_s": "long"}, "--crop_s long: expected lengths in seconds"),
        ({"--crop_s": "1,0"}, "--crop_s 1,0: expected lengths in seconds"),
        ({"--crop_s": "nan"}, "--crop_s nan: expected lengths in seconds"),
        ({"--count": "0"}, "--count 0: expected at least 1"),
        ({"--output": "table.txt"}, "--output table.txt: expected a name ending in .md or .csv"),
        ({"--device": "cuda:77"}, "cuda:77"),
    ],
)
def test_what_cannot_start(shell, prior: Path, speech: Path, changed: dict[str, str], expected: str) -> None:
    shell.write("text.csv", "hello\n")
    options = {"--prior": "prior", "--data": "speech.csv", "--crop_s": "0.5"} | changed
    assert expected in shell.fails("validate", *(word for pair in options.items() for word in pair))


def test_a_place_that_cannot_be_written(shell, prior: Path, speech: Path) -> None:
    shell.write("file", "in the way")
    assert "Cannot write file/table.crops.jsonl" in shell.fails(
        "validate", "--prior", "prior", "--data", "speech.csv", *SHORT, "--output", "file/table.md"
    )
    (shell.folder / "folder.md").mkdir()
    assert validate(shell, "--output", "folder.md") == 2
    assert "Cannot write folder.md" in shell.err
    assert "output SI-SDR" in shell.out  # what was measured is shown


def test_silence_gives_an_error(shell, prior: Path) -> None:
    soundfile.write(shell.folder / "silence.wav", np.zeros(RATE_HZ), RATE_HZ)
    data = shell.write("silence.csv", "path\nsilence.wav\n")
    shell.fails("validate", "--prior", "prior", "--data", str(data), *SHORT)


@pytest.mark.parametrize("config", [("--config", "x.yaml"), ("--config=x.yaml",), ("-c", "x.yaml")])
def test_an_experiment_file_goes_to_lightning(
    shell, monkeypatch: pytest.MonkeyPatch, config: tuple[str, ...]
) -> None:
    seen = []
    monkeypatch.setattr(lightning, "run", lambda *call: seen.append(call) or 0)
    assert shell("validate", *config, "--ckpt_path", "x.ckpt") == 0
    assert seen == [("validate", [*config, "--ckpt_path", "x.ckpt"])]


def test_without_anything_both_ways_are_told(shell) -> None:
    message = shell.fails("validate")
    assert "required: --prior, --data" in message
    with pytest.raises(SystemExit):
        shell("validate", "--help")
    text = shell.capsys.readouterr().out
    assert "--prior PRIOR" in text
    assert "diffsr validate --config FILE" in " ".join(text.split())
