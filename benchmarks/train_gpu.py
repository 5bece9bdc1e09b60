"""The Python half of train_gpu.sh, which see: one piece of the training of a prior."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml

from diffsr.commands.lightning import quieten
from diffsr.commands.lightning_cli import RunCLI
from diffsr.diffusion.pieces import RECORD, read_start
from diffsr.errors import DiffsrError

REPOSITORY = Path(__file__).resolve().parents[1]
EXPERIMENT = REPOSITORY / "experiments" / "prior" / "speech-16k-fast.yaml"


def overlay(options: argparse.Namespace, n_before: int) -> dict[str, Any]:
    """What the piece adds to the experiment."""
    timer = {"class_path": "diffsr.callbacks.PieceTimer", "init_args": {"minutes": options.minutes}}
    folder = str(options.out.absolute() / "piece")
    export = {"class_path": "diffsr.callbacks.PieceExport", "init_args": {"folder": folder}}
    return {
        "model": {
            "class_path": "diffsr.tasks.PriorModule",
            "init_args": {
                "start": None if options.start == "none" else options.start,
                "schedule": "decay" if options.last else "constant",
                "storage": "bfloat16",
                "compile": True,
                "n_samples": 0,
            },
        },
        # the same speech again is cut into other crops
        "data": {
            "class_path": "data_modules.CleanSpeech",
            "init_args": {"data": options.pack, "seed": n_before},
        },
        "trainer": {
            "max_steps": -1,
            "max_epochs": -1,
            "max_time": None,
            "enable_checkpointing": False,
            "callbacks": [timer, export],
        },
    }


def train(options: argparse.Namespace, overrides: list[str]) -> RunCLI:
    """Train; a piece that is interrupted has written what the next one needs."""
    n_before = 0 if options.start == "none" else len(read_start(options.start).history)
    options.work.mkdir(parents=True, exist_ok=True)
    config = options.work / "piece.yaml"
    config.write_text(yaml.safe_dump(overlay(options, n_before), sort_keys=False), encoding="utf-8")
    runs = options.work / "runs"
    quieten()
    cli = RunCLI(
        "fit", [f"--config={options.experiment}", f"--config={config}", f"--runs={runs}", *overrides]
    )
    cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    return cli


def collect(run: Path, out: Path) -> None:
    """Bring the exported prior and the curves to where they are kept."""
    shutil.copytree(run / "prior", out / "prior", dirs_exist_ok=True)
    for curves in run.glob("metrics/*/metrics.csv"):
        shutil.copyfile(curves, out / "metrics.csv")


def summary(out: Path) -> str:
    """What the piece was, in a line."""
    record = json.loads((out / "piece" / RECORD).read_text(encoding="utf-8"))
    piece = record["history"][-1]
    return (
        f"piece {len(record['history'])}: {piece['steps']} steps, {piece['crops']} crops in "
        f"{piece['minutes']:.1f} minutes on {piece['hardware']}; loss {piece['loss_first']} -> "
        f"{piece['loss_last']}; in all {record['steps']} steps, {record['minutes']:.1f} minutes\n"
    )


def main() -> int:
    """Parse, train, collect; 0 done, 1 interrupted, 2 refused."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("pack")
    parser.add_argument("start")
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--last", action="store_true")
    parser.add_argument("--experiment", type=Path, default=EXPERIMENT)
    parser.add_argument("--work", type=Path, required=True)
    options, overrides = parser.parse_known_args()
    try:
        cli = train(options, overrides)
    except DiffsrError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (KeyboardInterrupt, SystemExit):
        if (options.out / "piece" / RECORD).is_file():
            sys.stderr.write(f"interrupted; {options.out / 'piece'} is as far as it came\n")
        return 1
    if cli.trainer.is_global_zero:
        collect(cli.run_folder.path, options.out)
        sys.stderr.write(summary(options.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
