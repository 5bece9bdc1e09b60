"""Which utterances train and which are held out."""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import diffsr
from diffsr.errors import DataError
from diffsr.io.manifest import MANIFEST_NAME, Utterance, read_manifest, training_rows
from diffsr.prepare.overlap import n_shared, warn_of_shared

_log = logging.getLogger(__name__)

STARTER = Path(diffsr.__file__).parent / "assets" / "starter" / "manifest.jsonl"
"""The starter corpus that ships with diffsr."""

SHARE = 0.1
"""Share of the talkers (or files) that is held out where the corpus does not say."""
_FEWEST = 4
"""Labelled talkers from which on talkers are held out from a prior, below it files."""


class Splits(NamedTuple):
    """Rows of each split; empty where the corpus has none for it."""

    train: list[Utterance]
    valid: list[Utterance]
    test: list[Utterance]


def train_and_valid(data: str, valid: str | None) -> tuple[list[Utterance], list[Utterance]]:
    """Read a corpus and split it.

    Args:
        data: Corpus; rows marked valid or test never train.
        valid: Corpus of validation speech (its rows marked valid if there are any, else all); None to
            take it from `data`: the rows marked valid, else 10 % of the labelled talkers and at least
            2, chosen by a hash of their name, else, with fewer than 4 labelled talkers, 10 % of the files
            and at least 2 (1 where there are fewer than 6).

    Warns where speech of `valid` trains too.

    Raises:
        DataError: A corpus cannot be read, or nothing is left for one side.
    """
    rows = read_manifest(data)
    train = training_rows(rows, data)
    if not train:
        raise DataError(f"{data}: all {len(rows)} rows are marked valid or test, expected some to train on.")
    if valid is not None:
        others = read_manifest(valid)
        found = [row for row in others if row.split == "valid"] or others
        advice = "Leave out data.valid to hold speech out, or give other speech."
        warn_of_shared(train, found, valid, advice)
        return train, found
    marked = [row for row in rows if row.split == "valid"]
    return (train, marked) if marked else hold_out(train, data)


def hold_out(rows: Sequence[Utterance], source: str) -> tuple[list[Utterance], list[Utterance]]:
    """Hold out talkers, or files where there are too few labelled talkers."""
    talkers = {row.speaker for row in rows if row.speaker is not None}
    if len(talkers) >= _FEWEST:
        held = _first(talkers, max(2, round(SHARE * len(talkers))))
        return [r for r in rows if r.speaker not in held], [r for r in rows if r.speaker in held]
    if len(rows) < 2:
        raise DataError(
            f"{source} holds one recording, expected at least 2: one to train on and one to validate with."
        )
    held = _first({row.id for row in rows}, _count(len(rows)))
    return [r for r in rows if r.id not in held], [r for r in rows if r.id in held]


def novelty(train: Sequence[Utterance], valid: Sequence[Utterance]) -> str:
    """How new validation speech is to what learns from `train`, for cards."""
    if n_shared(train, valid):
        return "speech that also trained"
    talkers = {row.speaker for row in valid}
    if None in talkers or talkers & {row.speaker for row in train}:
        return "held-out recordings, of talkers who may also have trained"
    return "held-out talkers"


def corpus_name(source: str) -> str:
    """What to call a corpus: its file or folder, and the folder of a `manifest.jsonl`."""
    if source == str(STARTER):
        return "starter corpus (synthetic)"
    path = Path(os.path.abspath(Path(source).expanduser()))  # a link keeps its own name
    return path.parent.name if path.name == MANIFEST_NAME else path.name


def three_ways(data: str, valid: str | None = None, test: str | None = None) -> Splits:
    """Read speech and split it so that no talker is in two splits of one corpus.

    Args:
        data: Corpus; rows marked valid or test never train.
        valid: Corpus of validation speech (its rows marked valid if there are any, else all); None to take
            it from `data`: the rows marked valid, else talkers held out.
        test: The same for test.

    Talkers are held out in the order of a hash of their names, 10 % for each split and at least 2 (1 where
    there are fewer than 6): the first for test, the next for valid. `train_and_valid` holds out the first
    ones too, so a prior trained on the same corpus has not heard the test talkers. With 1 to 3 labelled
    talkers it has, which a warning says: there `train_and_valid` holds out files. It holds out none where
    validation speech is marked or given on its own: mark or give the test speech there as well. Without
    labels, recordings take the place of talkers. Where the corpus marks a talker for several splits, test
    goes before valid and valid before train.

    Raises:
        DataError: A corpus cannot be read.
    """
    rows = read_manifest(data)
    train = training_rows(rows, data)
    unmarked = _queue(train)
    taken: set[str] = set()
    chosen = {}
    for role, source in (("test", test), ("valid", valid)):
        if source is not None and Path(source) != Path(data):
            others = read_manifest(source)
            chosen[role] = [row for row in others if row.split == role] or others
            continue
        marked = [row for row in rows if row.split == role]
        if role == "test" and not marked:
            _tell_heard(train, data, valid is not None or any(row.split == "valid" for row in rows))
        chosen[role] = _without(marked or next(unmarked), taken, role if marked else None)
        taken |= {_name(row) for row in chosen[role]}
        train = _without(train, taken, "train" if marked else None)
    _tell_shared(train, chosen)
    return Splits(train, chosen["valid"], chosen["test"])


def _queue(rows: Sequence[Utterance]) -> Iterator[list[Utterance]]:
    """Rows of the first talkers (or recordings, without labels), of the next ones, and so on."""
    names = {row.speaker for row in rows if row.speaker is not None} or {row.id for row in rows}
    count = _count(len(names))
    ordered = _first(names, len(names))
    for start in itertools.count(step=count):
        held = set(ordered[start : start + count])
        yield [row for row in rows if _name(row) in held]


def _without(rows: list[Utterance], taken: set[str], role: str | None) -> list[Utterance]:
    """The rows of other talkers; says how many are left out where the corpus itself put them here."""
    left = [row for row in rows if _name(row) not in taken]
    if role is not None and len(left) < len(rows):
        _log.warning(
            "Left out %d of %d rows marked %s: their talkers are also in another split.",
            len(rows) - len(left),
            len(rows),
            role,
        )
    return left


def _tell_heard(train: Sequence[Utterance], data: str, has_valid: bool) -> None:
    """Warn where `train_and_valid` does not keep the test talkers from a prior."""
    if has_valid:
        _log.warning(
            "%s says which speech validates and not which tests: a prior that is trained on it has heard the "
            "talkers of the test scenes. Mark rows as test in a column 'split', or give other test speech.",
            data,
        )
    n_talkers = len({row.speaker for row in train} - {None})
    if not has_valid and 1 <= n_talkers < _FEWEST:
        _log.warning(
            "%s has %d labelled talkers, too few to hold any out from a prior: one that is trained on it has "
            "heard the talker of the test scenes. Mark rows in a column 'split', or give other test speech.",
            data,
            n_talkers,
        )


def _tell_shared(train: Sequence[Utterance], chosen: Mapping[str, Sequence[Utterance]]) -> None:
    """Warn of talkers of different corpora that have the same name."""
    talkers = {row.speaker for row in train if row.speaker is not None}
    for role, rows in chosen.items():
        shared = sorted(talkers & {row.speaker for row in rows if row.speaker is not None})
        if shared:
            _log.warning(
                "%d talkers of the %s speech have names that also train (%s). If they are the same people, "
                "give one manifest with a column 'split'.",
                len(shared),
                role,
                ", ".join(shared[:3]),
            )


def _count(n_names: int) -> int:
    """How many names are held out for a split."""
    return max(2, round(SHARE * n_names)) if n_names >= 6 else 1


def _name(row: Utterance) -> str:
    return row.id if row.speaker is None else row.speaker


def _first(names: set[str], count: int) -> list[str]:
    """The first names in the order of a hash, which is the same everywhere and for every corpus."""
    return sorted(names, key=lambda name: hashlib.sha256(name.encode(errors="surrogateescape")).digest())[
        :count
    ]


def split_noise(role: str, data: str | None, other: str | None) -> list[Utterance] | None:
    """Read the noise of one split.

    Args:
        role: train, valid or test.
        data: Noise of training; rows marked valid or test never train.
        other: Noise of `role`, its rows marked so if there are any, else all; None to take the rows of
            `data` marked so, else those of training.

    Returns:
        The rows, or None without noise.

    Raises:
        DataError: A manifest cannot be read, or has no rows for training.
    """
    source = other or data
    if source is None:
        return None
    rows = read_manifest(source)
    marked = [row for row in rows if row.split == role]
    train = training_rows(rows, source)
    found = marked or (rows if other is not None and other != data else train)
    if not found:
        raise DataError(
            f"{source}: all {len(rows)} recordings are marked valid or test, expected noise to train with."
        )
    return found
