"""What lies in the folder of a pool of rooms.

pool.json                   settings, versions, fingerprint
rooms.jsonl                 the numbers of every room, one a line
rooms/000000.safetensors    responses of one room, with its numbers
"""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from diffsr.errors import DataError
from diffsr.io.atomic import replacing
from diffsr.simulation.plan import Room
from diffsr.simulation.room_file import HEADER_BYTES, room_to_text
from diffsr.simulation.rooms import digest, draw_room, recipe, response_lengths

INDEX = "rooms.jsonl"


@dataclass(frozen=True)
class PoolSettings:
    """What decides a pool.

    Attributes:
        count: Number of rooms.
        seed: Random seed.
        n_talkers: Talker positions a room.
        n_microphones: Microphones a room.
        rate_hz: Sample rate of the responses.
    """

    count: int
    seed: int = 0
    n_talkers: int = 3
    n_microphones: int = 2
    rate_hz: int = 16000

    def room(self, number: int) -> Room:
        """The numbers of a room, which depend on the seed and its number alone."""
        rng = np.random.default_rng([self.seed, number])
        room = draw_room(rng, self.n_talkers, self.n_microphones)
        return replace(room, number=number, positions=tuple(range(self.n_talkers)))

    def n_bytes(self, room: Room) -> int:
        """Size of the file of a room."""
        n_samples = sum(response_lengths(room, self.rate_hz))
        return 4 * self.n_talkers * self.n_microphones * n_samples + HEADER_BYTES

    def command(self, folder: Path) -> str:
        """The command that builds, continues or repairs the pool."""
        return (
            f"diffsr prepare rooms {shlex.quote(str(folder))} --count {self.count} --seed {self.seed} "
            f"--talkers {self.n_talkers} --microphones {self.n_microphones} --rate_hz {self.rate_hz}"
        )


@dataclass(frozen=True)
class PoolState:
    """What `pool.json` says.

    Attributes:
        settings: What was asked for.
        recipe: Version of the rooms and of the library.
        complete: Whether all rooms are there.
        fingerprint: Identity of the pool.
    """

    settings: PoolSettings
    recipe: dict[str, object]
    complete: bool
    fingerprint: str


def room_path(folder: Path, number: int) -> Path:
    """The file of a room."""
    return folder / "rooms" / f"{number:06d}.safetensors"


def read_state(folder: Path) -> PoolState | None:
    """The state of a pool; None where there is none.

    Raises:
        DataError: `pool.json` is damaged.
    """
    path = folder / "pool.json"
    if not path.is_file():
        return None
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
        settings = PoolSettings(**row["settings"])
        return PoolState(settings, dict(row["recipe"]), bool(row["complete"]), str(row["fingerprint"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} cannot be read ({error}), expected the settings of a pool of rooms. Remove this file "
            "and build the pool again with the same settings; finished rooms are kept."
        ) from error


def write_state(folder: Path, settings: PoolSettings, complete: bool) -> None:
    """Write `pool.json`.

    Raises:
        OSError: It cannot be written.
    """
    identity: dict[str, Any] = {"settings": asdict(settings), "recipe": recipe()}
    row = {**identity, "complete": complete, "fingerprint": digest({"source": "pool", **identity})}
    with replacing(folder / "pool.json") as temporary:
        temporary.write_text(json.dumps(row, indent=2) + "\n", encoding="utf-8")


def write_index(folder: Path, settings: PoolSettings) -> None:
    """Write `rooms.jsonl`.

    Raises:
        OSError: It cannot be written.
    """
    with replacing(folder / INDEX) as temporary:
        lines = (room_to_text(settings.room(number)) + "\n" for number in range(settings.count))
        temporary.write_text("".join(lines), encoding="utf-8")


def read_index(folder: Path) -> list[str]:
    """The lines of `rooms.jsonl`; none where it cannot be read."""
    try:
        return (folder / INDEX).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
