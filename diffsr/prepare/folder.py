"""Any folder of recordings: speech, noise or room responses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from diffsr.io.manifest import Utterance, scan_folder
from diffsr.prepare.corpus import Corpus, Found, Kind, Selection


def folder_corpus(kind: Kind = "speech", name: str | None = None) -> Corpus:
    """A folder of recordings as a corpus.

    Split and talker come from the names of the sub-folders, see `diffsr.io.manifest.scan_folder`. For noise
    the name that would be the talker is the category, for responses the room.

    Args:
        kind: What the recordings are.
        name: For the column `corpus`; None for none.
    """

    def find(folder: Path, selection: Selection) -> Found:
        return Found(folder, [_as(kind, name, row) for row in scan_folder(folder)], kind)

    return Corpus(name or "folder", f"the recordings of {kind}", "", find)


def _as(kind: Kind, name: str | None, row: Utterance) -> Utterance:
    if kind == "noise":
        return replace(row, corpus=name, speaker=None, category=row.speaker)
    if kind == "response":
        return replace(row, corpus=name, speaker=None, room=row.speaker)
    return replace(row, corpus=name)
