"""Restoring one item of a list: what a run does again and again, here or in several processes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diffsr.benchmark.items import Item, ItemList
from diffsr.benchmark.oracle import known_of
from diffsr.benchmark.room_scores import room_facts
from diffsr.benchmark.scenes import render_item
from diffsr.benchmark.store import SystemPlace
from diffsr.benchmark.systems import Runnable, check_estimate
from diffsr.errors import DiffsrError
from diffsr.io.audio import write_audio
from diffsr.io.memory import PeakMemory

Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """Where the items of a run come from and where their estimates go.

    Attributes:
        found: The list.
        folder: The data folder.
        place: Where the results go.
    """

    found: ItemList
    folder: Path
    place: SystemPlace

    def restore(self, item: Item, system: Runnable) -> Row:
        """Restore an item and write its estimates.

        Returns:
            What it took, or its `problem` where the system could not restore it, for `SystemPlace.facts`.

        Raises:
            DataError: The item cannot be rendered, or nothing can be written.
        """
        rendered = render_item(item, self.folder, self.found)
        observation = rendered.observation.clone()  # what is scored stays, also if a system works in place
        memory = PeakMemory(system.device)
        memory.start()
        try:
            known = known_of(rendered, system.oracle)
            started = time.perf_counter()
            done = system.restore(observation, item.plan.rate_hz, len(item.plan.talkers), item.id, known)
            seconds = time.perf_counter() - started
            check_estimate(done.estimate, system, len(item.plan.talkers), item.plan.n_samples)
        except (DiffsrError, torch.OutOfMemoryError) as error:
            return {"id": item.id, "problem": str(error)}
        for path, wave in zip(self.place.estimates(item), done.estimate, strict=True):
            write_audio(path, wave[None], item.plan.rate_hz, "FLOAT")
        return {
            "id": item.id,
            "seconds": round(seconds, 4),
            "rtf": round(seconds / item.plan.duration_s, 5),
            "calls": done.n_calls,
            "memory_mib": round(memory.mib(), 1),
            **room_facts(done, rendered),
        }
