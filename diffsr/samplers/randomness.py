"""Random numbers that belong to an item, not to a batch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


class RowNoise:
    """Gaussian noise with one generator for each row (item and restart).

    The generator of a row is keyed by `(seed, item id, restart)` and lives on the CPU, so an item gets the
    same numbers in any batch, on any device and in any order.

    Args:
        seed: Seed of the run.
        item_ids: Identity of each item, length B.
        n_restarts: Posterior samples per item, R; rows are ordered item by item.
        first: Number of the first of them.
    """

    def __init__(self, seed: int, item_ids: Sequence[str], n_restarts: int = 1, first: int = 0) -> None:
        restarts = range(first, first + n_restarts)
        keys = [f"{seed}/{item}/{restart}" for item in item_ids for restart in restarts]
        self.generators = [torch.Generator().manual_seed(_hash63(key)) for key in keys]

    def normal_like(self, reference: Tensor) -> Tensor:
        """Standard normal numbers of the shape and device of `reference [rows, ...]`."""
        draws = [torch.randn(reference.shape[1:], generator=generator) for generator in self.generators]
        return torch.stack(draws).to(reference.device)


def _hash63(key: str) -> int:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1
