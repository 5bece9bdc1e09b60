"""Turn a training checkpoint into a prior folder (config.yaml, model.safetensors, README.md).

The averaged weights are exported, which are the ones that validation scored.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from diffsr.commands.terminal import say
from diffsr.errors import CheckpointError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `diffsr export`."""
    parser.add_argument("checkpoint", help="a .ckpt file of `diffsr fit`, or a run folder")
    parser.add_argument("output", help="the prior folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace a prior that is there already")


def run(options: argparse.Namespace) -> int:
    """Export; returns the exit code."""
    from diffsr.diffusion import Prior
    from diffsr.io.run_layout import last_checkpoint

    source, output = Path(options.checkpoint), Path(options.output)
    if source.is_dir() and last_checkpoint(source).is_file():
        source = last_checkpoint(source)
    if output.exists() and not output.is_dir():
        raise CheckpointError(f"{output} is a file; expected the name of a folder for the prior.")
    if output.is_dir() and any(output.iterdir()) and not options.overwrite:
        raise CheckpointError(
            f"{output} is not empty. Choose another folder, or replace it with --overwrite."
        )
    prior = Prior.from_pretrained(source)
    prior.save_pretrained(output, _card_of(str(source)))
    say(f"{output}: prior exported from {source}")
    return 0


def _card_of(source: str) -> str:
    """The card of a prior folder, with its speech, scores and licence; empty for a checkpoint."""
    from diffsr.diffusion.prior import KIND
    from diffsr.io.model_folder import CARD, CONFIG, shipped_folder

    folder = shipped_folder(KIND, source) or Path(source)
    card = folder / CARD
    is_there = (folder / CONFIG).is_file() and card.is_file()
    return card.read_text(encoding="utf-8") if is_there else ""
