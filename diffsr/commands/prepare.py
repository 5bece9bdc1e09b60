"""List the recordings of a corpus in a manifest that `diffsr fit` trains on."""

from __future__ import annotations

import argparse
import importlib
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from diffsr.commands.terminal import Parser, Progress, note, say
from diffsr.errors import ConfigError
from diffsr.io.paths import named_path

if TYPE_CHECKING:
    from diffsr.prepare.build import Prepared
    from diffsr.prepare.corpus import Corpus

HELP = {
    "folder": "any folder of clean speech, one sub-folder per talker if known",
    "librispeech": "LibriSpeech, or one subset of it",
    "vctk": "VCTK 0.92 or the corpus before it",
    "wsj0": "WSJ0: si_tr_s, si_dt_05, si_et_05",
    "wham": "the noise of WHAM!",
    "whamr": "the mixtures of WHAMR!",
    "ears": "EARS",
    "dns": "the DNS Challenge: clean speech, noise or room responses",
    "cmu_arctic": "CMU ARCTIC",
}
OTHER = {
    "rooms": "rooms for simulated scenes",
    "checkpoint": "a prior that another project published",
    "pack": "speech in small folders, to train from on another machine",
    "calibration": "how uncertain a prior is, measured on clean speech",
}
"""Sub-verbs that list no corpus; each has its module."""
_DOWNLOADS = {"librispeech": "a subset", "vctk": "", "cmu_arctic": "a talker"}
_EVERYTHING = {
    "vctk": "the second microphone as well",
    "wham": "speed-changed copies as well",
    "ears": "coughs, cries and singing as well",
    "dns": "singing as well",
}


class _SubParser(Parser):
    """The parser of a sub-command; with a `module`, that one has the options and is imported when used."""

    module: str | None = None

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Add the options of the module, then parse."""
        if self.module is not None:
            command = importlib.import_module(self.module)
            command.add_arguments(self)
            self.set_defaults(run=command.run)
        return super().parse_known_args(args, namespace)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `diffsr prepare`."""
    corpora = parser.add_subparsers(dest="corpus", required=True, metavar="CORPUS", parser_class=_SubParser)
    for name, text in HELP.items():
        _add_corpus(corpora.add_parser(name, help=text, description=text), name)
    for name, text in OTHER.items():
        corpora.add_parser(name, help=text).module = f"diffsr.commands.prepare_{name}"


def run(options: argparse.Namespace) -> int:
    """Write the manifest; returns the exit code."""
    if options.corpus in OTHER:
        return int(options.run(options))
    from diffsr.prepare.build import prepare
    from diffsr.prepare.corpus import Selection

    _check_output(options.output)
    parts = tuple(dict.fromkeys(getattr(options, "parts", None) or ()))
    folder = _download(options) if getattr(options, "download", False) else options.folder
    with Progress("counting" if options.dry_run else "listing", "files") as progress:
        prepared = prepare(
            _corpus(options),
            folder,
            options.output,
            Selection(parts, getattr(options, "everything", False)),
            options.quick,
            options.dry_run,
            progress,
        )
    _report(prepared)
    return 0


def _add_corpus(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument("folder", help="where it lies" + " or will lie" * (name in _DOWNLOADS))
    parser.add_argument("--output", metavar="FILE", help="the manifest (default: FOLDER/manifest.jsonl)")
    parser.add_argument(
        "--quick", action="store_true", help="read headers only: no speech spans, no checksums"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be listed, write nothing")
    if name == "folder":
        parser.add_argument("--kind", choices=["speech", "noise", "response"], default="speech")
        parser.add_argument("--name", help="what to call the corpus in the manifest")
    if name in ("librispeech", "cmu_arctic"):
        what, example = ("subsets", "train-clean-100") if name == "librispeech" else ("talkers", "slt")
        parser.add_argument(
            "--subset",
            dest="parts",
            nargs="+",
            metavar="NAME",
            help=f"{what} (default: all), such as {example}",
        )
    if name == "whamr":
        parser.add_argument("--part", dest="parts", nargs="+", metavar="VERSION", help="such as wav8k/min")
    if name == "dns":
        parser.add_argument(
            "--part", dest="parts", nargs=1, choices=["clean", "noise", "rir"], help="(default: clean)"
        )
    if name in _EVERYTHING:
        parser.add_argument("--all", dest="everything", action="store_true", help=_EVERYTHING[name])
    if name in _DOWNLOADS:
        needs = f"; needs {_DOWNLOADS[name]} by --subset" if _DOWNLOADS[name] else ""
        parser.add_argument(
            "--download", action="store_true", help=f"fetch it first if it is not there{needs}"
        )


def _corpus(options: argparse.Namespace) -> Corpus:
    from diffsr.prepare.corpora import CORPORA
    from diffsr.prepare.folder import folder_corpus

    if options.corpus == "folder":
        return folder_corpus(options.kind, options.name)
    return CORPORA[options.corpus]


def _check_output(output: str | None) -> None:
    """How a manifest is read goes by its suffix."""
    if (
        output is not None
        and named_path(output).suffix.lower() != ".jsonl"
        and not named_path(output).is_dir()
    ):
        raise ConfigError(f"--output {output}: expected a name that ends in .jsonl.")


def _download(options: argparse.Namespace) -> str:
    from diffsr.prepare.download import SOURCES, download

    if options.dry_run:
        raise ConfigError(
            "--download and --dry-run exclude each other: a dry run writes nothing. Leave one out."
        )
    parts = getattr(options, "parts", None) or []
    return str(download(SOURCES[options.corpus], options.folder, parts, note))


def _report(prepared: Prepared) -> None:
    from diffsr.prepare.summary import summary

    dry = prepared.sha256 is None
    say(f"{prepared.manifest}" + " (dry run, nothing is written)" * dry)
    say("\n".join(f"  {line}" for line in summary(prepared).splitlines()))
    if prepared.n_reused:
        say(f"  {prepared.n_reused:,} files had been measured before")
    if not dry:
        say(f"  sha256 {prepared.sha256}")
    if prepared.kind == "speech" and not dry:
        data = shlex.quote(str(prepared.manifest))
        say(f"  train on it with: make train EXP=prior/speech-16k-fast DATA={data}")
