"""Rooms by name: what a command line or an experiment file says, as a `RoomSource`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from diffsr.errors import ConfigError
from diffsr.io.manifest import read_manifest
from diffsr.simulation.measured import MeasuredRooms, OneOf
from diffsr.simulation.pool import RoomPool
from diffsr.simulation.responses import RoomSource
from diffsr.simulation.rooms import SimulatedRooms

SIMULATE = "simulate"


def open_rooms(spec: str | Sequence[str], rate_hz: int | None = None) -> RoomSource:
    """Where rooms come from.

    Args:
        spec: The folder of a pool that `diffsr prepare rooms` has made, a manifest (.csv or .jsonl) of
            measured responses, `simulate` for rooms made anew for every scene (up to a second each), or
            several of these, of which every scene draws one.
        rate_hz: Rate of the scenes; measured responses with a lower one are left out, with a warning.

    Raises:
        ConfigError: It is none of these.
        DataError: The pool or the manifest cannot be used.
    """
    if not isinstance(spec, str):
        if not spec:
            raise ConfigError("The list of rooms is empty; expected a pool, a manifest, or 'simulate'.")
        sources = [open_rooms(item, rate_hz) for item in spec]
        return sources[0] if len(sources) == 1 else OneOf(sources)
    if spec == SIMULATE:
        return SimulatedRooms()
    path = Path(spec).expanduser()
    if path.suffix.lower() in (".csv", ".jsonl"):
        return MeasuredRooms(read_manifest(path), rate_hz)
    if not path.is_dir():
        found = "is a file" if path.is_file() else "does not exist"
        raise ConfigError(
            f"{spec} {found}, expected the folder of a pool (diffsr prepare rooms), a .csv or .jsonl of "
            f"measured responses, or the word '{SIMULATE}'."
        )
    return RoomPool(path)
