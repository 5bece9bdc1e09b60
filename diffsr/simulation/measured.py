"""Measured room responses as a source of rooms, aligned by their direct path.

Responses whose direct path does not stand out are left out (`diffsr.simulation.alignment`): nothing would say
what the clean signal of a scene is.
"""

from __future__ import annotations

import functools
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from diffsr.errors import AudioError, DataError
from diffsr.io.audio import read_audio
from diffsr.io.manifest import Utterance
from diffsr.simulation.alignment import LEAD_S, align, clear_direct_path
from diffsr.simulation.candidates import bandwidth_problem
from diffsr.simulation.plan import MeasuredRoom, RoomPlan
from diffsr.simulation.responses import Responses, RoomSource, at_rate, unit_direct
from diffsr.simulation.rooms import digest

VERSION = 1
"""Raised when the same files would give other rooms."""
_CACHED = 64
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Measured:
    """A response that can be used."""

    id: str
    path: str
    n_channels: int


class MeasuredRooms:
    """Measured responses, each talker of a scene with one of its own from the same room.

    Every response is as likely as any other that its room can go with. The files are read once to see which
    can be used; the others are counted in a warning.

    Args:
        responses: Rows of a manifest. Those without a room count as a room each.
        rate_hz: Rate of the scenes; responses with a lower one are left out. None to leave out none: a scene
            that draws one is then drawn again, as if the file were broken.

    Raises:
        DataError: None can be used.
    """

    def __init__(self, responses: Sequence[Utterance], rate_hz: int | None = None) -> None:
        rooms: defaultdict[str, list[_Measured]] = defaultdict(list)
        self.rejected: dict[str, str] = {}
        """Why responses were left out, by their ids."""
        low: list[str] = []
        for row in sorted(responses, key=lambda item: item.id):
            try:
                wave, info = read_audio(row.path)
                if rate_hz is not None and info.rate_hz < rate_hz:
                    low.append(row.id)
                    raise AudioError(bandwidth_problem(str(row.path), info.rate_hz, rate_hz))
                clear_direct_path(wave, info.rate_hz)
            except AudioError as error:
                self.rejected[row.id] = str(error)
            except DataError as error:
                self.rejected[row.id] = f"{row.path}: {error}"
            else:
                rooms[row.room or row.id].append(_Measured(row.id, str(row.path), len(wave)))
        self._rooms = dict(rooms)
        self._report(len(responses))
        identity = [(row.id, row.room, row.sha1) for row in sorted(responses, key=lambda item: item.id)]
        low_rates = {"low_rates": low} if low else {}  # the same as ever where there are none
        self.fingerprint = digest(
            {"source": "measured", "version": VERSION, "responses": identity, **low_rates}
        )

    def draw(self, rng: np.random.Generator, n_talkers: int, n_microphones: int) -> MeasuredRoom:
        """A room with enough responses, and one of them for each talker.

        Raises:
            DataError: No room has enough responses with enough channels.
        """
        usable = {
            name: [item for item in items if item.n_channels >= n_microphones]
            for name, items in self._rooms.items()
        }
        usable = {name: items for name, items in usable.items() if len(items) >= n_talkers}
        if not usable:
            most = max(len(items) for items in self._rooms.values())
            channels = max(item.n_channels for items in self._rooms.values() for item in items)
            raise DataError(
                f"No room has {n_talkers} clear responses with {n_microphones} channels; the most are {most} "
                f"responses in a room and {channels} channels. Add responses, name their rooms in the column "
                "'room' of the manifest, or use simulated rooms (diffsr prepare rooms)."
            )
        names = sorted(usable)
        counts = np.array([len(usable[name]) for name in names])
        name = names[int(rng.choice(len(names), p=counts / counts.sum()))]
        chosen = [usable[name][k] for k in rng.permutation(len(usable[name]))[:n_talkers]]
        paths = tuple(item.path for item in chosen)
        return MeasuredRoom(name, tuple(item.id for item in chosen), paths, n_microphones)

    def responses(self, room: RoomPlan, rate_hz: int) -> Responses:
        """Read the responses of a room.

        Raises:
            DataError: The room is not a measured one, or a file has changed and is no longer clear.
            AudioError: A file cannot be read, or has a lower rate.
        """
        if not isinstance(room, MeasuredRoom):
            raise DataError(
                "The room of the scene is simulated, expected a measured one. Name its own source."
            )
        parts = [_prepared(path, rate_hz) for path in room.paths]
        full = _stack([part.full[0, : room.n_microphones] for part in parts])
        direct = _stack([part.direct[0, : room.n_microphones] for part in parts])
        return unit_direct(Responses(full, direct, tuple(part.onset_samples[0] for part in parts)))

    def owns(self, room: RoomPlan) -> bool:
        """Whether the room has only responses of this source."""
        if not isinstance(room, MeasuredRoom):
            return False
        return set(room.ids) <= {item.id for item in self._rooms.get(room.name, ())}

    def _report(self, total: int) -> None:
        first = next(iter(self.rejected.values()), "")
        if not self._rooms:
            raise DataError(
                f"None of the {total} measured responses can be used. Expected a manifest of room responses "
                f"with a clear direct path. First: {first}"
            )
        if self.rejected:
            count = len(self.rejected)
            _log.warning("Left out %d of %d measured responses; first: %s", count, total, first)


class OneOf:
    """Several sources of rooms, at least one, of which every scene draws one."""

    def __init__(self, sources: Sequence[RoomSource]) -> None:
        self.sources = tuple(sources)
        prints = [source.fingerprint for source in self.sources]
        self.fingerprint = digest({"source": "one of", "of": prints})

    def draw(self, rng: np.random.Generator, n_talkers: int, n_microphones: int) -> RoomPlan:
        """A room of one of the sources."""
        source = self.sources[int(rng.integers(len(self.sources)))]
        return source.draw(rng, n_talkers, n_microphones)

    def responses(self, room: RoomPlan, rate_hz: int) -> Responses:
        """Responses from the source that knows the room.

        Raises:
            DataError: None does.
        """
        for source in self.sources:
            if source.owns(room):
                return source.responses(room, rate_hz)
        raise DataError(
            "The room of the scene belongs to none of the sources: the scene was drawn from others. Name "
            "those, or draw the scenes again."
        )

    def owns(self, room: RoomPlan) -> bool:
        """Whether one of the sources does."""
        return any(source.owns(room) for source in self.sources)


@functools.lru_cache(maxsize=_CACHED)
def _prepared(path: str, rate_hz: int) -> Responses:
    """Aligned responses of a file at a rate, [1, C, T]."""
    wave, info = read_audio(path)
    if info.rate_hz < rate_hz:
        raise AudioError(bandwidth_problem(path, info.rate_hz, rate_hz))
    try:
        onset = clear_direct_path(wave, info.rate_hz)
    except DataError as error:
        raise DataError(
            f"{path} has changed since the scenes were drawn: {error}. Draw them again."
        ) from error
    full, direct = align(wave, onset, info.rate_hz)
    lead = round(LEAD_S * info.rate_hz)
    return at_rate(Responses(full[None], direct[None], (lead,)), [lead], info.rate_hz, rate_hz)


def _stack(parts: Sequence[Tensor]) -> Tensor:
    """Responses of different lengths, [C, T], as one, [S, C, T]."""
    longest = max(part.shape[-1] for part in parts)
    return torch.stack([F.pad(part, (0, longest - part.shape[-1])) for part in parts])
