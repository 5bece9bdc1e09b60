"""How well a room was estimated: reverberation time and direct-to-reverberant ratio of its response."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from diffsr.signal.room_acoustics import drr_db, rt60_s

if TYPE_CHECKING:
    from diffsr.benchmark.scenes import Rendered
    from diffsr.benchmark.systems import Restored

FACTS = ("estimated_rt60_s", "true_rt60_s", "estimated_drr_db", "true_drr_db")
"""Named apart from `rt60_s` of a scene, which is what was asked for."""


def room_facts(done: Restored, rendered: Rendered) -> dict[str, float | None]:
    """Estimated and true T60 and DRR, the means over talkers; nothing where no room was estimated.

    Both are measured on responses in the same way (`signal.room_acoustics`: T20 and 2.5 ms to either side of
    the direct path). None where a response does not tell.
    """
    if done.responses is None or rendered.responses is None:
        return {}
    found = _measured(done.responses, done.rate_hz)
    true = _measured(rendered.responses[:, 0], rendered.item.plan.rate_hz)
    facts = dict(zip(FACTS, (found[0], true[0], found[1], true[1]), strict=True))
    return {name: round(value, 4) if math.isfinite(value) else None for name, value in facts.items()}


def _measured(responses: Tensor, rate_hz: int) -> tuple[float, float]:
    """T60 and DRR of responses [S, L], the means over S."""
    responses = responses.detach().cpu().float()
    return float(rt60_s(responses, rate_hz).mean()), float(drr_db(responses, rate_hz).mean())


@dataclass(frozen=True)
class RoomErrors:
    """Errors over items.

    Attributes:
        n: Items with a room that was estimated.
        rt60_error_s: Mean absolute error of T60.
        rt60_bias_s: Mean error: above 0 the rooms come out too long.
        n_rt60: Items in which both T60 are known.
        drr_error_db: Mean absolute error of the DRR.
        n_drr: Items in which both DRR are known.
    """

    n: int
    rt60_error_s: float
    rt60_bias_s: float
    n_rt60: int
    drr_error_db: float
    n_drr: int


def room_errors(facts: Iterable[Mapping[str, Any]]) -> RoomErrors | None:
    """Errors from rows of facts; None where no room was estimated."""
    rows = [row for row in facts if any(name in row for name in FACTS)]
    if not rows:
        return None
    rt60, drr = (_differences(rows, name) for name in ("rt60_s", "drr_db"))
    return RoomErrors(len(rows), _mean(np.abs(rt60)), _mean(rt60), len(rt60), _mean(np.abs(drr)), len(drr))


def _differences(rows: Iterable[Mapping[str, Any]], name: str) -> np.ndarray:
    pairs = [(row.get(f"estimated_{name}"), row.get(f"true_{name}")) for row in rows]
    return np.array([found - true for found, true in pairs if found is not None and true is not None])


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan
