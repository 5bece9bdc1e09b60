"""Rooms that were rendered once and lie on disk, for scenes that must be quick."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from diffsr.errors import DataError
from diffsr.simulation.image_source import arrival_samples
from diffsr.simulation.plan import Room, RoomPlan
from diffsr.simulation.pool_building import build_pool
from diffsr.simulation.pool_folder import INDEX, PoolSettings, read_index, read_state, room_path
from diffsr.simulation.responses import Responses, at_rate
from diffsr.simulation.room_file import read_room, room_from_text

__all__ = ["RoomPool", "build_pool"]


class RoomPool:
    """Rooms of a folder that `build_pool` made; the command is `diffsr prepare rooms FOLDER --count N`.

    Args:
        folder: The pool.

    Raises:
        DataError: The folder holds no finished pool.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        state = read_state(self.folder)
        if state is None:
            raise DataError(
                f"{self.folder} holds no pool of rooms. Build one with: "
                f"{PoolSettings(1000).command(self.folder)}"
            )
        self.settings, self.fingerprint = state.settings, state.fingerprint
        # Kept as text: the list of thousands of rooms is handed to every worker of a loader.
        self._rooms = read_index(self.folder)
        if not state.complete or len(self._rooms) != self.settings.count:
            raise DataError(
                f"The pool {self.folder} is not finished. Continue with: {self.settings.command(self.folder)}"
            )

    def __len__(self) -> int:
        """Number of rooms."""
        return self.settings.count

    def room(self, number: int) -> Room:
        """The numbers of a room, with all its talkers and microphones.

        Raises:
            DataError: Its line in the list of rooms is damaged.
        """
        try:
            return room_from_text(self._rooms[number])
        except (ValueError, TypeError) as error:
            raise DataError(
                f"Line {number + 1} of {self.folder / INDEX} is damaged ({error}). Make it anew with: "
                f"{self.settings.command(self.folder)}"
            ) from error

    def draw(self, rng: np.random.Generator, n_talkers: int, n_microphones: int) -> Room:
        """A room of the pool with one of its positions for each talker, and its first microphones.

        Raises:
            DataError: The rooms of the pool have fewer positions or microphones.
        """
        have = self.settings
        if n_talkers > have.n_talkers or n_microphones > have.n_microphones:
            raise self._too_small(n_talkers, n_microphones)
        room = self.room(int(rng.integers(have.count)))
        return _part(room, tuple(rng.permutation(have.n_talkers).tolist()[:n_talkers]), n_microphones)

    def responses(self, room: RoomPlan, rate_hz: int) -> Responses:
        """Responses of a room that was drawn here; resampled if the pool has another rate.

        Raises:
            DataError: The room is not one of this pool, its file is missing or damaged, or the pool has a
                lower rate.
        """
        if not isinstance(room, Room) or room.number is None or not self.owns(room):
            raise DataError(
                f"The room of the scene is not one of the pool {self.folder}: the scene was drawn from other "
                "rooms. Name those, or draw the scenes again."
            )
        positions = room.positions or ()
        try:
            _, stored, stored_hz = read_room(room_path(self.folder, room.number))
        except DataError as error:
            raise DataError(f"{error}. Make it anew with: {self.settings.command(self.folder)}") from error
        full, direct = (
            response[list(positions), : len(room.microphones_m)] for response in (stored.full, stored.direct)
        )
        onsets = tuple(stored.onset_samples[position] for position in positions)
        exact = [arrival_samples(t, room.microphones_m[0], stored_hz) for t in room.talkers_m]
        return at_rate(Responses(full, direct, onsets), exact, stored_hz, rate_hz)

    def owns(self, room: RoomPlan) -> bool:
        """Whether the room is one of this pool."""
        if not isinstance(room, Room) or room.number is None or room.positions is None:
            return False
        inside = room.number < len(self) and set(room.positions) <= set(range(self.settings.n_talkers))
        return inside and _part(self.room(room.number), room.positions, len(room.microphones_m)) == room

    def _too_small(self, n_talkers: int, n_microphones: int) -> DataError:
        have = self.settings
        wanted = replace(
            have,
            n_talkers=max(n_talkers, have.n_talkers),
            n_microphones=max(n_microphones, have.n_microphones),
        )
        beside = self.folder.with_name(f"{self.folder.name}-larger")
        return DataError(
            f"The rooms of the pool {self.folder} have {have.n_talkers} talkers and {have.n_microphones} "
            f"microphones, expected at least {n_talkers} and {n_microphones}. Build another one with: "
            f"{wanted.command(beside)}"
        )


def _part(room: Room, positions: tuple[int, ...], n_microphones: int) -> Room:
    return replace(
        room,
        talkers_m=tuple(room.talkers_m[position] for position in positions),
        microphones_m=room.microphones_m[:n_microphones],
        positions=positions,
    )
