"""What rooms cost: seconds to render one by its reverberation time, milliseconds to read one from a pool.

python benchmarks/rooms.py [--pool DIR] [--rooms 5] [--library]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from diffsr.simulation.image_source import SPEED_OF_SOUND, sabine_absorption
from diffsr.simulation.plan import Room
from diffsr.simulation.pool import RoomPool
from diffsr.simulation.rooms import draw_room, render_room

TIMES_S = (0.3, 0.5, 0.7, 1.0)
LAYOUTS = ((2, 1), (3, 2))


def seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def render_by_library(room: Room) -> None:
    """The same room by pyroomacoustics.ShoeBox."""
    import pyroomacoustics

    pyroomacoustics.constants.set("num_threads", 1)
    shoebox = pyroomacoustics.ShoeBox(
        room.size_m,
        fs=16000,
        materials=pyroomacoustics.Material(sabine_absorption(room.size_m, room.rt60_s)),
        max_order=int(np.ceil(room.rt60_s * SPEED_OF_SOUND / min(room.size_m))),
    )
    for talker in room.talkers_m:
        shoebox.add_source(talker)
    shoebox.add_microphone_array(np.array(room.microphones_m).T)
    shoebox.compute_rir()


def show_rendering(n_rooms: int, name: str, render: Callable[[Room], object]) -> None:
    print(f"{name}: seconds a room, mean of {n_rooms}")
    print("talkers microphones " + " ".join(f"T60={time_s:.1f}" for time_s in TIMES_S))
    for n_talkers, n_microphones in LAYOUTS:
        rooms = [draw_room(np.random.default_rng(k), n_talkers, n_microphones) for k in range(n_rooms)]
        render(rooms[0])
        row = []
        for rt60_s in TIMES_S:
            alike = [replace(room, rt60_s=rt60_s) for room in rooms]
            row.append(statistics.mean(seconds(partial(render, room)) for room in alike))
        print(f"{n_talkers:7d} {n_microphones:11d} " + " ".join(f"{cost:7.3f}" for cost in row))


def show_pool(folder: Path) -> None:
    opened = seconds(lambda: RoomPool(folder))
    pool, rng = RoomPool(folder), np.random.default_rng(0)

    def draw(n_talkers: int, n_microphones: int) -> list[Room]:
        return [pool.draw(rng, n_talkers, n_microphones) for _ in range(300)]

    print(f"{folder}: {len(pool)} rooms, opened in {1e3 * opened:.1f} ms")
    for n_talkers, n_microphones in ((2, 1), (2, 2)):
        rooms = draw(n_talkers, n_microphones)
        drawing = seconds(partial(draw, n_talkers, n_microphones)) / 300
        for rate_hz in (16000, 8000):
            costs = [seconds(partial(pool.responses, room, rate_hz)) for room in rooms]
            print(
                f"  {n_talkers} talkers, {n_microphones} microphones, {rate_hz} Hz: draw "
                f"{1e3 * drawing:.3f} ms, responses {1e3 * statistics.mean(costs):.2f} ms "
                f"(95 %: {1e3 * float(np.quantile(costs, 0.95)):.2f})"
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pool", type=Path, help="a pool of `diffsr prepare rooms` with 2 talkers or more")
    parser.add_argument("--rooms", type=int, default=5)
    parser.add_argument("--library", action="store_true", help="also by pyroomacoustics.ShoeBox, to compare")
    options = parser.parse_args()
    show_rendering(options.rooms, "diffsr", render_room)
    if options.library:
        show_rendering(options.rooms, "pyroomacoustics.ShoeBox", render_by_library)
    if options.pool:
        show_pool(options.pool)


if __name__ == "__main__":
    main()
