"""Running a system on the items of a list, so that it can be stopped and goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diffsr.benchmark.items import Item, ItemList
from diffsr.benchmark.oracle import check_oracle
from diffsr.benchmark.restoring import Job, Row
from diffsr.benchmark.store import SystemPlace, append_row, read_rows
from diffsr.benchmark.systems import Runnable
from diffsr.benchmark.tracks import TRACKS
from diffsr.benchmark.workers import Workers

OnProgress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class RunReport:
    """What became of a run.

    Attributes:
        n_run: Items restored now.
        n_before: Items that were there already.
        failed: Items that the system could not restore, id -> reason.
    """

    n_run: int
    n_before: int
    failed: dict[str, str] = field(default_factory=dict)


def run_items(
    found: ItemList,
    items: Sequence[Item],
    folder: Path,
    system: Runnable,
    place: SystemPlace,
    on_progress: OnProgress | None = None,
    workers: Workers | None = None,
) -> RunReport:
    """Restore the items that are not there yet.

    An item that the system cannot restore is written down and does not stop the others; the next run
    tries it again.

    Args:
        found: The list.
        items: Those of its items to run.
        folder: The data folder.
        system: Is given the observation, and what its oracle asks for.
        place: Where the results go.
        on_progress: Called before each item and at the end with (finished, all, id); where several processes
            are at work, without an id.
        workers: Processes that open the same system and do it; this one when None.

    Raises:
        ConfigError: The folder holds results of another system, setting or list, another run is at work in
            it, or the items do not have what an oracle would tell.
        DataError: An item cannot be rendered, nothing can be written, or a process was killed.
    """
    check_oracle(system.oracle, TRACKS[found.track])
    with place.alone():
        place.claim({**system.settings(), "list": f"{found.name} {found.digest}"})
        return _run_waiting(Job(found, folder, place), items, system, on_progress or _silent, workers)


def _run_waiting(
    job: Job, items: Sequence[Item], system: Runnable, on_progress: OnProgress, workers: Workers | None
) -> RunReport:
    """Restore the items that are not there yet, see `run_items`."""
    done = finished(job.place)
    waiting = [item for item in items if not (item.id in done and job.place.has(item))]
    n_before = len(items) - len(waiting)
    if workers is None or len(waiting) < 2:
        rows, names = _one_by_one(job, waiting, system), [item.id for item in waiting]
    else:
        rows, names = workers.restore(job, waiting), [""] * len(waiting)
    following = [*names, ""]
    failed: dict[str, str] = {}
    on_progress(n_before, len(items), following[0])
    with contextlib.closing(rows):
        for number, row in enumerate(rows, start=1):
            append_row(job.place.facts, row)
            if "problem" in row:
                failed[row["id"]] = row["problem"]
            on_progress(n_before + number, len(items), following[number])
    return RunReport(len(waiting) - len(failed), n_before, failed)


def finished(place: SystemPlace) -> set[str]:
    """Ids of the items whose last attempt went well; its estimates were written before that was noted."""
    rows = {row["id"]: row for row in read_rows(place.facts) if "id" in row}
    return {name for name, row in rows.items() if "problem" not in row}


def _one_by_one(job: Job, items: Sequence[Item], system: Runnable) -> Generator[Row]:
    for item in items:
        yield job.restore(item, system)


def _silent(done: int, total: int, name: str) -> None:
    """Tell nobody."""
