"""What a run was: its resolved config, the code it ran, the versions it used."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback
from lightning.pytorch.loggers import WandbLogger

from diffsr.io.atomic import replacing

PACKAGES = (
    "diffsr", "torch", "torchaudio", "lightning", "jsonargparse", "omegaconf", "numpy", "soundfile", "soxr",
    "wandb",
)  # fmt: skip
DIFF_LIMIT = 400_000  # characters of `git diff` that are kept


class RunConfig(SaveConfigCallback):
    """Writes `config.yaml` and `provenance.json` into the run folder and the config into wandb.

    `provenance.json` holds one entry per session (a resumed run has several) and nothing that names
    the machine or the user.

    Args:
        parser: The parser of the command line.
        config: The parsed configuration.
        values: The configuration as plain values, resolved.
        identity: What the run is called: `experiment`, `hash`.
        command: The command line that started the session.
        resumed_from: The checkpoint that training continues from.
    """

    def __init__(
        self,
        parser: LightningArgumentParser,
        config: Namespace,
        values: Mapping[str, Any],
        identity: Mapping[str, Any],
        command: list[str],
        resumed_from: Path | None = None,
    ) -> None:
        super().__init__(parser, config, save_to_log_dir=False)
        self.values = dict(values)
        self.identity = dict(identity)
        self.command = command
        self.resumed_from = resumed_from

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the files; called once, on the first process."""
        run = Path(trainer.default_root_dir)
        _write(run / "config.yaml", yaml.safe_dump(self.values, sort_keys=False, allow_unicode=True))
        record = run / "provenance.json"
        sessions = _sessions(record)
        sessions.append(self._session(trainer, stage))
        _write(
            record, json.dumps({**self.identity, "sessions": sessions}, indent=2, ensure_ascii=False) + "\n"
        )
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.experiment.config.update(self.values, allow_val_change=True)

    def _session(self, trainer: Trainer, stage: str) -> dict[str, Any]:
        return {
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "stage": stage,
            "command": shlex.join(["diffsr", *self.command]),
            "resumed_from": None if self.resumed_from is None else str(self.resumed_from),
            "seed": self.values.get("seed_everything"),
            "python": sys.version.split()[0],
            "device": f"{trainer.num_devices} x {trainer.strategy.root_device.type}",
            "versions": versions(),
            "git": git_state(),
        }


def versions() -> dict[str, str | None]:
    """Installed versions of the packages that a result depends on."""
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def git_state() -> dict[str, Any] | None:
    """Commit, dirty flag and diff of the checkout this code runs from; None outside a checkout."""
    package = Path(__file__).resolve().parents[1]
    # an installed package may lie inside somebody else's repository: only a tracked one counts
    if _git(package, "ls-files", "--error-unmatch", "errors.py") is None:
        return None
    commit = _git(package, "rev-parse", "HEAD")
    if commit is None:
        return None
    diff = _git(package, "diff", "HEAD") or ""
    status = _git(package, "status", "--porcelain") or ""
    return {
        "commit": commit.strip(),
        "dirty": bool(status.strip()),
        "status": status.splitlines()[:200],
        "diff": diff if len(diff) <= DIFF_LIMIT else diff[:DIFF_LIMIT] + "\n[cut here]\n",
    }


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=20,
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _sessions(record: Path) -> list[Any]:
    try:
        return list(json.loads(record.read_text(encoding="utf-8"))["sessions"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
