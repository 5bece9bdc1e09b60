"""Moves of a state that change which talker goes on in which track, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from diffsr.errors import ConfigError
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


def check_every(name: str, every: int) -> None:
    """Refuse a number of levels from one exchange to the next that is none.

    Raises:
        ConfigError: It is below 1.
    """
    if every < 1:
        raise ConfigError(f"{name} has every = {every}; expected 1 or more levels.")


def is_due(level: int, sigma: Tensor, every: int, sigma_low: float, sigma_high: float) -> bool:
    """Whether tracks are exchanged at this level: each `every`-th one, from the high sigma to the low one."""
    return level % every == 0 and sigma_low <= float(sigma.max()) <= sigma_high


def in_pairs(shape: Sequence[int], device: torch.device, changed: Callable[[Tensor], Tensor]) -> Tensor:
    """The track that each voice is in, long `[rows, S, N]`: of each pair of tracks as the last has left it.

    Args:
        shape: That of the order.
        device: Where it is.
        changed: Where a pair of voices, in the tracks `[rows, 2, N]`, has changed places, bool `[rows, N]`.
    """
    n_rows, n_tracks, n_places = shape
    order = torch.arange(n_tracks, device=device)[None, :, None].repeat(n_rows, 1, n_places)
    for a in range(n_tracks):
        for b in range(a):
            pair = order[:, [a, b]]
            order[:, [a, b]] = torch.where(changed(pair)[:, None], pair.flip(1), pair)
    return order
