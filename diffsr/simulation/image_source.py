"""Responses of a shoebox room by the image-source method, with the sinc kernel of pyroomacoustics.

`pyroomacoustics.ShoeBox` makes every image up to an order, each an object of its own, and most of them
arrive after the response has ended. Here the images are made as arrays and only those that arrive in time
are kept; the response is built by the library's own `libroom.rir_builder`. The result is that of
`ShoeBox.compute_rir` without its high-pass filter, in an eighth of the time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diffsr.simulation.plan import Point

SPEED_OF_SOUND = 343.0
LEAD_SAMPLES = 40
"""The kernel reaches this far to both sides of an arrival, so time zero lies this late in a response."""
_KERNEL = 2 * LEAD_SAMPLES + 1
_GRANULARITY = 20


def sabine_absorption(size_m: Point, rt60_s: float) -> float:
    """Share of the energy that walls must absorb for a reverberation time: 24 ln(10) V / (c S T60).

    Above 1 the room is too large for the time.
    """
    x, y, z = size_m
    surface = 2 * (x * y + x * z + y * z)
    return 24 * float(np.log(10.0)) * x * y * z / (SPEED_OF_SOUND * surface * rt60_s)


def arrival_samples(source_m: Point, microphone_m: Point, rate_hz: int) -> float:
    """Where the direct path lies in a response of this module, in samples and fractions."""
    distance = float(np.linalg.norm(np.subtract(source_m, microphone_m)))
    return LEAD_SAMPLES + distance / SPEED_OF_SOUND * rate_hz


def image_response(
    size_m: Point,
    source_m: Point,
    microphone_m: Point,
    absorption: float,
    max_order: int,
    n_samples: int,
    rate_hz: int,
) -> NDArray[np.float32]:
    """Response of a room with equal walls, from one source to one microphone, both without direction.

    Args:
        size_m: Length, width, height; one corner is the origin.
        source_m: Position of the source.
        microphone_m: Position of the microphone.
        absorption: Share of the energy that a wall absorbs, 0 to 1.
        max_order: Most reflections of a path; 0 for the direct path alone.
        n_samples: Length of the response.
        rate_hz: Sample rate.

    Returns:
        [T]; a path of d metres has the amplitude sqrt(1 - absorption)^reflections / d and arrives
        `LEAD_SAMPLES` + d / c * rate_hz samples late.
    """
    from pyroomacoustics import libroom

    reach_m = n_samples * SPEED_OF_SOUND / rate_hz
    distances_m, orders = _images(size_m, source_m, microphone_m, max_order, reach_m)
    response = np.zeros(n_samples + _KERNEL + 1, dtype=np.float32)
    if len(distances_m):
        amplitudes = (np.sqrt(1 - absorption) ** np.arange(max_order + 1))[orders] / distances_m
        times_s = distances_m / SPEED_OF_SOUND + LEAD_SAMPLES / rate_hz
        # One thread: the sum over images has the same order, and so the same rounding, on every machine.
        libroom.rir_builder(
            response,
            times_s.astype(np.float32),
            amplitudes.astype(np.float32),
            rate_hz,
            _KERNEL,
            _GRANULARITY,
            1,
        )
    return response[:n_samples]


def _images(
    size_m: Point, source_m: Point, microphone_m: Point, max_order: int, reach_m: float
) -> tuple[NDArray[np.floating], NDArray[np.integer]]:
    """Distances and numbers of reflections of the images within reach of the microphone."""
    axes = zip(size_m, source_m, microphone_m, strict=True)
    (total, order), *others = [_axis(*axis, max_order, reach_m) for axis in axes]
    for square, count in others:
        totals: NDArray[np.floating] = np.add.outer(total, square)
        counts: NDArray[np.integer] = np.add.outer(order, count)
        kept = (totals < reach_m**2) & (counts <= max_order)
        total, order = totals[kept], counts[kept]
    return np.sqrt(total), order


def _axis(
    length_m: float, source_m: float, microphone_m: float, max_order: int, reach_m: float
) -> tuple[NDArray[np.floating], NDArray[np.integer]]:
    """Squared distances to the images along one axis, and the reflections that make them."""
    most = min(max_order, int(np.ceil(reach_m / length_m)) + 1)
    cells = np.arange(-most, most + 1)
    positions = cells * length_m + np.where(cells % 2 == 1, length_m - source_m, source_m)
    return (positions - microphone_m) ** 2, np.abs(cells)
