"""The optimizer of all trainings."""

from __future__ import annotations

from collections.abc import Callable

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.optim.lr_scheduler import LambdaLR


def adamw(
    module: LightningModule, learning_rate: float, weight_decay: float, factor: Callable[[int], float]
) -> OptimizerLRScheduler:
    """AdamW with decay of matrices and none of vectors, for `configure_optimizers`.

    Args:
        module: What is trained.
        learning_rate: At a factor of 1.
        weight_decay: Of parameters with two dimensions and more.
        factor: Of the learning rate at a step.
    """
    matrices = [p for p in module.parameters() if p.ndim >= 2]
    vectors = [p for p in module.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98))
    schedule = LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
