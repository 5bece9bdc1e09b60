"""List the recordings of a corpus in a manifest that `diffsr fit` trains on."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from diffsr.commands.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `diffsr prepare`."""
    corpora = parser.add_subparsers(dest="corpus", required=True, metavar="CORPUS")
    folder = corpora.add_parser(
        "folder", help="any folder of clean speech, one sub-folder per talker if known"
    )
    folder.add_argument("folder", help="the folder; it is searched with all its sub-folders")
    folder.add_argument("--output", help="the manifest to write (default: FOLDER/manifest.jsonl)")


def run(options: argparse.Namespace) -> int:
    """Write the manifest; returns the exit code."""
    from diffsr.prepare.folder import prepare_folder

    manifest = prepare_folder(options.folder, options.output, progress=counter("listing"))
    say(f"{manifest}\n  train on it with: make train DATA={manifest}")
    return 0


def counter(doing: str) -> Callable[[int, int], None]:
    """A progress callback `(done, total)` that keeps one line of a terminal up to date."""

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty() and (done == total or done % 10 == 0):
            sys.stderr.write(f"\r{doing}: {done}/{total} files" + ("\n" if done == total else ""))
            sys.stderr.flush()

    return show
