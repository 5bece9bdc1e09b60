"""Noise of WHAM! (arXiv 1907.01160): cafes, bars and parks, two microphones, 16 kHz."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from diffsr.errors import DataError
from diffsr.io.manifest import Utterance
from diffsr.prepare.corpus import Corpus, Found, Selection, contents, first_with, recordings_in

NAME = "wham"
SPLITS = {"tr": "train", "cv": "valid", "tt": "test"}
_SPEED = re.compile(r"sp(08|12)$")  # LibriMix writes speed-changed copies beside the originals
_LEVELS = {"l": "low", "m": "medium", "h": "high"}
_TREE = """\
wham_noise/
  tr/                       train
    011a0101_1.2_441c020a_-1.2.wav
  cv/                       valid
  tt/                       test
  metadata/
    noise_meta_tr.csv       places and reverberation (also _cv, _tt); not needed"""


def find(folder: Path, selection: Selection) -> Found:
    """Recordings of the three sets; reverberation becomes the category, the place the room.

    Raises:
        DataError: One of the sets is not there or empty.
    """
    home = first_with(folder, ["wham_noise"], lambda path: any((path / name).is_dir() for name in SPLITS))
    if home is None:
        raise DataError(f"Neither {', '.join(SPLITS)} in {folder}, found {contents(folder)}.")
    utterances = []
    n_copies = 0
    for name in SPLITS:
        paths = recordings_in(home / name)
        if not paths:
            raise DataError(f"No recordings in {home / name}; found {contents(home)} in {home}.")
        places = _places(home / "metadata" / f"noise_meta_{name}.csv")
        originals = [path for path in paths if selection.everything or not _SPEED.search(path.stem)]
        n_copies += len(paths) - len(originals)
        utterances += [_utterance(path, name, places.get(path.stem, {})) for path in originals]
    return Found(folder, utterances, "noise", {"speed-changed copy": n_copies})


def _utterance(path: Path, name: str, place: dict[str, str]) -> Utterance:
    level = _LEVELS.get((place.get("Reverberation Level") or "").strip().lower())
    return Utterance(
        id=f"{name}/{path.stem}",
        path=path,
        split=SPLITS[name],
        category=f"{level} reverberation" if level else None,
        room=place.get("Location ID") or None,
        corpus=NAME,
    )


def _places(path: Path) -> dict[str, dict[str, str]]:
    """Rows of the table of a set by name of recording."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row.get("utterance_id")]
    except (OSError, UnicodeDecodeError, csv.Error):
        return {}  # places are not needed
    return {row["utterance_id"].removesuffix(".wav"): row for row in rows}


CORPUS = Corpus(NAME, "The noise of WHAM!", _TREE, find)
