"""`diffsr prepare rooms`: a pool of simulated rooms on disk."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from diffsr.commands.terminal import Progress, say

if TYPE_CHECKING:
    from diffsr.simulation.pool import RoomPool

DEFAULT_COUNT = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `diffsr prepare rooms`."""
    parser.add_argument("output", metavar="OUT", help="folder of the pool; the same command again continues")
    parser.add_argument("--count", type=int, default=DEFAULT_COUNT, help="rooms (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other rooms (default: 0)")
    parser.add_argument("--talkers", type=int, default=3, help="positions a room (default: %(default)s)")
    parser.add_argument("--microphones", type=int, default=2, help="in a line (default: %(default)s)")
    parser.add_argument("--rate_hz", type=int, default=16000, help="sample rate (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes that render (default: 1)")


def run(options: argparse.Namespace) -> int:
    """Build the pool; returns the exit code."""
    from diffsr.simulation.pool import RoomPool, build_pool

    started = time.perf_counter()
    with Progress("rendering", "rooms") as progress:
        folder = build_pool(
            Path(options.output).expanduser(),
            options.count,
            seed=options.seed,
            n_talkers=options.talkers,
            n_microphones=options.microphones,
            rate_hz=options.rate_hz,
            workers=options.workers,
            progress=progress,
        )
    say(_summary(RoomPool(folder), time.perf_counter() - started))
    return 0


def _summary(pool: RoomPool, seconds: float) -> str:
    import numpy as np

    from diffsr.simulation.pool_folder import room_path

    times_s = [pool.room(number).rt60_s for number in range(len(pool))]
    quantiles = " ".join(f"{value:.2f}" for value in np.quantile(times_s, [0.05, 0.25, 0.5, 0.75, 0.95]))
    megabytes = sum(room_path(pool.folder, number).stat().st_size for number in range(len(pool))) / 1e6
    there = sum(1 for _ in room_path(pool.folder, 0).parent.glob("*.safetensors"))
    more = f"\n  {there} rooms are there: --count {there} uses all of them" if there > len(pool) else ""
    return (
        f"{pool.folder}: {len(pool)} rooms, {megabytes:.0f} MB, {seconds:.0f} s\n"
        f"  reverberation time asked for, 5/25/50/75/95 %: {quantiles} s{more}"
    )
