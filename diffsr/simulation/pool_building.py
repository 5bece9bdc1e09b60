"""Rendering the rooms of a pool: in several processes, interruptible, and never twice."""

from __future__ import annotations

import multiprocessing
import shutil
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

from diffsr.errors import ConfigError, DataError
from diffsr.simulation.pool_folder import (
    PoolSettings,
    read_state,
    room_path,
    write_index,
    write_state,
)
from diffsr.simulation.room_file import read_room, write_room
from diffsr.simulation.rooms import recipe, render_room

Progress = Callable[[int, int], None]


def build_pool(
    folder: str | Path,
    count: int,
    seed: int = 0,
    n_talkers: int = 3,
    n_microphones: int = 2,
    rate_hz: int = 16000,
    workers: int = 1,
    progress: Progress | None = None,
) -> Path:
    """Render rooms into a folder; rooms that are there already are checked and kept.

    Room i depends on the seed and i alone, so a pool can be made larger later on. Training, validation and
    test use three pools with different seeds.

    Args:
        folder: The pool; it is made.
        count: Number of rooms.
        seed: Random seed.
        n_talkers: Talker positions a room.
        n_microphones: Microphones a room.
        rate_hz: Sample rate of the responses.
        workers: Processes that render.
        progress: Called with the numbers of finished and of all rooms, first with those that were there.

    Returns:
        The folder.

    Raises:
        ConfigError: The folder holds a pool with other settings, or a number is out of range.
        DataError: There is no space, or the folder cannot be written.
    """
    folder, settings = Path(folder), PoolSettings(count, seed, n_talkers, n_microphones, rate_hz)
    _check_settings(folder, settings, workers)
    try:
        if read_state(folder) is None:
            write_state(folder, settings, complete=False)
        _render_missing(folder, settings, workers, progress or (lambda done, total: None))
        write_index(folder, settings)
        write_state(folder, settings, complete=True)
    except OSError as error:
        missing = [k for k in range(count) if not room_path(folder, k).exists()]
        raise DataError(
            f"Cannot write the pool {folder}: {error.strerror or error}. Expected a folder that you may "
            f"write to, with about {_megabytes(settings, missing):.1f} MB for the rooms that are missing. "
            f"Finished rooms are kept; put it right and continue with: {settings.command(folder)}"
        ) from error
    return folder


def _check_settings(folder: Path, settings: PoolSettings, workers: int) -> None:
    if settings.count < 1 or settings.seed < 0 or settings.rate_hz < 1000 or workers < 1:
        raise ConfigError(
            f"A pool of {settings.count} rooms at {settings.rate_hz} Hz with seed {settings.seed} by "
            f"{workers} workers cannot be built: expected at least 1 room, 1000 Hz, seed 0 and 1 worker."
        )
    settings.room(0)  # refuses impossible numbers of talkers and microphones before anything is written
    state = read_state(folder)
    if state is None:
        return
    same = replace(state.settings, count=settings.count) == settings
    if not same or state.recipe != recipe():
        old, new = state.recipe.get("pyroomacoustics"), recipe()["pyroomacoustics"]
        versions = "" if old == new else f" (pyroomacoustics {old} there, {new} here)"
        raise ConfigError(
            f"{folder} holds a pool with other settings{versions}: {state.settings.command(folder)}. "
            "Expected the same but for --count. Choose another folder, or remove this one."
        )


def _render_missing(folder: Path, settings: PoolSettings, workers: int, progress: Progress) -> None:
    missing = [number for number in range(settings.count) if not _is_finished(folder, settings, number)]
    done = settings.count - len(missing)
    progress(done, settings.count)
    _check_space(folder, settings, missing)
    if workers == 1 or len(missing) < 2:
        for number in missing:
            _make_room(folder, settings, number)
            done += 1
            progress(done, settings.count)
        return
    # Not forked: torch's threads do not survive it.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_start_worker) as executor:
        try:
            futures = [executor.submit(_make_room, folder, settings, number) for number in missing]
            for future in as_completed(futures):
                future.result()
                done += 1
                progress(done, settings.count)
        except BrokenProcessPool as error:
            raise DataError(
                "A process that renders rooms was ended from outside, most likely for want of memory. "
                f"Finished rooms are kept; continue with fewer --workers: {settings.command(folder)}"
            ) from error
        finally:
            executor.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    """Ctrl-C reaches all processes: only the first stops, the others finish the room they are in."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def _make_room(folder: Path, settings: PoolSettings, number: int) -> None:
    room = settings.room(number)
    write_room(room_path(folder, number), room, render_room(room, settings.rate_hz), settings.rate_hz)


def _is_finished(folder: Path, settings: PoolSettings, number: int) -> bool:
    """Whether the file of a room is there, undamaged and the one that the settings ask for."""
    path = room_path(folder, number)
    if not path.is_file():
        return False
    try:
        room, _, rate_hz = read_room(path)
    except DataError:
        return False
    return rate_hz == settings.rate_hz and room == settings.room(number)


def _check_space(folder: Path, settings: PoolSettings, missing: Sequence[int]) -> None:
    needed, free = _megabytes(settings, missing), shutil.disk_usage(folder).free / 1e6
    if needed > free:
        raise DataError(
            f"{len(missing)} rooms need {needed:.1f} MB, but {folder} has {free:.1f} MB left. Make space "
            "there, or build fewer rooms (--count). Finished rooms are kept; continue with: "
            f"{settings.command(folder)}"
        )


def _megabytes(settings: PoolSettings, numbers: Sequence[int]) -> float:
    """Size of the files of rooms."""
    return sum(settings.n_bytes(settings.room(number)) for number in numbers) / 1e6
