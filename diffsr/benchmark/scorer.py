"""Scoring the estimates of a run against references that are rendered again from the list."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import diffsr
from diffsr.benchmark.data import sexes_of_files
from diffsr.benchmark.items import Item, ItemList, checksum
from diffsr.benchmark.room_scores import FACTS as ROOM_FACTS
from diffsr.benchmark.scenes import Rendered, render_item
from diffsr.benchmark.store import SystemPlace, TrackPlace, append_row, read_rows
from diffsr.errors import DataError, DiffsrError
from diffsr.evaluation.item import Item as Scored
from diffsr.evaluation.item import score_item
from diffsr.evaluation.metrics import ALL_METRICS, TALKER_METRICS
from diffsr.evaluation.results import Row
from diffsr.io.audio import read_audio
from diffsr.simulation.plan import MeasuredRoom, columns

OnProgress = Callable[[int, int, str], None]
NEED_EXACT_TARGET = frozenset(
    {"si_sdr_db", "sdr_db", "si_sdr_aligned_db", "delay_ms", "gain_db", *TALKER_METRICS}
)
"""Not for measured responses, whose direct path is not clean enough."""
_SCORERS = ("torchmetrics", "pesq", "pystoi", "speechmos", "onnxruntime", "gammatone")
"""Packages that compute scores; some are optional."""
_FACTS = ("seconds", "rtf", "calls", "memory_mib", *ROOM_FACTS)


@dataclass(frozen=True)
class SystemScores:
    """Scores of a system on the items of a list.

    Attributes:
        label: The system.
        n_items: How many items were asked for.
        rows: Those that were scored.
        missing: Those without an estimate, id -> why, if it is known.
        failed: Those whose estimate cannot be scored, id -> reason.
        facts: What the estimates took, id -> seconds, rtf, calls, memory_mib, and
            T60 and DRR of an estimated room.
    """

    label: str
    n_items: int
    rows: list[Row]
    missing: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)


def score_system(
    found: ItemList,
    items: Sequence[Item],
    folder: Path,
    place: TrackPlace,
    label: str,
    metrics: Sequence[str],
    on_progress: OnProgress | None = None,
) -> SystemScores:
    """Score what is there; scores of unchanged estimates are taken from the last time.

    Those of another version of diffsr or of a package that computes them are made again.

    Args:
        found: The list.
        items: Those of its items to score.
        folder: The data folder.
        place: Where the results of the track are.
        label: Whose estimates.
        metrics: Names of scores.
        on_progress: Called before each item that has to be scored and at the end with (finished, all, id);
            the others are finished from the beginning.

    Raises:
        DataError: An item cannot be rendered.
        ConfigError: A metric is unknown, or its package is missing.
    """
    at = place.system(label)
    facts = {row["id"]: row for row in read_rows(at.facts) if "id" in row}
    sexes = sexes_of_files(folder, found.split)
    work = _Work(found, folder, place, at, metrics)
    scores = SystemScores(label, len(items), [], facts=facts)
    waiting = {item.id for item in items if at.has(item) and not work.has_scored(item)}
    n_done = len(items) - len(waiting)
    for item in items:
        if on_progress is not None and item.id in waiting:
            on_progress(n_done, len(items), f"{label} {item.id}")
            n_done += 1
        if not at.has(item):
            scores.missing[item.id] = str(facts.get(item.id, {}).get("problem", ""))
            continue
        try:
            row = work.score(item)
        except _CannotScore as error:
            scores.failed[item.id] = str(error)
            continue
        known = {name: facts.get(item.id, {}).get(name) for name in _FACTS}
        parameters = {"system": label, **parameters_of(found, item, sexes), **known}
        scores.rows.append(replace(row, parameters=parameters, groups=item.plan.speakers))
    if on_progress is not None:
        on_progress(len(items), len(items), label)
    return scores


def choose_labels(found: ItemList, place: TrackPlace, names: Sequence[str]) -> list[str]:
    """Folders of the systems of these names; of all systems that were run, where none is named.

    Raises:
        DataError: One was not run.
    """
    there = place.labels()
    unknown = [name for name in names if not place.labels_of(name)]
    if unknown or not there:
        what = f"no estimates of {', '.join(unknown)}" if unknown else "no estimates"
        raise DataError(
            f"{place.folder} holds {what} (there: {', '.join(there) or 'none'}). Run the system first: "
            f"diffsr benchmark run --track {found.track} --split {found.split} --data DIR --system NAME"
        )
    return list(dict.fromkeys(label for name in names for label in place.labels_of(name))) or there


def parameters_of(
    found: ItemList, item: Item, sexes: Mapping[str, str]
) -> dict[str, str | int | float | bool | None]:
    """What made an item, for the columns of the file of scores.

    Args:
        found: The list.
        item: One of its items.
        sexes: Path of a file, as the list spells it -> F or M.
    """
    of_talkers = [sexes.get(talker.path) for talker in item.plan.talkers]
    is_known = len(of_talkers) > 1 and None not in of_talkers
    return {
        "track": found.track,
        "split": found.split,
        "pair": item.pair,
        "response": item.response,
        "subset": item.subset,
        "sexes": "+".join(sorted(filter(None, of_talkers))) if is_known else None,
        **columns(item.plan),
    }


class _CannotScore(Exception):  # noqa: N818
    """An estimate that does not fit its item."""


@dataclass
class _Work:
    """Scores one item at a time and keeps what it found."""

    found: ItemList
    folder: Path
    place: TrackPlace
    at: SystemPlace
    metrics: Sequence[str]

    def __post_init__(self) -> None:
        self._same = {"list": self.found.digest, "scored_with": _scored_with()}
        self._inputs_file = self.place.folder / "inputs.jsonl"
        self._inputs = _kept(self._inputs_file, self._same)
        self._outputs = _kept(self.at.scores, self._same)

    def has_scored(self, item: Item) -> bool:
        """Whether nothing is left to compute for an item."""
        try:
            names, of_input = self._names(item)
        except _CannotScore:
            return True
        output, before = self._known(item, self._key(item))
        return not (_lacking(output, names) or _lacking(before, of_input))

    def score(self, item: Item) -> Row:
        """Scores of the estimate with those of the observation beside them.

        Raises:
            _CannotScore: The estimate is unreadable or of another shape.
        """
        names, of_input = self._names(item)
        key = self._key(item)
        output, before = self._known(item, key)
        if _lacking(output, names) or _lacking(before, of_input):
            rendered = render_item(item, self.folder, self.found)
            est = self._read(item)
            mixture = rendered.observation[:1].expand_as(rendered.reference)
            before = self._complete(before, mixture, rendered, of_input, self._inputs_file, "")
            output = self._complete(output, est, rendered, names, self.at.scores, key)
        assert output is not None  # both are complete now
        assert before is not None
        return _joined(output, before, names)

    def _names(self, item: Item) -> tuple[list[str], list[str]]:
        """Scores of the estimate and of the observation of an item."""
        is_measured = isinstance(item.plan.room, MeasuredRoom)
        names = [name for name in self.metrics if not (is_measured and name in NEED_EXACT_TARGET)]
        if not names:
            raise _CannotScore("None of the scores that are asked for is defined in a measured room.")
        return names, [name for name in names if ALL_METRICS[name].of_input] or ["si_sdr_db"]

    def _key(self, item: Item) -> str:
        """Checksums of the estimates."""
        return " ".join(checksum(path) for path in self.at.estimates(item))

    def _known(self, item: Item, key: str) -> tuple[Row | None, Row | None]:
        """What the estimate and the observation scored before; of another estimate nothing is known."""
        kept, before = self._outputs.get(item.id), self._inputs.get(item.id)
        return kept[1] if kept and kept[0] == key else None, before[1] if before else None

    def _read(self, item: Item) -> Tensor:
        """The estimates [S, T] of an item."""
        waves = []
        for path in self.at.estimates(item):
            try:
                wave, info = read_audio(path)
            except DiffsrError as error:
                raise _CannotScore(str(error)) from error
            n_samples, rate_hz = item.plan.n_samples, item.plan.rate_hz
            if (*wave.shape, info.rate_hz) != (1, n_samples, rate_hz):
                raise _CannotScore(
                    f"{path} has {wave.shape[0]} channels of {wave.shape[1]} samples at {info.rate_hz} Hz, "
                    f"expected 1 of {n_samples} at {rate_hz} Hz, as long as the recording. Remove it and run "
                    "the system again."
                )
            waves.append(wave[0])
        return torch.stack(waves)

    def _complete(
        self, kept: Row | None, est: Tensor, rendered: Rendered, names: Sequence[str], path: Path, key: str
    ) -> Row:
        """The row with the scores that it lacks; kept on disk as soon as it has them."""
        lacking = _lacking(kept, names)
        if kept is not None and not lacking:
            return kept
        item = rendered.item
        row = score_item(est, rendered.reference, item.plan.rate_hz, metrics=lacking, item=Scored(id=item.id))
        if kept is not None:
            row = replace(
                row,
                output={**kept.output, **row.output},
                output_by_talker={**kept.output_by_talker, **row.output_by_talker},
                notes=tuple(dict.fromkeys((*kept.notes, *row.notes))),
            )
        append_row(path, {"id": item.id, **self._same, "estimate": key, "row": row.to_dict()})
        return row


def _scored_with() -> str:
    """Versions of diffsr and of the packages that compute scores: those of others are not compared."""
    found = [f"diffsr {diffsr.__version__}"]
    for name in _SCORERS:
        with contextlib.suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return ", ".join(found)


def _kept(path: Path, same: Mapping[str, str]) -> dict[str, tuple[str, Row]]:
    """Rows with the same list and versions that were scored before, id -> (checksum of the estimate, row)."""
    kept = {}
    for line in read_rows(path):
        try:
            if all(line[name] == value for name, value in same.items()):
                kept[line["id"]] = (line["estimate"], Row.from_dict(line["row"]))
        except (KeyError, TypeError, AttributeError):
            continue  # written by another version: scored again
    return kept


def _lacking(row: Row | None, names: Sequence[str]) -> list[str]:
    """Scores that a row does not have."""
    return [name for name in names if row is None or name not in row.output]


def _joined(output: Row, before: Row, names: Sequence[str]) -> Row:
    """Scores of the estimate and of the observation in one row, those that were asked for."""

    def chosen(scores: Mapping[str, Any]) -> dict[str, Any]:
        return {name: scores[name] for name in names if name in scores}

    return replace(
        output,
        output=chosen(output.output),
        input=chosen(before.output),
        output_by_talker=chosen(output.output_by_talker),
        input_by_talker=chosen(before.output_by_talker),
    )


def missing_of(scores: Sequence[SystemScores]) -> int:
    """How many estimates are missing or cannot be scored, over all systems."""
    return sum(len(system.missing) + len(system.failed) for system in scores)
