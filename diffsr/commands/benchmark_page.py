"""A page to listen to the systems that a benchmark has scored, beside recording and reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from diffsr.benchmark.items import Item, ItemList
from diffsr.benchmark.scenes import render_item
from diffsr.benchmark.scorer import SystemScores
from diffsr.benchmark.store import TrackPlace
from diffsr.errors import DataError
from diffsr.evaluation.metrics import TALKER_METRICS
from diffsr.evaluation.row import Row
from diffsr.report.listening import write_page
from diffsr.report.listening_items import (
    CLEAN,
    CLEAN_ROLE,
    INPUT_ROLE,
    RECORDING,
    ListeningItem,
    Track,
    named,
    numbered,
    system_tracks,
)

T = TypeVar("T")
UNPROCESSED = "unprocessed"
MOST_ITEMS = 20
"""Of a page, which holds the sound of all of them."""


def write_benchmark_page(
    path: str | Path,
    found: ItemList,
    items: Sequence[Item],
    folder: Path,
    place: TrackPlace,
    scores: Sequence[SystemScores],
) -> int:
    """Write the page of the first items that all systems have, and tell how many these are.

    Raises:
        AudioError: A file of the data or an estimate cannot be read.
        DataError: No item has estimates of all systems, or the page cannot be written.
    """
    others = [system for system in scores if system.label != UNPROCESSED]  # it is the recording
    rows = {system.label: {row.id: _plain(row) for row in system.rows} for system in others or scores}
    shown = [item for item in items if all(item.id in scored for scored in rows.values())][:MOST_ITEMS]
    if not shown:
        raise DataError("No item has estimates of all systems, so there is no page. Run them first.")
    pages = [
        _item(item, found, folder, place, {label: scored[item.id] for label, scored in rows.items()})
        for item in shown
    ]
    title = f"{found.track}, {found.split} list, {len(shown)} of {len(items)} items"
    write_page(path, pages, list(rows), title)
    return len(shown)


def _item(
    item: Item, found: ItemList, folder: Path, place: TrackPlace, rows: dict[str, Row]
) -> ListeningItem:
    rendered = render_item(item, folder, found)
    rate_hz, file = item.plan.rate_hz, Path(f"{item.id}.wav")
    tracks = [Track(RECORDING, INPUT_ROLE, "", 0, file, rendered.observation[:1], rate_hz)]
    for label, row in rows.items():
        tracks += system_tracks(label, place.system(label).estimates(item), row)
    for talker, wave in numbered(list(rendered.reference)):
        tracks.append(Track(named(CLEAN, talker), CLEAN_ROLE, "", talker, file, wave[None], rate_hz))
    notes = dict.fromkeys(f"{label}: {note}" for label, row in rows.items() for note in row.notes)
    return ListeningItem(item.id, tuple(tracks), rows, tuple(notes))


def _plain(row: Row) -> Row:
    """Without the scores that take talkers apart: too many for a line above a picture."""
    return replace(
        row,
        output=_kept(row.output),
        input=_kept(row.input),
        output_by_talker=_kept(row.output_by_talker),
        input_by_talker=_kept(row.input_by_talker),
    )


def _kept(scores: Mapping[str, T]) -> dict[str, T]:
    return {name: value for name, value in scores.items() if name not in TALKER_METRICS}
