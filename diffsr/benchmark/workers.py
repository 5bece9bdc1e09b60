"""Several processes that restore the items of a run, each with a system of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import torch

from diffsr.benchmark.items import Item
from diffsr.benchmark.restoring import Job, Row
from diffsr.benchmark.systems import Runnable
from diffsr.errors import ConfigError, DataError

_restore: Callable[[Item], Row]
"""Set in each process as it starts: it opens the system once, not for every item."""


@dataclass(frozen=True)
class Workers:
    """Processes that restore items.

    Attributes:
        count: How many; they share the threads that this process would use.
        open_system: Opens the system in each of them; it travels there by name and arguments.

    Raises:
        ConfigError: Less than one.
    """

    count: int
    open_system: Callable[[], Runnable]

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigError(f"--workers {self.count}: expected at least 1 process.")

    def restore(self, job: Job, items: Sequence[Item]) -> Generator[Row]:
        """Restore items, in the order in which they end; closed early, the processes are stopped at once.

        Raises:
            DataError: See `Job.restore`, or a process was ended from outside.
        """
        context = multiprocessing.get_context("spawn")  # not forked: torch's threads do not survive it
        count = min(self.count, len(items))
        n_threads = max(1, torch.get_num_threads() // count)
        others = set(multiprocessing.active_children())
        with ProcessPoolExecutor(count, context, _start, (self.open_system, job, n_threads)) as executor:
            futures = [executor.submit(_restore_here, item) for item in items]
            started = set(multiprocessing.active_children()) - others
            try:
                for future in as_completed(futures):
                    yield future.result()
            except BrokenProcessPool as error:
                raise DataError(
                    "A process that restores items was ended from outside, most likely for want of memory. "
                    "What was finished is kept; run again with fewer --workers."
                ) from error
            except BaseException:
                for process in started:  # an item may take minutes
                    process.terminate()
                raise
            finally:
                executor.shutdown(wait=True, cancel_futures=True)


def _start(open_system: Callable[[], Runnable], job: Job, n_threads: int) -> None:
    """Open the system. Ctrl-C reaches all processes: only the first answers, and ends the others."""
    global _restore
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(n_threads)
    system = open_system()

    def restore(item: Item) -> Row:
        return job.restore(item, system)

    _restore = restore


def _end_with_parent() -> None:
    """A process whose parent was killed would go on for nobody, and then wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _restore_here(item: Item) -> Row:
    return _restore(item)
