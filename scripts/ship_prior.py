"""Put a trained prior into the repository: weights in bfloat16, calibration, scores and card.

    python scripts/ship_prior.py OUT/piece speech-16k-fast --valid speech_valid.csv --test speech_test.csv \
        --note "the talker is told for 70 % of the crops"

START is what a piece of the training left (docs/training.md) or a prior folder. The scores are those of the
weights as stored. A prior of the same name is replaced only by one with a lower validation loss, since the
history of the repository keeps every version. The corpora of the card are those of `speech_licences.md`.
"""

from __future__ import annotations

import argparse
import csv
import io
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffsr.cli import main as diffsr
from diffsr.commands.validate import choose_rows, fixed_crops, measure_crops
from diffsr.diffusion import Prior
from diffsr.diffusion.pieces import read_start
from diffsr.networks.cost import gflop_per_second
from diffsr.report.crop_scores import ScoreFile
from diffsr.report.prior_table import PriorTable

ROOT = Path(__file__).resolve().parents[1]
PRIORS = ROOT / "diffsr" / "assets" / "priors"
LICENCES = Path(__file__).with_name("speech_licences.md")
LENGTHS_S, N_CROPS = (8.192, 4.096), 48
SCORES = "scores_valid.csv"


def main() -> int:
    options = parse()
    start = read_start(options.start)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / options.name
        trained = Prior.from_config(start.config, options.start)
        trained.load_state_dict(start.average)
        trained.save_pretrained(folder, dtype="bfloat16")
        if diffsr(["prepare", "calibration", str(folder), "--data", options.valid]):
            return 1
        prior = Prior.from_pretrained(folder)
        valid, test = (table(prior, options.name, data) for data in (options.valid, options.test))
        target = PRIORS / options.name
        if not options.replace and (target / SCORES).is_file() and not better(valid, target / SCORES):
            sys.stderr.write(f"{target} has the lower validation loss and stays. --replace replaces it.\n")
            return 1
        (folder / SCORES).write_text(valid.to_csv(), encoding="utf-8")
        text = card(prior, options.name, start.history, (valid, test), options.note)
        (folder / "README.md").write_text(text, encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(folder, target)
    return 0


def table(prior: Prior, name: str, data: str) -> PriorTable:
    """Scores of a prior on the fixed crops of a manifest, as `diffsr validate --prior` gives them."""
    rows, what = choose_rows(data, None)
    crops = fixed_crops(rows, prior, LENGTHS_S, N_CROPS)
    return PriorTable.of(prior, name, what, measure_crops(prior, crops, ScoreFile(None)))


def better(new: PriorTable, old: Path) -> bool:
    """Whether the mean loss over all lengths of crops is lower."""
    with old.open(encoding="utf-8") as file:
        before = [float(row["mean"]) for row in csv.DictReader(file) if row["quantity"] == "loss"]
    after = [
        float(row["mean"]) for row in csv.DictReader(io.StringIO(new.to_csv())) if row["quantity"] == "loss"
    ]
    return sum(after) / len(after) < sum(before) / len(before)


def card(
    prior: Prior, name: str, history: Sequence[Mapping[str, Any]], tables: Sequence[PriorTable], note: str
) -> str:
    """The README.md of the folder, with the head that model hubs read."""
    network = dict(prior.config["network"])
    n_parameters = sum(parameter.numel() for parameter in prior.parameters())
    told = f", embedding of the talker: {prior.speaker_width} numbers" if prior.speaker_width else ""
    facts = {
        "Network": f"{network.pop('name')} ({', '.join(f'{k} {v}' for k, v in network.items())})",
        "Parameters": f"{n_parameters / 1e6:.2f} M, stored in bfloat16, computed in float32",
        "Cost": f"{gflop_per_second(prior.network, prior.rate_hz):.2f} GFLOP per second of audio and call",
        "Input": f"{prior.rate_hz} Hz, active-speech RMS {prior.sigma_data:g}{told}",
        "Context": f"{prior.window_s:g} s; longer recordings in overlapping windows",
        "Speech": str(history[-1]["data"]) if history else "see below",
    }
    return "\n".join(
        [
            *(
                "---",
                "license: cc-by-4.0",
                "library_name: diffsr",
                "tags: [speech, diffusion, prior]",
                "---",
                "",
            ),
            f"# {name}",
            "",
            "A diffusion model of clean speech: the prior with which diffsr restores recordings. Its",
            f"`Prior.denoise` is E[speech | speech + noise]. `diffsr.load_prior({name!r})` loads it.",
            *("", "| | |", "| --- | --- |", *(f"| {title} | {text} |" for title, text in facts.items()), ""),
            *training(history, note),
            *(
                "## Scores",
                "",
                "Of the stored weights on talkers that it has not heard. Chosen on valid, reported on test.",
            ),
            *(line for found in tables for line in ("", replace(found, prior=name).to_markdown().rstrip())),
            "",
            "![True and predicted error of the estimate](calibration.png)",
            "",
            LICENCES.read_text(encoding="utf-8"),
        ]
    )


def training(history: Sequence[Mapping[str, Any]], note: str) -> list[str]:
    """What was trained, where and for how long."""
    rows = [
        f"| {n} | {piece['steps']:,} | {piece['crops']:,} | {piece['minutes']:.0f} | {piece['schedule']} "
        f"| {piece['learning_rate']:g} | {piece['hardware']} |"
        for n, piece in enumerate(history, start=1)
    ]
    steps, minutes = (sum(piece[key] for piece in history) for key in ("steps", "minutes"))
    return [
        "## Training",
        "",
        f"{steps:,} steps in {minutes:.0f} minutes.{' ' + note if note else ''}",
        "",
        "| piece | steps | crops | minutes | learning rate | peak | hardware |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *rows,
        "",
    ]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("start", metavar="START")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--valid", required=True, help="manifest to calibrate and to choose on")
    parser.add_argument("--test", required=True, help="manifest to report on")
    parser.add_argument("--note", default="", help="a sentence for the card about the training")
    parser.add_argument("--replace", action="store_true", help="replace the shipped prior in any case")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
