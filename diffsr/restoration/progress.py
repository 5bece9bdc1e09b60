"""Progress of what is done in parts."""

from __future__ import annotations

from diffsr.samplers.annealed import OnStep


def part_of(on_step: OnStep | None, number: int, n_parts: int, length: int = 1) -> OnStep | None:
    """Progress of one of several parts, or of `length` of them, as that of the whole."""
    if on_step is None or n_parts == 1:
        return on_step
    whole = on_step
    return lambda done, total: whole(number * total + length * done, n_parts * total)
