"""Batches of recordings of different lengths, and the items that could not be used."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from lightning import LightningDataModule
from torch import Tensor

_log = logging.getLogger(__name__)

Item = dict[str, Any]
"""One item: `id`, waveforms `[..., T]`, and more; without `observation` there is nothing to use in it."""
Batch = dict[str, Any]
DIMS = {"observation": 2, "target": 2, "dry": 2, "direct": 3, "reverberant": 3, "noise": 2}
"""Waveforms that items may have, with their number of dimensions."""


def nothing(problem: str | None = None) -> Item:
    """An item that no one can use, and why."""
    return {"problems": [] if problem is None else [problem]}


def collate(items: Sequence[Item]) -> Batch:
    """Stack waveforms, padded with zeros to the longest and the most channels, and list the rest.

    A batch has `n_samples`, int64 `[B]`, the lengths without padding, and `problems`, what could not be used.
    Items without `observation` leave only their problems behind; where no others are left, B is 0.
    """
    usable = [item for item in items if "observation" in item]
    lengths = [item["observation"].shape[-1] for item in usable]
    batch: Batch = {
        "id": [item["id"] for item in usable],
        "n_samples": torch.tensor(lengths, dtype=torch.int64),
        "problems": [problem for item in items for problem in item["problems"]],
    }
    names = usable[0].keys() if usable else ("observation", "target")
    for name in names:
        if name in DIMS:
            batch[name] = _stacked([item[name] for item in usable], DIMS[name])
        elif name not in batch:
            batch[name] = [item[name] for item in usable]
    return batch


class Reporting(LightningDataModule):
    """Counts in the main process what the workers could not use, and tells it at the end of a stage.

    Attributes:
        problems: What was wrong, each file once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.problems: dict[str, None] = {}  # in the order in which they came

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Note the problems of a batch; the first one is told at once."""
        found = batch.get("problems", [])
        if found and not self.problems:
            _log.warning("Skipped: %s More are counted and told at the end.", found[0])
        self.problems.update(dict.fromkeys(found))
        return batch

    def teardown(self, stage: str) -> None:
        """Tell how many there were."""
        if self.problems:
            first = next(iter(self.problems))
            _log.warning("Skipped in all: %d files or items; first: %s", len(self.problems), first)


def _stacked(waves: Sequence[Tensor], n_dims: int) -> Tensor:
    """Tensors `[..., T]` of different sizes -> `[B, ..., T]`, zeros where one has nothing."""
    if not waves:
        return torch.zeros((0,) * (n_dims + 1))
    largest = [max(sizes) for sizes in zip(*(wave.shape for wave in waves), strict=True)]
    stacked = waves[0].new_zeros(len(waves), *largest)
    for row, wave in zip(stacked, waves, strict=True):
        row[tuple(slice(size) for size in wave.shape)] = wave
    return stacked
