"""`diffsr prepare calibration`: from a prior and speech to the table and its picture in the prior folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from diffsr.diffusion import Prior
from diffsr.networks import TFTransformer
from diffsr.signal.stft import STFT

RATE_HZ = 16000
CALL = ("prepare", "calibration", "prior", "--data", "speech.csv")


@pytest.fixture
def prior(shell) -> Path:
    """An untrained prior, which is the Wiener gain of white signals."""
    torch.manual_seed(0)
    network = TFTransformer(width=16, depth=1, heads=2)
    return Prior(network, RATE_HZ, window_s=0.5).save_pretrained(shell.folder / "prior")


@pytest.fixture
def speech(shell) -> Path:
    """Four talkers of white noise, one of them marked valid."""
    rng = np.random.default_rng(0)
    lines = ["path,speaker,split"]
    for index in range(4):
        (shell.folder / "speech").mkdir(exist_ok=True)
        wave = 0.1 * rng.standard_normal(RATE_HZ)
        soundfile.write(shell.folder / "speech" / f"{index}.wav", wave, RATE_HZ)
        lines.append(f"speech/{index}.wav,talker{index},{'valid' if index == 3 else 'test'}")
    return shell.write("speech.csv", "\n".join(lines) + "\n")


def test_a_prior_folder_gets_its_table_and_a_picture(shell, prior: Path, speech: Path) -> None:
    assert shell(*CALL, "--split", "test", "--count", "3") == 0
    assert sorted(path.name for path in prior.iterdir()) == [
        *("README.md", "calibration.png", "calibration.safetensors", "config.yaml", "model.safetensors"),
    ]
    assert (prior / "calibration.png").stat().st_size > 20_000
    assert "calibrated on 3 crops of 0.5 s, speech.csv, rows marked test" in shell.out
    header = next(line for line in shell.out.splitlines() if line.startswith("sigma"))
    for name in ("ratio, white", "ratio, local", "ratio, table", "score, white", "score, table"):
        assert name in header
    loaded = Prior.from_pretrained(prior)
    assert loaded.calibration is not None
    assert loaded.calibration.source == "3 crops of 0.5 s, speech.csv, rows marked test"
    # White speech and the Wiener gain: the white formula is right.
    z = (0.05**2 + 0.1**2) ** 0.5 * torch.randn(1, 32_000, generator=torch.Generator().manual_seed(0))
    sigma, stft = torch.tensor([0.1]), STFT()
    r2 = loaded.uncertainty(loaded.denoise(z, sigma), sigma, stft)
    white = stft.bin_variance(sigma.square() * 0.05**2 / (sigma.square() + 0.05**2))
    assert float(r2.mean() / white) == pytest.approx(1, abs=0.1)


def test_a_run_folder_and_the_same_table_again(shell, prior: Path, speech: Path) -> None:
    prior.rename(shell.folder / "inner")
    prior.mkdir()
    (shell.folder / "inner").rename(prior / "prior")
    assert shell(*CALL, "--split", "test", "--count", "2") == 0
    first = load_file(prior / "prior" / "calibration.safetensors")["log_ratio"]
    assert shell(*CALL, "--split", "test", "--count", "2") == 0
    assert torch.equal(load_file(prior / "prior" / "calibration.safetensors")["log_ratio"], first)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"prior": "nowhere"}, "nowhere is no prior folder"),
        ({"prior": "speech.csv"}, "Make one of a checkpoint with: diffsr export"),
        ({"prior": "speech"}, "speech is not a prior folder"),
        ({"--data": "nowhere.csv"}, "nowhere.csv"),
        ({"--split": "train"}, "no row is marked train"),
        ({"--split": "valid", "--crop_s": "1"}, "one crop of 1 s; expected at least 2"),
        ({"--count": "1"}, "--count 1: expected at least 2"),
        ({"--crop_s": "0"}, "--crop_s 0: expected seconds from 0.1 to 600"),
        ({"--crop_s": "nan"}, "--crop_s nan: expected seconds"),
        ({"--device": "cuda:77"}, "cuda:77"),
    ],
)
def test_what_cannot_start(shell, prior: Path, speech: Path, changed: dict[str, str], expected: str) -> None:
    options = {"prior": "prior", "--data": "speech.csv"} | changed
    source = options.pop("prior")
    words = (word for pair in options.items() for word in pair)
    assert expected in shell.fails("prepare", "calibration", source, *words)
    assert not (prior / "calibration.safetensors").exists()


def test_a_damaged_table_names_the_way_out(shell, prior: Path, speech: Path) -> None:
    (prior / "calibration.safetensors").write_bytes(b"hello")
    assert "Remove it: the prior works without" in shell.fails(*CALL, "--count", "2")


def test_the_table_of_a_shipped_prior_is_replaced_only_when_asked(
    shell, prior: Path, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "diffsr.io.model_folder.shipped_folder", lambda kind, name: prior if name == "shipped" else None
    )
    call = ("prepare", "calibration", "shipped", "--data", "speech.csv", "--split", "test", "--count", "2")
    assert "shipped ships with diffsr" in shell.fails(*call)
    assert not (prior / "calibration.safetensors").exists()
    assert shell(*call, "--overwrite") == 0
    assert (prior / "calibration.safetensors").exists()
