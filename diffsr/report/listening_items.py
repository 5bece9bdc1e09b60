"""What a page to listen to holds: of each item the recording, its restorations and the clean reference."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from diffsr.errors import DataError, DiffsrError
from diffsr.evaluation.evaluate import score_files
from diffsr.evaluation.pairing import Pair, pair_files
from diffsr.evaluation.row import Row
from diffsr.io.audio import read_audio

T = TypeVar("T")
RECORDING, CLEAN = "recording", "clean"
INPUT_ROLE, SYSTEM_ROLE, CLEAN_ROLE = "input", "system", "clean"


@dataclass(frozen=True)
class Track:
    """One thing to listen to.

    Attributes:
        name: For people: a system and, of several, a talker.
        role: `input`, `system` or `clean`.
        system: The system that made it; nothing of recordings and references.
        talker: From 1 on; 0 where there is one, and of recordings.
        file: Where it is from.
        wave: Samples `[C, T]`.
        rate_hz: Their rate.
        scores: Metric -> score.
        gains: Metric -> improvement over the recording.
        facts: What the numbers beside a restoration say, in words.
    """

    name: str
    role: str
    system: str
    talker: int
    file: Path
    wave: Tensor
    rate_hz: int
    scores: Mapping[str, float] = field(default_factory=dict)
    gains: Mapping[str, float] = field(default_factory=dict)
    facts: tuple[str, ...] = ()


@dataclass(frozen=True)
class ListeningItem:
    """An item with all its tracks.

    Attributes:
        id: Its name.
        tracks: Recording, systems, clean.
        rows: Scores by system; one that could not be scored is missing.
        notes: What a listener has to know.
    """

    id: str
    tracks: tuple[Track, ...]
    rows: Mapping[str, Row]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """Items that all systems have, and those that some lack.

    Attributes:
        items: Id -> the files of each system, in the order of their names.
        left_out: Ids of the others.
    """

    items: dict[str, dict[str, Pair]]
    left_out: list[str]


def find_items(systems: Mapping[str, Path], inputs: Path | None = None, clean: Path | None = None) -> Found:
    """Match the files of all systems by their names, as `diffsr evaluate` does.

    Raises:
        DataError: Paths are missing or of different kinds, or there is no item that all have.
    """
    if len({folder.is_dir() for folder in systems.values()}) > 1:
        raise DataError("Some systems are files and some folders, expected only files or only folders.")
    pairings = {
        name: pair_files(folder, folder if clean is None else clean, inputs)
        for name, folder in systems.items()
    }
    by_id = {name: {pair.id: pair for pair in pairing.pairs} for name, pairing in pairings.items()}
    if all(folder.is_file() for folder in systems.values()):  # single files may have any names
        name = next(iter(next(iter(by_id.values()))))
        return Found({name: {system: next(iter(found.values())) for system, found in by_id.items()}}, [])
    common = set.intersection(*(set(found) for found in by_id.values()))
    known = set().union(*by_id.values(), *(sum(p.unmatched.values(), []) for p in pairings.values()))
    if not common:
        some = "; ".join(f"{systems[name]} has {next(iter(found))}" for name, found in by_id.items())
        raise DataError(f"No item is in all folders: {some} and so on. Give folders of the same recordings.")
    items = {item: {name: found[item] for name, found in by_id.items()} for item in sorted(common)}
    return Found(items, sorted(known - common))


def read_item(item: str, pairs: Mapping[str, Pair], metrics: Sequence[str], has_clean: bool) -> ListeningItem:
    """Read and score the files of an item; what cannot be scored is noted.

    Args:
        item: Its id.
        pairs: Files of each system.
        metrics: Names of the scores; none for none.
        has_clean: Whether the references are clean, not the estimates themselves.

    Raises:
        AudioError: A file cannot be read.
    """
    first = next(iter(pairs.values()))
    rows: dict[str, Row] = {}
    notes: list[str] = []
    for system, pair in pairs.items():
        try:
            if metrics:
                rows[system] = score_files(pair, metrics)
                notes += [f"{system}: {note}" for note in rows[system].notes]
        except DiffsrError as error:
            notes.append(f"{system} could not be scored: {error}")
    tracks = [] if first.input is None else [_track(first.input, RECORDING, INPUT_ROLE)]
    for system, pair in pairs.items():
        tracks += system_tracks(system, pair.est, rows.get(system))
    if has_clean:
        for talker, path in numbered(first.ref):
            tracks.append(_track(path, named(CLEAN, talker), CLEAN_ROLE, talker=talker))
    return ListeningItem(item, tuple(tracks), rows, tuple(dict.fromkeys(notes)))


def system_tracks(system: str, est: Sequence[Path], row: Row | None) -> Iterator[Track]:
    """What a system made of an item; several talkers in the order of the references, where scores tell it.

    Raises:
        AudioError: A file cannot be read.
    """
    facts = _facts(est[0])
    is_told = row is not None and len(row.assignment) == len(est)
    order = row.assignment if row is not None and is_told else range(len(est))
    for place, (talker, path) in enumerate(numbered([est[index] for index in order])):
        yield _track(
            path,
            named(system, talker),
            SYSTEM_ROLE,
            system,
            talker,
            scores=_scores_of(row, place) if row is not None else {},
            gains=_gains_of(row, place) if row is not None else {},
            facts=facts if place == 0 else (),
        )


def _track(path: Path, name: str, role: str, system: str = "", talker: int = 0, **more: Any) -> Track:  # noqa: ANN401
    wave, info = read_audio(path)
    return Track(name, role, system, talker, path, wave, info.rate_hz, **more)


def numbered(of_talkers: Sequence[T]) -> list[tuple[int, T]]:
    """Talkers from 1 on; 0 where there is one."""
    return [(place + 1 if len(of_talkers) > 1 else 0, one) for place, one in enumerate(of_talkers)]


def named(name: str, talker: int) -> str:
    """Of a track, for people."""
    return f"{name}, talker {talker}" if talker else name


def _scores_of(row: Row, place: int) -> dict[str, float]:
    """Of one talker; of a single one those of the item."""
    if row.output_by_talker:
        return {name: values[place] for name, values in row.output_by_talker.items()}
    return dict(row.output)


def _gains_of(row: Row, place: int) -> dict[str, float]:
    """Improvements of one talker over the recording, where it was scored."""
    if not row.output_by_talker:
        return {name: row.improvement(name) for name in row.input}
    by_talker = Row(
        row.id,
        row.duration_s,
        {name: values[place] for name, values in row.output_by_talker.items()},
        {name: values[place] for name, values in row.input_by_talker.items()},
    )
    return {name: by_talker.improvement(name) for name in by_talker.input}


def _facts(est: Path) -> tuple[str, ...]:
    """What `--physics` and several talkers have left beside a restoration: `a.json`, or `a.wav.json`."""
    owner = re.sub(r"\.talker\d+$", "", est.stem)
    for name in (f"{owner}.json", f"{owner}{est.suffix}.json"):
        with suppress(OSError, ValueError, RecursionError):
            told = json.loads((est.parent / name).read_text(encoding="utf-8"))
            if isinstance(told, dict) and "network_calls" in told:
                return tuple(_words(told))
    return ()


def _words(told: Mapping[str, Any]) -> Iterator[str]:
    channels = told.get("channels")
    channel = channels[0] if isinstance(channels, list) and channels and isinstance(channels[0], dict) else {}
    room, noise = (part if isinstance(part := channel.get(name), dict) else {} for name in ("room", "noise"))
    known = (scores for scores in told.get("scores") or [] if _is_number(scores))
    for value, text in (
        (room.get("rt60_s"), "T60 {:.2f} s"),
        (room.get("drr_db"), "direct to reverberant {:+.1f} dB"),
        (noise.get("level_db"), "noise {:.0f} dB"),
        (channel.get("cutoff_hz"), "cut-off {:.0f} Hz"),
        (max(known, default=None), "best restart scores {:.2f}"),
        (told.get("confidence"), "confidence {:.2f}"),
    ):
        if _is_number(value):
            yield text.format(value)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
