"""Where a run lives and whether it goes on: `runs/<experiment>/<hash8>/`.

The hash names the resolved configuration without the keys that only say how long, how often or
where to compute (`NOT_IN_HASH`): the same experiment with more steps is the same run and continues,
any other change is a new run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffsr.errors import CheckpointError, ConfigError
from diffsr.io.atomic import replacing
from diffsr.io.run_layout import exported_prior, last_checkpoint
from diffsr.io.weights import load_checkpoint

NOT_IN_HASH = {
    # this command's own
    "config", "runs", "resume", "ckpt_path", "checkpoint",
    # how long
    *(f"trainer.{key}" for key in ("max_steps", "max_epochs", "max_time", "min_steps", "min_epochs")),
    # where
    *(f"trainer.{key}" for key in (
        "accelerator", "devices", "num_nodes", "strategy", "plugins", "default_root_dir",
        "sync_batchnorm", "use_distributed_sampler", "benchmark",
    )),
    # what is watched and written down
    *(f"trainer.{key}" for key in (
        "logger", "log_every_n_steps", "enable_progress_bar", "enable_model_summary", "enable_checkpointing",
        "val_check_interval", "check_val_every_n_epoch", "num_sanity_val_steps", "limit_val_batches",
        "limit_test_batches", "limit_predict_batches", "profiler", "detect_anomaly", "fast_dev_run",
        "inference_mode", "barebones", "model_registry", "enable_autolog_hparams",
    )),
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A run folder and what it is called."""

    path: Path
    experiment: str
    hash: str

    @property
    def checkpoint(self) -> Path:
        """The checkpoint that training continues from."""
        return last_checkpoint(self.path)

    @property
    def mark(self) -> Path:
        """Says that the run is finished, and how far it came."""
        return self.path / "finished.json"

    @property
    def prior(self) -> Path:
        """The exported prior of a finished training."""
        return exported_prior(self.path)

    @property
    def identity(self) -> dict[str, str]:
        """What the run is called, for its provenance."""
        return {"experiment": self.experiment, "hash": self.hash}


def config_hash(config: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits that name a resolved configuration (see the head of this file)."""
    kept = {key: value for key, value in config.items() if key not in NOT_IN_HASH}
    trainer = kept.get("trainer")
    if isinstance(trainer, Mapping):
        kept["trainer"] = {k: v for k, v in trainer.items() if f"trainer.{k}" not in NOT_IN_HASH}
    text = json.dumps(kept, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def experiment_name(config_files: Sequence[Path]) -> str:
    """`prior/starter` for `.../experiments/prior/starter.yaml`; else the name of the first file."""
    if not config_files:
        return "unnamed"
    first = config_files[0]
    parts = [re.sub(r"[^\w.+-]", "_", part) for part in first.with_suffix("").parts]
    if "experiments" in parts[:-1]:
        below = len(parts) - 1 - parts[::-1].index("experiments")
        return "/".join(parts[below + 1 :])
    return parts[-1]


def find_run(config: Mapping[str, Any], config_files: Sequence[Path], runs: str | Path) -> Run:
    """The run that a configuration belongs to.

    A `config.yaml` out of a run folder leads back to that folder as long as nothing that counts was
    changed on the command line.
    """
    digest = config_hash(config)
    origin = config_files[0].parent if config_files else None
    record = _read_json(origin / "provenance.json") if origin else None
    if origin and record and config_files[0].name == "config.yaml":
        experiment = str(record.get("experiment", origin.parent.name))
        if record.get("hash") == digest:
            return Run(origin, experiment, digest)
    else:
        experiment = experiment_name(config_files)
    return Run(Path(runs).expanduser() / experiment / digest, experiment, digest)


def fresh_sibling(run: Run) -> Run:
    """`run` where it does not exist yet, else the first free of `<hash>-2`, `<hash>-3`, ..."""
    path, number = run.path, 1
    base = run.path.with_name(run.hash)
    while path.exists():
        number += 1
        path = base.with_name(f"{base.name}-{number}")
    return Run(path, run.experiment, run.hash)


def resume_from(run: Run, resume: str, budget: Budget) -> tuple[Run, Path | None]:
    """The run folder and the checkpoint that `--resume auto|never|PATH` stands for.

    Raises:
        CheckpointError: PATH is not a checkpoint.
        ConfigError: It has all the steps of the budget already.
    """
    if resume == "never":
        return fresh_sibling(run), None
    if resume == "auto":
        return run, run.checkpoint if run.checkpoint.is_file() else None
    path = Path(resume).expanduser()
    if not path.is_file():
        raise CheckpointError(
            f"--resume {resume}: no such file. Give `auto` (continue this run if it exists), `never` (start "
            "over beside it) or the path of a .ckpt file."
        )
    step = load_checkpoint(path).get("global_step", 0)
    if budget.max_steps is not None and step >= budget.max_steps:
        raise ConfigError(
            f"--resume {resume}: this has {step} steps already, and trainer.max_steps is {budget.max_steps}. "
            "Train longer with a larger trainer.max_steps, or start from another checkpoint."
        )
    return run, path


def remove_if_empty(folder: Path) -> None:
    """Remove a run folder in which nothing was written, because the data or the trainer failed."""
    if folder.is_dir() and not any(path.is_file() for path in folder.rglob("*")):
        shutil.rmtree(folder)
        for parent in folder.parents[:3]:
            with contextlib.suppress(OSError):  # not empty
                parent.rmdir()


# --- how long a run is to be, and whether it is there already


@dataclass(frozen=True)
class Budget:
    """How long to train; None where there is no limit."""

    max_steps: int | None
    max_epochs: int | None
    max_time_s: float | None

    @classmethod
    def of(cls, trainer: Mapping[str, Any]) -> Budget:
        """The budget in the `trainer` section of a configuration."""
        steps, epochs = trainer.get("max_steps"), trainer.get("max_epochs")
        return cls(
            max_steps=steps if steps is not None and steps >= 0 else None,
            max_epochs=epochs if epochs is not None and epochs >= 0 else None,
            max_time_s=_seconds(trainer.get("max_time")),
        )


@dataclass(frozen=True)
class Reached:
    """How far a finished training came."""

    step: int
    epoch: int
    elapsed_s: float | None
    budget: Budget

    def write(self, run: Run) -> None:
        """Mark the run as finished."""
        record = {**vars(self), "budget": vars(self.budget)}
        with replacing(run.mark) as temporary:
            temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def finished(run: Run, budget: Budget) -> str | None:
    """Why there is nothing left to train ("1000 of 1000 steps"), or None when there is."""
    record = _read_json(run.mark)
    if record is None or not run.checkpoint.is_file():
        return None
    step, epoch, elapsed_s = record["step"], record["epoch"], record["elapsed_s"]
    if budget.max_steps is not None and step >= budget.max_steps:
        return f"{step} of {budget.max_steps} steps"
    if budget.max_epochs is not None and epoch >= budget.max_epochs:
        return f"{epoch} of {budget.max_epochs} epochs"
    if budget.max_time_s is not None and elapsed_s is not None and elapsed_s >= budget.max_time_s:
        return f"{step} steps in the {budget.max_time_s:g} s of trainer.max_time"
    if record["budget"] == vars(budget):
        return f"stopped after {step} steps with the same limits"
    return None


def _seconds(max_time: Any) -> float | None:  # noqa: ANN401 - Lightning takes text, dict or timedelta
    if max_time is None:
        return None
    if isinstance(max_time, Mapping):
        units = {"weeks": 604800, "days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}
        return float(sum(units.get(unit, 0) * value for unit, value in max_time.items()))
    text = str(max_time).strip()
    match = re.fullmatch(r"(?:(\d+) days?, |(\d+):)?(\d+):(\d\d):(\d\d)", text)
    if not match:
        raise ConfigError(f"trainer.max_time is {text!r}; expected DD:HH:MM:SS, for example 00:00:10:00.")
    d1, d2, h, m, s = (int(group or 0) for group in match.groups())
    return float((d1 + d2) * 86400 + h * 3600 + m * 60 + s)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
