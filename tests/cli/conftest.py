"""A folder with tiny experiments to work in."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from diffsr.cli import main

PRIOR = """\
seed_everything: 0
model:
  class_path: cli_standins.TinyPrior
  init_args:
    learning_rate: 0.1
    note: width ${data.init_args.width}
    prior:
      class_path: cli_standins.Prior
      init_args:
        network:
          class_path: cli_standins.Net
          init_args:
            width: ${data.init_args.width}
data:
  class_path: cli_standins.TinyData
  init_args:
    width: 4
ema:
  decay: 0.9
trainer:
  accelerator: cpu
  max_steps: 6
  enable_model_summary: false
  log_every_n_steps: 1
"""
TASK = """\
model:
  class_path: cli_standins.TinyTask
data:
  class_path: cli_standins.TinyData
trainer:
  accelerator: cpu
"""


class Shell:
    """A working folder and the command line in it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        self.out = self.err = ""

    def __call__(self, *arguments: str) -> int:
        """Run a command; what it wrote is in `out` and `err`."""
        self.capsys.readouterr()
        with warnings.catch_warnings():
            code = main(list(arguments))
        self.out, self.err = self.capsys.readouterr()
        return code

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def fails(self, *arguments: str) -> str:
        """Run a command that has to fail as a user error; returns its one message."""
        assert self(*arguments) == 2
        assert self.err.startswith("diffsr: error: ")
        assert "Traceback" not in self.err
        assert len(self.err.splitlines()) <= 4
        return self.err

    def run_folders(self) -> list[Path]:
        return sorted(p.parent for p in self.folder.glob("runs/**/provenance.json"))


@pytest.fixture
def shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., int]:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr(sys, "argv", ["diffsr"])
    shell = Shell(tmp_path, capsys)
    shell.write("experiments/prior/tiny.yaml", PRIOR)
    shell.write("experiments/enhance/tiny.yaml", TASK)
    return shell
