"""Which utterances train and which are held out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from diffsr.errors import DataError
from diffsr.io.manifest import Utterance, read_manifest

SHARE = 0.1
"""Share of the talkers (or files) that is held out where the corpus does not say."""


def train_and_valid(data: str, valid: str | None) -> tuple[list[Utterance], list[Utterance]]:
    """Read a corpus and split it.

    Args:
        data: Corpus; rows marked valid or test never train.
        valid: Corpus of validation speech (its rows marked valid if there are any, else all); None to
            take it from `data`: the rows marked valid, else 10 % of the labelled talkers and at least
            2, chosen by a hash of their name, else, with fewer than 4 labelled talkers, 10 % of the files.

    Raises:
        DataError: A corpus cannot be read, or nothing is left for one side.
    """
    rows = read_manifest(data)
    train = [row for row in rows if row.split not in ("valid", "test")]
    if not train:
        raise DataError(f"{data}: all {len(rows)} rows are marked valid or test, expected some to train on.")
    if valid is not None:
        others = read_manifest(valid)
        return train, [row for row in others if row.split == "valid"] or others
    marked = [row for row in rows if row.split == "valid"]
    return (train, marked) if marked else hold_out(train, data)


def hold_out(rows: Sequence[Utterance], source: str) -> tuple[list[Utterance], list[Utterance]]:
    """Hold out talkers, or files where there are too few labelled talkers."""
    talkers = {row.speaker for row in rows if row.speaker is not None}
    if len(talkers) >= 4:
        held = _first(talkers, max(2, round(SHARE * len(talkers))))
        return [r for r in rows if r.speaker not in held], [r for r in rows if r.speaker in held]
    if len(rows) < 2:
        raise DataError(
            f"{source} holds one recording, expected at least 2: one to train on and one to validate with."
        )
    held = _first({row.id for row in rows}, max(1, round(SHARE * len(rows))))
    return [r for r in rows if r.id not in held], [r for r in rows if r.id in held]


def _first(names: set[str], count: int) -> set[str]:
    return set(sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())[:count])
