"""What a page to listen to holds: of each item the recording, its restorations and the clean reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from diffsr.errors import DataError, DiffsrError
from diffsr.evaluation.evaluate import score_files
from diffsr.evaluation.pairing import Pair, pair_files
from diffsr.evaluation.permutation import best_assignment
from diffsr.evaluation.row import Row
from diffsr.io.audio import read_audio
from diffsr.report.listening_facts import facts_beside

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
        in_order: Whether talkers of one number are the same in all tracks, so that they can be compared.
    """

    id: str
    tracks: tuple[Track, ...]
    rows: Mapping[str, Row]
    notes: tuple[str, ...]
    in_order: bool = True


@dataclass(frozen=True)
class Found:
    """Items that all systems have, and those that some lack.

    Attributes:
        items: Id -> the files of each system, in the order of their names.
        left_out: Ids of the others.
    """

    items: dict[str, dict[str, Pair]]
    left_out: list[str]

    @property
    def n_talkers(self) -> int:
        """The least that a system has."""
        return min(len(pair.est) for pair in next(iter(self.items.values())).values())


def find_items(
    systems: Mapping[str, Path],
    inputs: Path | None = None,
    clean: Path | None = None,
    talkers: Sequence[str] | None = None,
) -> Found:
    """Match the files of all systems by their names, as `diffsr evaluate` does.

    Raises:
        DataError: Paths are missing or of different kinds, or there is no item that all have.
    """
    if len({folder.is_dir() for folder in systems.values()}) > 1:
        kinds = ", ".join(f"{path} is a {'folder' if path.is_dir() else 'file'}" for path in systems.values())
        raise DataError(f"{kinds}: expected only files or only folders. Give the same kind for all.")
    by_id, known = {}, set()
    for name, folder in systems.items():
        pairing = pair_files(folder, folder if clean is None else clean, inputs, talkers)
        by_id[name] = {pair.id: pair for pair in pairing.pairs}
        known |= {*by_id[name], *sum(pairing.unmatched.values(), [])}
    if all(folder.is_file() for folder in systems.values()):  # single files may have any names
        item = next(iter(next(iter(by_id.values()))))
        return Found({item: {name: next(iter(found.values())) for name, found in by_id.items()}}, [])
    common = set.intersection(*(set(found) for found in by_id.values()))
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
    recording = [] if first.input is None else [_track(first.input, RECORDING, INPUT_ROLE)]
    clean = [
        _track(path, named(CLEAN, talker), CLEAN_ROLE, talker=talker)
        for talker, path in numbered(first.ref if has_clean else ())
    ]
    made: list[Track] = []
    in_order, model = True, clean
    for system, pair in pairs.items():
        order = _order(pair.est, model)
        tracks = list(system_tracks(system, pair.est, rows.get(system), order))
        in_order &= order is not None
        model = model or tracks  # whom the talkers of the systems that follow are compared with
        made += tracks
    if not in_order:
        notes.append("talkers of one number need not be the same in all systems")
    tracks = [*recording, *made, *clean]
    return ListeningItem(item, tuple(tracks), rows, tuple(dict.fromkeys(notes)), in_order)


def system_tracks(
    system: str, est: Sequence[Path], row: Row | None, order: Sequence[int] | None = None
) -> Iterator[Track]:
    """What a system made of an item.

    Args:
        system: Its name.
        est: A file for each talker.
        row: Scores, whose assignment orders the talkers before all else.
        order: The file of each talker, counted from 0; None leaves them in their order.

    Raises:
        AudioError: A file cannot be read.
    """
    if row is not None and len(row.assignment) == len(est):
        order = row.assignment
    files = [est[index] for index in order or range(len(est))]
    for place, (talker, path) in enumerate(numbered(files)):
        yield _track(
            path,
            named(system, talker),
            SYSTEM_ROLE,
            system,
            talker,
            scores=_scores_of(row, place) if row is not None else {},
            gains=_gains_of(row, place) if row is not None else {},
            facts=facts_beside(est[0]) if place == 0 else (),
        )


def numbered(of_talkers: Sequence[T]) -> list[tuple[int, T]]:
    """Talkers from 1 on; 0 where there is one."""
    return [(place + 1 if len(of_talkers) > 1 else 0, one) for place, one in enumerate(of_talkers)]


def named(name: str, talker: int) -> str:
    """Of a track, for people."""
    return f"{name}, talker {talker}" if talker else name


def _track(path: Path, name: str, role: str, system: str = "", talker: int = 0, **more: Any) -> Track:  # noqa: ANN401
    wave, info = read_audio(path)
    return Track(name, role, system, talker, path, wave, info.rate_hz, **more)


def _order(est: Sequence[Path], model: Sequence[Track]) -> Sequence[int] | None:
    """The file of each talker of a model that they suit best; None where that cannot be told.

    Without a model the order is that of the files, which others are compared with.
    """
    if not model or len(est) == len(model) == 1:
        return range(len(est))
    found = [read_audio(path) for path in est]
    if len(est) != len(model) or any(info.rate_hz != model[0].rate_hz for _, info in found):
        return None
    n_samples = min([wave.shape[-1] for wave, _ in found] + [track.wave.shape[-1] for track in model])
    waves = torch.stack([wave[0, :n_samples] for wave, _ in found])
    return best_assignment(waves, torch.stack([track.wave[0, :n_samples] for track in model]))


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
