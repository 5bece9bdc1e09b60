"""Moves of a state that change which talker goes on in which track, and nothing else."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from diffsr.samplers.problem import Problem
from diffsr.typing import Sources


class Exchange(Protocol):
    """A move that leaves the sum of the tracks as it is."""

    def order(self, x0: Sources, sigma: Tensor, level: int, problem: Problem) -> Tensor | None:
        """The track that each track goes on with, long `[rows, S, T]`; None where all stay.

        Args:
            x0: The prior's estimate `[rows, S, T]`, before guidance.
            sigma: Its noise level `[rows]`.
            level: Its place in the schedule, from 0.
            problem: What is explained.
        """
        ...


def exchange(x: Sources, order: Tensor | None) -> Sources:
    """The tracks `[rows, S, T]` in the order of `Exchange.order`."""
    return x if order is None else x.gather(1, order)
