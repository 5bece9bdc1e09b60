"""Score restored recordings against clean references, with the scores of the noisy input beside them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from diffsr.commands.terminal import say
from diffsr.errors import DataError
from diffsr.io.atomic import replacing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `diffsr evaluate`."""
    parser.add_argument("estimate", metavar="RESTORED", help="a restored file or a folder of them")
    parser.add_argument(
        "reference", metavar="CLEAN", help="the clean file or folder; matched by relative name"
    )
    parser.add_argument(
        "--input", "--inputs", metavar="NOISY", help="the noisy file or folder, scored as well"
    )
    parser.add_argument(
        "--output", metavar="FILE", help="also write the scores: .csv per item, .md the tables"
    )


def run(options: argparse.Namespace) -> int:
    """Print the table; exit code 2 when items could not be scored."""
    output = Path(options.output) if options.output else None
    if output is not None and output.suffix not in (".csv", ".md"):
        raise DataError(f"--output {output}: expected a name ending in .csv (items) or .md (tables).")
    from diffsr.evaluation.evaluate import evaluate

    found = evaluate(options.estimate, options.reference, options.input, on_progress=_show)
    say(found.to_text())
    if output is not None and output.suffix == ".csv":
        found.write_csv(output)
    elif output is not None:
        try:
            with replacing(output) as part:
                part.write_text(found.to_markdown(), encoding="utf-8")
        except OSError as error:
            raise DataError(f"Cannot write {output}: {error.strerror or error}.") from error
    return 2 if found.failed else 0


def _show(done: int, total: int, item: str) -> None:
    if sys.stderr.isatty() and total > 1:
        sys.stderr.write(f"\rscoring: {done}/{total} files" + ("\n" if done == total else ""))
        sys.stderr.flush()
