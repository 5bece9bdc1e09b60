"""CMU ARCTIC (Kominek and Black, SSW 2004): 18 English talkers, about 1,100 sentences each, 16 kHz."""

from __future__ import annotations

import re
from pathlib import Path

from diffsr.errors import DataError
from diffsr.io.manifest import Utterance
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

NAME = "cmu_arctic"
_TALKER = re.compile(r"cmu_us_([a-z]+)_arctic")
_LINE = re.compile(r'\(\s*(\S+)\s+"(.*)"\s*\)')
_TREE = """\
ARCTIC/
  cmu_us_aew_arctic/        one folder for each talker
    wav/
      arctic_a0001.wav
    etc/
      txt.done.data         what is said; not needed"""


def find(folder: Path, selection: Selection) -> Found:
    """Recordings of the talkers that are there, or of one talker's folder; the corpus has no split.

    Raises:
        DataError: No talker is there, a wanted one is missing, or one has no recordings.
    """
    talkers = _talkers(folder)
    check_parts(selection.parts, list(talkers), "talkers")
    utterances = []
    for name in selection.parts or talkers:
        paths = recordings_in(talkers[name] / "wav")
        if not paths:
            raise DataError(f"No recordings in {talkers[name] / 'wav'}, found {contents(talkers[name])}.")
        texts = _texts(talkers[name] / "etc" / "txt.done.data")
        utterances += [
            Utterance(
                id=f"{name}/{path.stem}", path=path, speaker=name, text=texts.get(path.stem), corpus=NAME
            )
            for path in paths
        ]
    return Found(folder, utterances)


def _talkers(folder: Path) -> dict[str, Path]:
    home = first_with(folder, ["ARCTIC"], lambda path: bool(_children(path)))
    if home is not None:
        return _children(home)
    match = _TALKER.fullmatch(own_path(folder).name)
    if match:
        return {match[1]: folder}
    raise DataError(f"No talker of CMU ARCTIC in {folder}, found {contents(folder)}.")


def _children(folder: Path) -> dict[str, Path]:
    matches = ((_TALKER.fullmatch(path.name), path) for path in subfolders(folder))
    return {match[1]: path for match, path in matches if match}


def _texts(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}  # what is said is not needed
    matches = (_LINE.match(line.strip()) for line in lines)
    return {match[1]: match[2].replace('\\"', '"') for match in matches if match}


CORPUS = Corpus(NAME, "CMU ARCTIC", _TREE, find)
