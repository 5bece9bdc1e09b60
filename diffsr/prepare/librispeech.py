"""LibriSpeech (Panayotov et al., ICASSP 2015): read audio books, 16 kHz FLAC with transcripts."""

from __future__ import annotations

import re
from pathlib import Path

from diffsr.errors import DataError
from diffsr.io.manifest import Utterance, split_of
from diffsr.prepare.corpus import (
    Corpus,
    Found,
    Selection,
    check_parts,
    contents,
    first_with,
    own_path,
    recordings_in,
    subfolders,
)

NAME = "librispeech"
_SUBSET = re.compile(r"(train|dev|test)-(clean|other)(-\d+)?")
_TREE = """\
LibriSpeech/
  train-clean-100/          subsets: train-clean-100, train-clean-360, train-other-500,
    103/                             dev-clean, dev-other, test-clean, test-other
      1240/
        103-1240-0000.flac  speaker-chapter-number
        103-1240.trans.txt  what is said"""


def find(folder: Path, selection: Selection) -> Found:
    """Recordings of the root, of the folder above it, or of one subset.

    Raises:
        DataError: No subset is there, a wanted one is missing, or one has no speakers.
    """
    subsets = _subsets(folder)
    check_parts(selection.parts, list(subsets), "subsets")
    utterances = []
    for name in selection.parts or subsets:
        utterances += _utterances(subsets[name])
    return Found(folder, utterances)


def _subsets(folder: Path) -> dict[str, Path]:
    home = first_with(folder, ["LibriSpeech"], lambda path: bool(_children(path)))
    if home is not None:
        return _children(home)
    name = own_path(folder).name
    if _SUBSET.fullmatch(name):
        return {name: folder}
    raise DataError(f"No subset of LibriSpeech in {folder}, found {contents(folder)}.")


def _children(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in subfolders(folder) if _SUBSET.fullmatch(path.name)}


def _utterances(subset: Path) -> list[Utterance]:
    split = split_of(own_path(subset).name)
    utterances = []
    for speaker in subfolders(subset):
        for chapter in subfolders(speaker) if speaker.name.isdigit() else []:
            texts = _texts(chapter / f"{speaker.name}-{chapter.name}.trans.txt")
            utterances += [
                Utterance(
                    id=path.stem,
                    path=path,
                    speaker=speaker.name,
                    split=split,
                    text=texts.get(path.stem),
                    corpus=NAME,
                )
                for path in recordings_in(chapter)
            ]
    if not utterances:
        raise DataError(f"The subset {subset} has no recordings of speakers, found {contents(subset)}.")
    return utterances


def _texts(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}  # what is said is not needed
    return {name: text for name, _, text in (line.partition(" ") for line in lines)}


CORPUS = Corpus(NAME, "LibriSpeech", _TREE, find)
