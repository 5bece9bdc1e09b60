"""What the devices of a training share: means of validation scores, and random numbers that differ."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

SEEDS = 2**63
"""A generator of PyTorch takes no larger ones."""


def means_over_devices(module: LightningModule, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Mean of each score over the items of all devices that have one; scores that no item has are left out.

    Every device must give the same names, those without any item an empty tensor: what only some of them
    log makes the others wait for ever.

    Args:
        module: Of a running trainer.
        scores: Name -> of each item of this device `[n]`, NaN where there is none.
    """
    if not scores:
        return {}
    sums = []
    for values in scores.values():
        known = values.isfinite()
        sums.append(torch.stack([values.where(known, 0.0).double().sum(), known.double().sum()]))
    here = torch.stack(sums).float().to(module.device)  # not every accelerator has doubles
    gathered = module.all_gather(here)
    assert isinstance(gathered, Tensor), "a tensor is gathered as one"
    total, count = gathered.reshape(-1, len(scores), 2).sum(0).unbind(-1)
    return {name: total[place] / count[place] for place, name in enumerate(scores) if float(count[place]) > 0}


def log_means(module: LightningModule, scores: Mapping[str, Tensor]) -> None:
    """Log `means_over_devices` as `valid/<name>`."""
    for name, mean in means_over_devices(module, scores).items():
        module.log(f"valid/{name}", mean, sync_dist=True)


def step_seed(module: LightningModule, seed: int, step: int, batch_idx: int) -> int:
    """A seed of its own for each step, each batch that is accumulated in a step, and each device."""
    part = batch_idx % module.trainer.accumulate_grad_batches
    return (((seed * 1_000_003 + step) * 1_009 + module.global_rank) * 1_021 + part) % SEEDS
