"""What a run was is on disk whole, or as it was before."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from diffsr.callbacks import RunConfig


def save(folder: Path, command: str) -> None:
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    trainer = SimpleNamespace(default_root_dir=folder, loggers=[], num_devices=1, strategy=strategy)
    config = RunConfig(None, None, {"seed_everything": 0}, {"experiment": "tiny"}, [command])  # type: ignore[arg-type]
    config.save_config(trainer, None, "fit")  # type: ignore[arg-type]


def test_a_session_that_cannot_be_written_leaves_those_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "deep" / "run"
    save(folder, "one")
    save(folder, "two")
    sessions = json.loads((folder / "provenance.json").read_text())["sessions"]
    assert [session["command"] for session in sessions] == ["diffsr one", "diffsr two"]
    before = {path.name: path.read_text() for path in folder.iterdir()}
    assert sorted(before) == ["config.yaml", "provenance.json"]

    def full(path: Path, text: str, **options: object) -> int:
        path.write_bytes(text[:5].encode())
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        save(folder, "three")
    assert {path.name: path.read_text() for path in folder.iterdir()} == before
