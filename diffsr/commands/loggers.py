"""Points the loggers of a configuration at the run folder."""

from __future__ import annotations

import os
import secrets
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from diffsr.commands.run_folder import Run
from diffsr.errors import ConfigError

CSV = "lightning.pytorch.loggers.CSVLogger"


def direct_loggers(trainer: Namespace, run: Run) -> None:
    """Let every logger of the `trainer` section write into the run folder (in place).

    No logger, or `true`, means CSV: `metrics/version_<n>/metrics.csv`, one version per session.

    Raises:
        ConfigError: A logger needs a package that is not installed.
    """
    configured = trainer.get("logger")
    if configured is False:
        return
    if configured is None or configured is True:
        options = {
            "save_dir": None,
            "name": None,
            "version": None,
            "prefix": "",
            "flush_logs_every_n_steps": 50,
        }
        init_args = Namespace(options)  # type: ignore[no-untyped-call]
        configured = Namespace(class_path=CSV, init_args=init_args)  # type: ignore[no-untyped-call]
        trainer["logger"] = configured
    for logger in configured if isinstance(configured, list) else [configured]:
        _direct(logger, run)


def _direct(logger: Namespace, run: Run) -> None:
    kind = str(logger.class_path).rpartition(".")[2]
    arguments: Any = logger.init_args
    arguments["save_dir"] = str(run.path)
    if kind == "CSVLogger":
        # a version per session: the CSV logger deletes what it finds in its folder
        arguments["name"], arguments["version"] = "metrics", None
    elif kind == "TensorBoardLogger":
        if not (find_spec("tensorboard") or find_spec("tensorboardX")):
            raise ConfigError(
                "trainer.logger is TensorBoard, and the package tensorboard is not installed. Install it "
                "(pip install tensorboard) or choose another logger: LOGGER=csv or LOGGER=wandb with make, "
                "--config experiments/trainer/csv.yaml with diffsr fit."
            )
        arguments["name"], arguments["version"] = "tensorboard", ""
    elif kind == "WandbLogger":
        _direct_wandb(arguments, run)


def _direct_wandb(arguments: Any, run: Run) -> None:  # noqa: ANN401 - a jsonargparse namespace
    mode = os.environ.get("WANDB_MODE", "offline")
    arguments["offline"] = mode in ("offline", "dryrun")
    arguments["name"] = arguments.get("name") or f"{run.experiment}/{run.path.name}"
    if (
        not arguments.get("id")
        and not os.environ.get("WANDB_RUN_ID")
        and not os.environ.get("WANDB_SWEEP_ID")
    ):
        arguments["id"] = _wandb_id(run.path)  # a resumed run continues its curve


def _wandb_id(run: Path) -> str:
    """The id of the run's curve, made at its first session."""
    note = run / "wandb_id"
    if note.is_file():
        return note.read_text(encoding="utf-8").strip()
    if int(os.environ.get("LOCAL_RANK", "0")) or int(os.environ.get("NODE_RANK", "0")):
        return secrets.token_hex(4)  # only the first process logs
    run.mkdir(parents=True, exist_ok=True)
    note.write_text(secrets.token_hex(4) + "\n", encoding="utf-8")
    return note.read_text(encoding="utf-8").strip()
