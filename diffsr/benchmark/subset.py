"""The stratified few of a list, for runs that cost much."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diffsr.benchmark import tracks
from diffsr.benchmark.items import Item
from diffsr.simulation.plan import Room, ScenePlan


def stratified(items: Sequence[Item]) -> set[int]:
    """Numbers of the few: of every stratum its share, evenly along the difficulty."""
    strata: dict[tuple[str, ...], list[int]] = {}
    for number, item in enumerate(items):
        strata.setdefault(item.stratum, []).append(number)
    counts = _shares(
        {name: len(numbers) for name, numbers in strata.items()}, min(tracks.N_SUBSET, len(items))
    )
    chosen: set[int] = set()
    for name, numbers in strata.items():
        ordered = sorted(numbers, key=lambda number: (_difficulty(items[number].plan), number))
        places = (np.arange(counts[name]) + 0.5) * len(ordered) / max(counts[name], 1)
        chosen |= {ordered[int(place)] for place in places}
    return chosen


def _shares(sizes: dict[tuple[str, ...], int], few: int) -> dict[tuple[str, ...], int]:
    """`few` divided in proportion to sizes, by largest remainder."""
    exact = {name: few * size / sum(sizes.values()) for name, size in sizes.items()}
    counts = {name: int(share) for name, share in exact.items()}
    by_remainder = sorted(exact, key=lambda name: counts[name] - exact[name])
    for name in by_remainder[: few - sum(counts.values())]:
        counts[name] += 1
    return counts


def _difficulty(plan: ScenePlan) -> float:
    """What items of a stratum are ordered by: SNR, else reverberation time, else level difference.

    Where the SNR is always the same the items are in the order of their numbers.
    """
    if plan.noise is not None:
        return plan.noise.snr_db
    if isinstance(plan.room, Room):
        return plan.room.rt60_s
    return plan.talkers[0].gain_db
