"""Running a system on the items of a list, so that it can be stopped and goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from diffsr.benchmark.items import Item, ItemList
from diffsr.benchmark.oracle import check_oracle, known_of
from diffsr.benchmark.room_scores import room_facts
from diffsr.benchmark.scenes import render_item
from diffsr.benchmark.store import SystemPlace, append_row, read_rows
from diffsr.benchmark.systems import Runnable, check_estimate
from diffsr.benchmark.tracks import TRACKS
from diffsr.errors import DiffsrError
from diffsr.io.audio import write_audio
from diffsr.io.memory import PeakMemory

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
        on_progress: Called before each item and at the end with (finished, all, id).

    Raises:
        ConfigError: The folder holds results of another system, setting or list, another run is at work in
            it, or the items do not have what an oracle would tell.
        DataError: An item cannot be rendered, or nothing can be written.
    """
    check_oracle(system.oracle, TRACKS[found.track])
    with place.alone():
        place.claim({**system.settings(), "list": f"{found.name} {found.digest}"})
        return _run_waiting(found, items, folder, system, place, on_progress)


def _run_waiting(
    found: ItemList,
    items: Sequence[Item],
    folder: Path,
    system: Runnable,
    place: SystemPlace,
    on_progress: OnProgress | None,
) -> RunReport:
    """Restore the items that are not there yet, see `run_items`."""
    done = finished(place)
    waiting = [item for item in items if not (item.id in done and place.has(item))]
    failed: dict[str, str] = {}
    n_before = len(items) - len(waiting)
    for number, item in enumerate(waiting):
        if on_progress is not None:
            on_progress(n_before + number, len(items), item.id)
        problem = _run_item(found, item, folder, system, place)
        if problem:
            failed[item.id] = problem
    if on_progress is not None:
        on_progress(len(items), len(items), "")
    return RunReport(len(waiting) - len(failed), n_before, failed)


def finished(place: SystemPlace) -> set[str]:
    """Ids of the items whose last attempt went well; its estimates were written before that was noted."""
    rows = {row["id"]: row for row in read_rows(place.facts) if "id" in row}
    return {name for name, row in rows.items() if "problem" not in row}


def _run_item(found: ItemList, item: Item, folder: Path, system: Runnable, place: SystemPlace) -> str | None:
    """Restore one item; returns why it failed."""
    rendered = render_item(item, folder, found)
    observation = rendered.observation.clone()  # a system that works in place shall not reach what is scored
    memory = PeakMemory(system.device)
    memory.start()
    started = time.perf_counter()
    try:
        done = system.restore(
            observation,
            item.plan.rate_hz,
            len(item.plan.talkers),
            item.id,
            known_of(rendered, system.oracle),
        )
        seconds = time.perf_counter() - started
        check_estimate(done.estimate, system, len(item.plan.talkers), item.plan.n_samples)
    except (DiffsrError, torch.OutOfMemoryError) as error:
        append_row(place.facts, {"id": item.id, "problem": str(error)})
        return str(error)
    for path, wave in zip(place.estimates(item), done.estimate, strict=True):
        write_audio(path, wave[None], item.plan.rate_hz, "FLOAT")
    facts = {
        "id": item.id,
        "seconds": round(seconds, 4),
        "rtf": round(seconds / item.plan.duration_s, 5),
        "calls": done.n_calls,
        "memory_mib": round(memory.mib(), 1),
        **room_facts(done, rendered),
    }
    append_row(place.facts, facts)
    return None
