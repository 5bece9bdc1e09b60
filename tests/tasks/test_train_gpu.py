"""The script that trains in pieces: two pieces, from file to file."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from diffsr.diffusion import Prior

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "train_gpu.sh"
TINY = (
    "--model.init_args.prior.init_args.network.init_args.width=16",
    "--model.init_args.prior.init_args.network.init_args.depth=1",
    "--model.init_args.learning_rate=3e-3",
    "--data.init_args.crop_s=0.512",
    "--data.init_args.n_valid_crops=2",
    "--trainer.accelerator=cpu",
    "--trainer.precision=32-true",
    "--trainer.log_every_n_steps=1",
)


def call(*words: object, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(SCRIPT), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", "HOME": str(home)},
        cwd="/",
    )


@pytest.fixture(scope="module")
def speech(tmp_path_factory) -> Path:
    """Three talkers with a voice, two files each: harmonic tones in syllables."""
    folder = tmp_path_factory.mktemp("speech")
    time_s = np.arange(32000) / 16000
    for seed in range(6):
        pitch_hz = 100 + 40 * (seed // 2) + 3 * (seed % 2)
        voice = sum(np.sin(2 * np.pi * k * pitch_hz * time_s) / k for k in range(1, 8))
        path = folder / f"talker{seed // 2}" / f"{seed}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, 0.1 * np.sin(np.pi * 2 * time_s) ** 2 * voice, 16000)
    return folder


@pytest.mark.slow
def test_two_pieces_one_after_the_other(speech, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for start, out, more in (("none", one, []), (one / "piece", two, ["--last"])):
        run = call(speech, start, out, "--minutes", "0.2", *more, *TINY, home=tmp_path)
        assert run.returncode == 0, run.stdout + run.stderr
    first, both = (
        json.loads((out / "piece" / "piece.json").read_text(encoding="utf-8")) for out in (one, two)
    )
    begun, last = both["history"]
    assert begun == first["history"][0]
    assert [begun["schedule"], last["schedule"]] == ["constant", "decay"]
    for what in ("steps", "crops", "minutes"):
        assert both[what] == pytest.approx(begun[what] + last[what])
    assert 0.01 < last["minutes"] < 0.3
    # the second begins where the first had come to
    assert begun["loss_last"] < 0.9 * begun["loss_first"]
    assert last["loss_first"] < begun["loss_last"] + 0.3 * (begun["loss_first"] - begun["loss_last"])
    assert "in all" in (two / "training.log").read_text(encoding="utf-8")
    with (two / "metrics.csv").open(encoding="utf-8") as file:
        assert any(row["train/loss"] for row in csv.DictReader(file))
    files = [path for path in two.rglob("*") if path.is_file()]
    assert sorted(path.relative_to(two).as_posix() for path in files) == [
        "metrics.csv",
        "piece/average.safetensors",
        "piece/piece.json",
        "piece/raw.safetensors",
        "prior/README.md",
        "prior/config.yaml",
        "prior/model.safetensors",
        "training.log",
    ]
    prior = Prior.from_pretrained(two / "prior")
    n_parameters = sum(parameter.numel() for parameter in prior.parameters())
    for path in files:
        if path.suffix == ".safetensors":
            assert path.stat().st_size < 2 * n_parameters + 10_000
    assert "1 piece:" in (two / "prior" / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_what_cannot_be_trained_is_said_in_a_line(speech, tmp_path):
    assert "START" in call(speech, home=tmp_path).stderr
    run = call(speech, tmp_path / "missing", tmp_path / "out", "--minutes", "0.1", *TINY, home=tmp_path)
    assert run.returncode == 2
    assert "No prior at" in run.stdout
    assert "Traceback" not in run.stdout
    run = call(tmp_path / "nothing", "none", tmp_path / "out", "--minutes", "0.1", *TINY, home=tmp_path)
    assert run.returncode == 2
    assert "does not exist" in run.stdout
