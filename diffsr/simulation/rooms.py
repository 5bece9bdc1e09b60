"""Shoebox rooms with the geometry of WHAMR! (arXiv:1910.10279), drawn as numbers and made into responses.

Three things differ from the original set, on purpose. Its pyroomacoustics 0.3.1 took the absorption that
Sabine's formula gives for the energy as one of the amplitude, which halves the reverberation time; here
walls absorb that share of the energy. Its responses keep a slow pressure that only image sources build up
(every image is positive, so that the dense late ones add); here reflections are high-passed. And its
microphones are as far apart as those of a recorded noise; here the distance is drawn from the same range.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version

import numpy as np
import torch
from numpy.typing import NDArray

from diffsr.errors import ConfigError
from diffsr.simulation.image_source import (
    LEAD_SAMPLES,
    SPEED_OF_SOUND,
    arrival_samples,
    image_response,
    sabine_absorption,
)
from diffsr.simulation.plan import Point, Room, RoomPlan
from diffsr.simulation.responses import Responses, unit_direct

VERSION = 1
"""Raised when the same numbers would give other rooms or other responses."""
MAX_MICROPHONES = 8
"""A longer line of microphones could reach a talker."""
_MICROMETRE = 6
_HIGH_PASS_HZ = 20.0


@dataclass(frozen=True)
class ReverberationClass:
    """A range of reverberation times, uniform, and how often it is drawn.

    Attributes:
        name: low, medium or high.
        shortest_s: Lower end.
        longest_s: Upper end.
        weight: Relative frequency.
    """

    name: str
    shortest_s: float
    longest_s: float
    weight: float


CLASSES = (
    ReverberationClass("low", 0.1, 0.3, 0.06),
    ReverberationClass("medium", 0.2, 0.6, 0.35),
    ReverberationClass("high", 0.4, 1.0, 0.59),
)
"""The classes of WHAMR!; the weights give the quantiles of its test set."""


def draw_room(
    rng: np.random.Generator,
    n_talkers: int = 3,
    n_microphones: int = 2,
    classes: Sequence[ReverberationClass] = CLASSES,
) -> Room:
    """Draw a room; the first talkers and the room itself do not depend on how many talkers there are.

    A reverberation time that no walls could give (Sabine absorption above 1) is drawn again, with the
    size of the room, within its class.

    Raises:
        ConfigError: No talker, no microphone, or more microphones than `MAX_MICROPHONES`.
    """
    if n_talkers < 1 or not 1 <= n_microphones <= MAX_MICROPHONES:
        raise ConfigError(
            f"A room with {n_talkers} talkers and {n_microphones} microphones cannot be drawn: expected at "
            f"least 1 talker and 1 to {MAX_MICROPHONES} microphones."
        )
    weights = np.array([item.weight for item in classes])
    kind = classes[rng.choice(len(classes), p=weights / weights.sum())]
    size, rt60_s = _draw_possible(rng, kind)
    centre = np.array([*(0.5 * size[:2] + rng.uniform(-0.2, 0.2, 2)), rng.uniform(0.9, 1.8)])
    microphones = _draw_line(rng, centre, n_microphones)
    talkers = [_draw_talker(rng, centre) for _ in range(n_talkers)]
    return Room(
        size_m=_point(size),
        rt60_s=rt60_s,
        rt60_class=kind.name,
        array_m=_point(centre),
        microphones_m=tuple(_point(row) for row in microphones),
        talkers_m=tuple(talkers),
    )


def render_room(room: Room, rate_hz: int = 16000) -> Responses:
    """Responses of a room by the image-source method, up to its reverberation time.

    The reflections are high-passed (Butterworth, 2nd order, 20 Hz), the direct path is not. Full and direct
    responses of a talker are scaled alike, so that the direct path at the first microphone has the
    energy 1. Time zero lies `image_source.LEAD_SAMPLES` late.
    """
    # Walls cannot absorb more than all; rooms that ask for it are not drawn.
    absorption = min(1.0, sabine_absorption(room.size_m, room.rt60_s))
    max_order = math.ceil(room.rt60_s * SPEED_OF_SOUND / min(room.size_m))
    n_direct, n_full = response_lengths(room, rate_hz)

    def responses(order: int, n_samples: int) -> NDArray[np.float32]:
        rows = [
            [image_response(room.size_m, t, m, absorption, order, n_samples, rate_hz) for m in microphones]
            for t in room.talkers_m
        ]
        return np.array(rows)

    microphones = room.microphones_m
    direct, full = responses(0, n_direct), responses(max_order, n_full)
    full[..., :n_direct] -= direct
    full = _without_slow_pressure(full, rate_hz)
    full[..., :n_direct] += direct
    return unit_direct(
        Responses(torch.from_numpy(full), torch.from_numpy(direct), direct_onsets(room, rate_hz))
    )


def response_lengths(room: Room, rate_hz: int) -> tuple[int, int]:
    """Samples of the direct and of the full responses of a room."""
    latest = max(arrival_samples(t, m, rate_hz) for t in room.talkers_m for m in room.microphones_m)
    n_direct = math.ceil(latest) + LEAD_SAMPLES + 1
    return n_direct, max(n_direct, math.ceil(room.rt60_s * rate_hz))


def direct_onsets(room: Room, rate_hz: int) -> tuple[int, ...]:
    """Where the direct path of each talker arrives at the first microphone, to the nearest sample."""
    return tuple(round(arrival_samples(t, room.microphones_m[0], rate_hz)) for t in room.talkers_m)


class SimulatedRooms:
    """Rooms drawn anew for every scene and rendered when they are heard; nothing is kept.

    Slow (seconds where the reverberation is long): for tests, pictures and fixed lists of scenes.

    Args:
        classes: Reverberation times to draw from.
    """

    def __init__(self, classes: Sequence[ReverberationClass] = CLASSES) -> None:
        self.classes = tuple(classes)
        self.fingerprint = digest({"source": "simulated", **recipe(self.classes)})

    def draw(self, rng: np.random.Generator, n_talkers: int, n_microphones: int) -> Room:
        """A room with one position for each talker."""
        return draw_room(rng, n_talkers, n_microphones, self.classes)

    def responses(self, room: RoomPlan, rate_hz: int) -> Responses:
        """Render the room.

        Raises:
            ConfigError: The room is a measured one.
        """
        if not isinstance(room, Room):
            raise ConfigError(
                f"Room {room.name} is measured, expected a simulated one. Use the source that drew it."
            )
        return render_room(room, rate_hz)

    def owns(self, room: RoomPlan) -> bool:
        """Whether the room is a simulated one and not from a pool."""
        return isinstance(room, Room) and room.number is None


def recipe(classes: Sequence[ReverberationClass] = CLASSES) -> dict[str, object]:
    """What decides the rooms besides seeds and counts."""
    return {
        "rooms": VERSION,
        "pyroomacoustics": version("pyroomacoustics"),
        "classes": [asdict(item) for item in classes],
    }


def digest(settings: dict[str, object]) -> str:
    """Short checksum of settings."""
    return hashlib.sha1(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def _without_slow_pressure(reflections: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
    from scipy.signal import butter, sosfilt

    sections = butter(2, _HIGH_PASS_HZ, "highpass", fs=rate_hz, output="sos")
    return sosfilt(sections, reflections).astype(np.float32)


def _draw_possible(rng: np.random.Generator, kind: ReverberationClass) -> tuple[NDArray[np.float64], float]:
    """Size and reverberation time of a room whose walls can be built."""
    for _ in range(1000):
        rt60_s = round(rng.uniform(kind.shortest_s, kind.longest_s), _MICROMETRE)
        size = np.array([*rng.uniform(5, 10, 2), rng.uniform(3, 4)])
        if sabine_absorption(_point(size), rt60_s) <= 1:
            return size, rt60_s
    raise ConfigError(
        f"No room of 5-10 m can have a reverberation time of {kind.shortest_s}-{kind.longest_s} s: "
        "expected at least 0.1 s. Choose longer times."
    )


def _draw_line(
    rng: np.random.Generator, centre: NDArray[np.float64], n_microphones: int
) -> NDArray[np.float64]:
    """Microphones in a level line of random direction around the centre, [C, 3]."""
    spacing_m, azimuth = rng.uniform(0.15, 0.17), rng.uniform(0, 2 * np.pi)
    steps = (np.arange(n_microphones) - 0.5 * (n_microphones - 1)) * spacing_m
    return centre + np.outer(steps, [np.cos(azimuth), np.sin(azimuth), 0.0])


def _draw_talker(rng: np.random.Generator, centre: NDArray[np.float64]) -> Point:
    azimuth, distance_m = rng.uniform(0, 2 * np.pi), rng.uniform(0.66, 2.0)
    height_m = rng.uniform(0.9, 1.8)
    return _point(
        (centre[0] + distance_m * np.cos(azimuth), centre[1] + distance_m * np.sin(azimuth), height_m)
    )


def _point(values: Sequence[float] | NDArray[np.float64]) -> Point:
    """To the micrometre, so that no last bit of a cosine makes another room on another machine."""
    x, y, z = (round(float(value), _MICROMETRE) for value in values)
    return x, y, z
