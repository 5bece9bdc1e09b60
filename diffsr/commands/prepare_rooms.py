"""`diffsr prepare rooms`: a pool of simulated rooms on disk."""

from __future__ import annotations

import argparse
import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from diffsr.commands.terminal import say

if TYPE_CHECKING:
    from tqdm import tqdm

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
    with contextlib.closing(_Bar()) as bar:
        folder = build_pool(
            Path(options.output).expanduser(),
            options.count,
            seed=options.seed,
            n_talkers=options.talkers,
            n_microphones=options.microphones,
            rate_hz=options.rate_hz,
            workers=options.workers,
            progress=bar.show,
        )
    say(_summary(RoomPool(folder), time.perf_counter() - started))
    return 0


class _Bar:
    """One line of progress; rooms that were there before do not count for the time that is left."""

    def __init__(self) -> None:
        self._bar: tqdm[NoReturn] | None = None

    def show(self, done: int, total: int) -> None:
        """Finished and all rooms; the first call starts the clock."""
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(desc="rooms", total=total, initial=done, dynamic_ncols=True, smoothing=0.05)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Leave the line as it is."""
        if self._bar is not None:
            self._bar.close()


def _summary(pool: RoomPool, seconds: float) -> str:
    import numpy as np

    from diffsr.simulation.pool_folder import room_path

    times_s = [pool.room(number).rt60_s for number in range(len(pool))]
    quantiles = " ".join(f"{value:.2f}" for value in np.quantile(times_s, [0.05, 0.25, 0.5, 0.75, 0.95]))
    megabytes = sum(room_path(pool.folder, number).stat().st_size for number in range(len(pool))) / 1e6
    return (
        f"{pool.folder}: {len(pool)} rooms, {megabytes:.0f} MB, {seconds:.0f} s\n"
        f"  reverberation time asked for, 5/25/50/75/95 %: {quantiles} s"
    )
