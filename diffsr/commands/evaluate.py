"""Score restored recordings against clean references, with the scores of the noisy input beside them."""

from __future__ import annotations

import argparse
from pathlib import Path

from diffsr.commands.terminal import Progress, names_of, say
from diffsr.errors import DataError
from diffsr.io.atomic import check_writable, write_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `diffsr evaluate`."""
    parser.add_argument("estimate", metavar="RESTORED", help="a restored file or a folder of them")
    parser.add_argument(
        "reference",
        metavar="CLEAN",
        nargs="?",
        help="the clean file or folder; matched by relative name. May be left out where no metric needs it",
    )
    parser.add_argument(
        "--input", "--inputs", metavar="NOISY", help="the noisy file or folder, scored as well"
    )
    parser.add_argument(
        "--metrics",
        metavar="NAMES",
        help="comma-separated scores instead of si_sdr_db,sdr_db,pesq_wb,estoi (and those of several "
        "talkers); an unknown name shows all",
    )
    parser.add_argument(
        "--talkers",
        metavar="NAMES",
        help="sub-folders of the talkers, such as s1,s2 or s1:s1_anechoic,s2:s2_anechoic, or talker1,talker2 "
        "for files NAME.talker1.wav (s1, s2 and talker1, talker2 are found by themselves; '' where s1, "
        "s2 are folders of a corpus)",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="also write the scores: .csv per item, .md or .tex the tables",
    )


def run(options: argparse.Namespace) -> int:
    """Print the table; exit code 2 when items could not be scored."""
    output = Path(options.output) if options.output else None
    if output is not None and output.suffix not in (".csv", ".md", ".tex"):
        raise DataError(f"--output {output}: expected a name ending in .csv (items), .md or .tex (tables).")
    if output is not None:
        check_writable(output)
    from diffsr.evaluation.evaluate import evaluate

    metrics = names_of(options.metrics)
    talkers = names_of(options.talkers)
    with Progress("scoring", "items") as progress:
        found = evaluate(options.estimate, options.reference, options.input, progress, metrics, talkers)
    try:
        if output is not None and output.suffix == ".csv":
            found.write_csv(output)
        elif output is not None:
            write_text(output, found.to_latex() if output.suffix == ".tex" else found.to_markdown())
    finally:
        say(found.to_text())
    return 2 if found.failed else 0
