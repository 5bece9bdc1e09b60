"""`diffsr prepare checkpoint`: a published checkpoint of another project as a prior folder."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from diffsr.commands.terminal import say
from diffsr.errors import CheckpointError

if TYPE_CHECKING:
    from diffsr.prepare.checkpoint import Imported


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `diffsr prepare checkpoint`."""
    parser.add_argument("checkpoint", metavar="FILE", help="as its authors published it (.pt, .ckpt)")
    parser.add_argument("output", metavar="OUT", help="the prior folder to write")
    parser.add_argument(
        "--format",
        choices=["buddy", "sgmse"],
        required=True,
        help="which project it comes from; of SGMSE+ no prior can be made, and it is said why",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a prior that is there already")


def run(options: argparse.Namespace) -> int:
    """Import; returns the exit code."""
    from diffsr.prepare.checkpoint import import_checkpoint

    source, output = Path(options.checkpoint).expanduser(), Path(options.output).expanduser()
    if output.exists() and not output.is_dir():
        raise CheckpointError(f"{output} is a file; expected the name of a folder for the prior.")
    if output.is_dir() and any(output.iterdir()) and not options.overwrite:
        raise CheckpointError(
            f"{output} is not empty. Choose another folder, or replace it with --overwrite."
        )
    imported = import_checkpoint(source, options.format)
    imported.prior.save_pretrained(output, _card(imported, source, options.format))
    say(f"{output}: prior imported from {source}")
    say("\n".join(f"  {line}" for line in _facts(imported)))
    say(f"  restore with it: diffsr restore IN OUT --prior {shlex.quote(str(output))}")
    return 0


def _facts(imported: Imported) -> list[str]:
    prior = imported.prior
    count = sum(parameter.numel() for parameter in prior.parameters())
    return [
        f"ncsnpp, nf {prior.config['network']['nf']}, {count / 1e6:.1f} M parameters",
        f"{prior.rate_hz} Hz, active-speech RMS {prior.sigma_data:g}, context {prior.window_s:g} s",
        *imported.notes,
    ]


def _card(imported: Imported, source: Path, family: str) -> str:
    lines = [f"- {fact}" for fact in (f"imported from {source.name} ({family})", *_facts(imported))]
    return "\n".join(
        [
            "# Speech prior",
            "",
            *lines,
            "",
            "Others trained these weights: their licence applies, and they are to be cited.",
            "",
        ]
    )
