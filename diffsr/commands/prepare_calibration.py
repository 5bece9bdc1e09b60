"""`diffsr prepare calibration`: how uncertain a prior is, kept beside its weights."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from diffsr.commands.terminal import Progress, say
from diffsr.errors import CheckpointError, ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from diffsr.diffusion import Prior
    from diffsr.diffusion.calibration_measure import ErrorSums

PICTURE = "calibration.png"
DEFAULT_COUNT = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `diffsr prepare calibration`."""
    parser.add_argument("prior", metavar="PRIOR", help="a prior folder, or a run folder that holds one")
    parser.add_argument(
        "--data", required=True, metavar="MANIFEST", help="clean speech: .csv, .jsonl or a folder"
    )
    parser.add_argument(
        "--split", help="rows of MANIFEST to use: train, valid or test (those marked valid, else all)"
    )
    parser.add_argument(
        "--count", type=int, default=DEFAULT_COUNT, help="crops, at most (default: %(default)s)"
    )
    parser.add_argument(
        "--crop_s", type=float, metavar="SECONDS", help="their length (default: the context of the prior)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the table of a prior that ships")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")


def run(options: argparse.Namespace) -> int:
    """Measure and write; returns the exit code."""
    if options.count < 2:
        raise ConfigError(f"--count {options.count}: expected at least 2, one to predict the other.")
    if options.crop_s is not None and not 0.1 <= options.crop_s <= 600.0:
        raise ConfigError(f"--crop_s {options.crop_s:g}: expected seconds from 0.1 to 600.")
    folder = _prior_folder(options.prior, options.overwrite)
    from diffsr.commands.validate import choose_rows, fixed_crops
    from diffsr.diffusion import Prior
    from diffsr.diffusion.calibration import save_calibration
    from diffsr.diffusion.devices import move_to
    from diffsr.report.calibration import agreement_text, calibration_picture

    prior = Prior.from_pretrained(folder)
    move_to(options.device, prior)
    rows, what = choose_rows(options.data, options.split)
    crop_s = options.crop_s or prior.window_s
    [crops] = fixed_crops(rows, prior, [crop_s], options.count)
    if len(crops) < 2:
        raise DataError(f"{options.data} gives one crop of {crop_s:g} s; expected at least 2.")
    sums = _measure(prior, [crops[index]["wave"] for index in range(len(crops))])
    source = f"{len(crops)} crops of {crop_s:g} s, {what}"
    prior.calibration = sums.table(prior.rate_hz, prior.sigma_data, source)
    agreement = sums.agreement()
    say(agreement_text(agreement))
    save_calibration(prior.calibration, folder)
    calibration_picture(prior.calibration, agreement, folder / PICTURE)
    say(f"{folder}: calibrated on {source}; picture: {folder / PICTURE}")
    return 0


def _prior_folder(source: str, overwrite: bool) -> Path:
    """Where the weights lie; that of a prior that ships is given by its name only to `overwrite`."""
    from diffsr.diffusion.prior import KIND
    from diffsr.io.model_folder import shipped_folder
    from diffsr.io.run_layout import exported_prior

    path = Path(source).expanduser()
    if exported_prior(path).is_dir():
        return exported_prior(path)
    shipped = shipped_folder(KIND, source)
    if shipped is not None and not overwrite:
        raise ConfigError(
            f"{source} ships with diffsr and has its table, in {shipped}. Copy that folder and give the path "
            "of the copy, or replace the table of this installation with --overwrite."
        )
    folder = shipped or path
    if not folder.is_dir():
        raise CheckpointError(
            f"{path} is no prior folder; the table lies beside the weights in one. "
            "Make one of a checkpoint with: diffsr export CHECKPOINT FOLDER"
        )
    return folder


def _measure(prior: Prior, waves: Sequence[Tensor]) -> ErrorSums:
    from diffsr.diffusion.calibration_measure import ErrorSums

    sums = ErrorSums()
    with Progress("calibrating", "crops") as progress:
        progress(0, len(waves))
        for done, wave in enumerate(waves, start=1):
            sums.add(prior, wave)
            progress(done, len(waves))
    return sums
