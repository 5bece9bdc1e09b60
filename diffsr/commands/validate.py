"""Score a prior on speech: denoising loss and SI-SDR, with its cost.

The crops are the same at every call and for every prior of one sampling rate. With --output FILE.md the
scores of each crop are kept in FILE.crops.jsonl, and an interrupted run continues where it stopped. With
--config in place of --prior the validation data of an experiment file are used, through Lightning.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from diffsr.commands.terminal import Progress, note, say
from diffsr.errors import ConfigError, DataError
from diffsr.io.atomic import write_text

if TYPE_CHECKING:
    from data_modules.crops import ValidCrops
    from diffsr.diffusion import Prior
    from diffsr.io.manifest import Utterance
    from diffsr.report.crop_scores import ScoreFile
    from diffsr.report.prior_quality import PriorQuality

SUFFIXES = (".md", ".csv")
MOST_PADDING = 0.1
"""Share of a crop that may be silence that was put in."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `diffsr validate --prior`."""
    parser.epilog = (
        "To score with the validation data of an experiment instead: diffsr validate --config FILE, such as "
        "runs/EXPERIMENT/HASH/config.yaml; diffsr validate --config FILE --help shows its options."
    )
    parser.add_argument(
        "--prior",
        required=True,
        metavar="PRIOR",
        help="a prior folder, a run folder, or a checkpoint of `diffsr fit`",
    )
    parser.add_argument(
        "--data", required=True, metavar="MANIFEST", help="clean speech: .csv, .jsonl or a folder"
    )
    parser.add_argument(
        "--split", help="rows of MANIFEST to use: train, valid or test (those marked valid, else all)"
    )
    parser.add_argument(
        "--crop_s", default="8.192,4.096", metavar="SECONDS", help="lengths of crops (8.192,4.096)"
    )
    parser.add_argument("--count", type=int, default=48, help="crops of each length, at most (48)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument(
        "--output", metavar="FILE", help="also write the table: .md or .csv; continues an interrupted run"
    )


def run(options: argparse.Namespace) -> int:
    """Print the table; returns the exit code."""
    output = None if options.output is None else Path(options.output)
    if output is not None and output.suffix not in SUFFIXES:
        raise ConfigError(f"--output {output}: expected a name ending in .md or .csv.")
    if options.count < 1:
        raise ConfigError(f"--count {options.count}: expected at least 1.")
    lengths_s = _lengths(options.crop_s)
    from diffsr.api import load_prior
    from diffsr.diffusion.devices import move_to
    from diffsr.report.crop_scores import ScoreFile
    from diffsr.report.prior_table import PriorTable

    prior = load_prior(options.prior)
    move_to(options.device, prior)
    kept = ScoreFile(None if output is None else output.with_suffix(".crops.jsonl"))
    rows, what = choose_rows(options.data, options.split)
    crops = fixed_crops(rows, prior, lengths_s, options.count)
    table = PriorTable.of(prior, options.prior, what, measure_crops(prior, crops, kept))
    try:
        if output is not None:
            write_text(output, table.to_csv() if output.suffix == ".csv" else table.to_markdown())
    finally:
        say(table.to_text())
    return 0


def _lengths(text: str) -> list[float]:
    """Lengths in seconds, as the option spells them."""
    try:
        lengths_s = [float(part) for part in text.split(",")]
    except ValueError:
        lengths_s = []
    if not lengths_s or not all(0.1 <= length_s <= 600.0 for length_s in lengths_s):
        raise ConfigError(
            f"--crop_s {text}: expected lengths in seconds from 0.1 to 600, such as 8.192,4.096."
        )
    return lengths_s


def choose_rows(manifest: str, split: str | None) -> tuple[list[Utterance], str]:
    """The rows to score on, and what to call them."""
    from diffsr.io.manifest import read_manifest

    rows = read_manifest(manifest)
    name = Path(manifest).name
    marked = [row for row in rows if row.split == (split or "valid")]
    if split is not None and not marked:
        found = ", ".join(sorted({row.split for row in rows if row.split})) or "none"
        raise DataError(f"{manifest}: no row is marked {split} (splits found: {found}). Leave out --split.")
    return (marked, f"{name}, rows marked {split or 'valid'}") if marked else (rows, name)


def fixed_crops(
    rows: Sequence[Utterance], prior: Prior, lengths_s: Sequence[float], count: int
) -> list[ValidCrops]:
    """Crops of each length at the rate and level of the prior; the speech is decoded once."""
    from data_modules.corpus import Corpus
    from data_modules.crops import CropMaker, ValidCrops

    speakers = sorted({row.speaker for row in rows if row.speaker is not None})
    corpus = Corpus(rows, prior.rate_hz, speakers)
    found = []
    for length_s in lengths_s:
        maker = CropMaker(corpus, prior.rate_hz, round(length_s * prior.rate_hz), prior.sigma_data)
        found.append(ValidCrops(maker, count))
        if not len(found[-1]):
            raise DataError(f"The speech gives no crop of {length_s:g} s that is not mostly a pause.")
        if n_padded := sum(found[-1].padding(number) > MOST_PADDING for number in range(len(found[-1]))):
            note(
                f"{n_padded} of {len(found[-1])} crops of {length_s:g} s are filled up with silence, as the "
                "recordings are shorter and no others are labelled as of the same talkers: scores are too "
                "good. Give shorter crops (--crop_s), or a column 'speaker'."
            )
    return found


def measure_crops(prior: Prior, crops: Sequence[ValidCrops], kept: ScoreFile) -> list[PriorQuality]:
    """Quality for each length, with one line of progress."""
    from diffsr.report.prior_quality import measure

    n_crops = sum(len(part) for part in crops)
    results: list[PriorQuality] = []
    with Progress("scoring", "crops") as progress:
        progress(0, n_crops)
        n_before = 0
        for part in crops:
            waves = [part[index]["wave"] for index in range(len(part))]
            tell = partial(_tell, progress, n_before, n_crops)
            results.append(measure(prior, waves, _talkers(part), kept, tell))
            n_before += len(part)
    return results


def _tell(progress: Progress, n_before: int, n_crops: int, n_done: int) -> None:
    progress(n_before + n_done, n_crops)


def _talkers(crops: ValidCrops) -> list[str]:
    """Who speaks in each crop; a recording without a label stands for itself."""
    utterances = [crops.maker.corpus.utterances[index] for index, _ in crops.items]
    return [row.id if row.speaker is None else row.speaker for row in utterances]
