"""EARS (arXiv 2406.06185): 107 talkers in an anechoic room, 48 kHz, many styles of speech."""

from __future__ import annotations

import json
import re
from pathlib import Path

from diffsr.errors import DataError
from diffsr.io.manifest import Utterance
from diffsr.prepare.corpus import Corpus, Found, Selection, contents, first_with, recordings_in, subfolders

NAME = "ears"
NO_SPEECH = ("interjection", "melodic", "nonverbal", "vegetative")
"""Styles that the benchmark of the paper holds out."""
_TALKER = re.compile(r"p(\d{3})")
_TREE = """\
EARS/
  p001/                        p001 to p099: train; p100, p101: valid; p102 to p107: test
    emo_anger_sentences.wav
    rainbow_01_regular.wav
  transcripts.json             what is said; not needed"""


def find(folder: Path, selection: Selection) -> Found:
    """Recordings of all talkers that are there, with the split of the paper's benchmark.

    Raises:
        DataError: No talker is there, or one without recordings.
    """
    home = first_with(folder, ["EARS", "ears_dataset"], lambda path: bool(_talkers(path)))
    if home is None:
        raise DataError(f"No talkers p001 to p107 in {folder}, found {contents(folder)}.")
    texts = _texts(home / "transcripts.json")
    utterances = []
    n_no_speech = 0
    for talker in _talkers(home):
        paths = recordings_in(talker)
        if not paths:
            raise DataError(f"No recordings in {talker}, found {contents(talker)}.")
        for path in paths:
            if path.stem.startswith(NO_SPEECH) and not selection.everything:
                n_no_speech += 1
                continue
            utterances.append(
                Utterance(
                    id=f"{talker.name}/{path.stem}",
                    path=path,
                    speaker=talker.name,
                    split=_split(talker.name),
                    text=texts.get(path.stem),
                    corpus=NAME,
                )
            )
    return Found(folder, utterances, set_aside={"no speech (" + ", ".join(NO_SPEECH) + ")": n_no_speech})


def _talkers(home: Path) -> list[Path]:
    return [path for path in subfolders(home) if _TALKER.fullmatch(path.name)]


def _split(talker: str) -> str:
    number = int(talker[1:])
    return "train" if number < 100 else "valid" if number < 102 else "test"


def _texts(path: Path) -> dict[str, str]:
    """Texts by name of recording: all talkers read the same ones."""
    try:
        texts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # what is said is not needed
    if not isinstance(texts, dict):
        return {}
    return {name: text.strip() for name, text in texts.items() if isinstance(text, str)}


CORPUS = Corpus(NAME, "EARS", _TREE, find)
