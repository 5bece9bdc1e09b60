"""`diffsr prepare pack`: the speech of a manifest in folders small enough to be carried elsewhere."""

from __future__ import annotations

import argparse
import shlex
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from diffsr.commands.terminal import Progress, say
from diffsr.errors import ConfigError

if TYPE_CHECKING:
    from diffsr.prepare.pack import Packed
    from diffsr.prepare.pack_coding import Coded

_NAMED = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `diffsr prepare pack`."""
    parser.add_argument("manifest", metavar="MANIFEST", help="clean speech: a folder, .jsonl or .csv")
    parser.add_argument("output", metavar="OUT", help="gets OUT/part-1, OUT/part-2, ...")
    parser.add_argument("--mib", type=float, default=36.0, metavar="N", help="size of a part (default: 36)")
    parser.add_argument("--part", type=int, metavar="K", help="write this part only (default: all)")
    parser.add_argument(
        "--valid",
        metavar="MANIFEST",
        help="validation speech: its rows marked valid, else all but test (default: those of the first)",
    )
    parser.add_argument(
        "--valid-files",
        type=int,
        default=48,
        metavar="N",
        help="of the validation speech, talkers in turn; in every part, as FLAC (default: 48)",
    )
    parser.add_argument("--format", choices=["opus", "flac"], default="opus", help="(default: opus)")
    parser.add_argument("--kbit", type=float, default=32.0, metavar="N", help="kbit/s of Opus (default: 32)")
    parser.add_argument("--rate", type=int, default=16000, metavar="HZ", help="(default: 16000)")


def run(options: argparse.Namespace) -> int:
    """Pack; returns the exit code."""
    from diffsr.prepare.pack import pack
    from diffsr.prepare.pack_coding import Coding

    if not options.mib > 0:
        raise ConfigError(f"--mib {options.mib:g}: expected a size above 0.")
    with Progress("packing", "files") as progress:
        packed = pack(
            options.manifest,
            options.output,
            options.mib,
            options.part,
            options.valid,
            options.valid_files,
            Coding(options.format, options.rate, options.kbit),
            progress,
        )
    _report(packed)
    return 0


def _report(packed: Packed) -> None:
    from diffsr.prepare.pack import MIB
    from diffsr.prepare.summary import hours

    for folder, size in zip(packed.folders, packed.sizes, strict=True):
        files = packed.parts[int(folder.name.removeprefix("part-")) - 1]
        rows = [file.utterance for file in files]
        n_talkers = len({(row.corpus, row.speaker) for row in rows if row.speaker})
        say(
            f"{folder}: {size / MIB:.2f} MiB, {len(rows):,} files of training speech, {hours(rows):.2f} h, "
            f"{n_talkers} talkers"
        )
    everything = [file for part in packed.parts for file in part]
    length_s = 3600 * hours([file.utterance for file in everything])
    kbit = sum(file.n_bytes for file in everything) * 8e-3 / length_s
    say(
        f"  {len(packed.parts)} parts in all, {kbit:.1f} kbit/s; "
        f"{len(packed.valid)} files of validation speech in each"
    )
    _report_low([*everything, *packed.valid])
    if packed.n_reused:
        say(f"  {packed.n_reused:,} files were there already")
    if packed.problems:
        say(f"  left out, {len(packed.problems):,} of them:")
        say("\n".join(f"    {why}" for why in packed.problems[:_NAMED]))
    say(f"  train on it with: make train DATA={shlex.quote(str(packed.folders[0]))}")


def _report_low(files: Sequence[Coded]) -> None:
    """Tell of speech that lacks the upper band, which nobody sees in the files of a pack."""
    low = Counter(file.source_hz for file in files if file.source_hz < (file.utterance.rate_hz or 0))
    if low:
        found = ", ".join(f"{count:,} at {rate_hz} Hz" for rate_hz, count in sorted(low.items()))
        say(
            f"  {low.total():,} of {len(files):,} files had a lower rate ({found}): their upper band is "
            "empty. Leave them out, or use a lower --rate."
        )
