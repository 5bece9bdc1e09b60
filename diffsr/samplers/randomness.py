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

    Antithetic restarts come in pairs of which the second has the numbers of the first with the opposite
    sign. Each is a sample like any other, but what one is off by the other largely is in the opposite
    direction, so that the mean of the two has less error than that of independent ones (arXiv 2506.06185).

    Args:
        seed: Seed of the run.
        item_ids: Identity of each item, length B.
        n_restarts: Posterior samples per item, R; rows are ordered item by item.
        first: Number of the first of them.
        antithetic: Whether restarts 0 and 1, 2 and 3 and so on are antithetic pairs.
    """

    def __init__(
        self,
        seed: int,
        item_ids: Sequence[str],
        n_restarts: int = 1,
        first: int = 0,
        antithetic: bool = False,
    ) -> None:
        restarts = range(first, first + n_restarts)
        signs = [-1 if antithetic and restart % 2 else 1 for restart in restarts]
        own = [restart - (sign < 0) for restart, sign in zip(restarts, signs, strict=True)]
        keys = [f"{seed}/{item}/{number}" for item in item_ids for number in own]
        self.generators = [torch.Generator().manual_seed(_hash63(key)) for key in keys]
        self.signs = signs * len(item_ids)

    def normal_like(self, reference: Tensor) -> Tensor:
        """Standard normal numbers of the shape and device of `reference [rows, ...]`."""
        draws = [
            sign * torch.randn(reference.shape[1:], generator=generator)
            for sign, generator in zip(self.signs, self.generators, strict=True)
        ]
        return torch.stack(draws).to(reference.device)


def _hash63(key: str) -> int:
    return int.from_bytes(hashlib.sha256(key.encode(errors="surrogateescape")).digest()[:8], "big") >> 1
