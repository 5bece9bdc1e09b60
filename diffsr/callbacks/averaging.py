"""Exponential moving average of the weights, with checkpoints that are right at every moment."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import Tensor


class AveragedWeights(EMAWeightAveraging):
    """Average of the weights; used in validation and stored as the `state_dict` of every checkpoint.

    The raw weights that training continues from are stored as `current_model_state`. Lightning's
    callback mixes the two up in two places, which this class puts right: in a checkpoint written
    after the end of training (the average has replaced the raw weights by then), and in one
    written by an interruption during validation (the two are swapped).

    In the first steps the decay is `(1 + n) / (10 + n)`, so that a short run is not dominated by its
    random start; after about `10 / (1 - decay)` steps it is `decay`.

    Args:
        decay: Weight of the old average in each update, 0 to 1. 0 switches averaging off.
        every_n_steps: Optimizer steps between two updates.
    """

    def __init__(self, decay: float = 0.999, every_n_steps: int = 1) -> None:
        super().__init__(use_buffers=False, decay=decay, update_every_n_steps=every_n_steps)
        self._kwargs["avg_fn"] = _RampedAverage(decay)
        self._swapped = False
        self._raw: dict[str, Tensor] | None = None

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Swap the average in."""
        super().on_validation_epoch_start(trainer, pl_module)
        self._swapped = self._average_model is not None

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Swap the raw weights back."""
        super().on_validation_epoch_end(trainer, pl_module)
        self._swapped = False

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replace the weights by their average; keep the raw ones for the last checkpoint."""
        self._raw = {name: value.detach().clone() for name, value in pl_module.state_dict().items()}
        super().on_train_end(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store the average as `state_dict`, the raw weights as `current_model_state`."""
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        if self._raw is not None:
            checkpoint["current_model_state"] = self._raw
        elif self._swapped:
            average, raw = checkpoint["current_model_state"], checkpoint["state_dict"]
            checkpoint["state_dict"], checkpoint["current_model_state"] = average, raw


class _RampedAverage:
    """Averaging function for `torch.optim.swa_utils.AveragedModel`; a class, so that it can be pickled."""

    def __init__(self, decay: float) -> None:
        self.decay = decay

    @torch.no_grad()
    def __call__(self, old: Tensor, new: Tensor, n_averaged: Tensor | int) -> Tensor:
        n = float(n_averaged)
        return torch.lerp(new, old, min(self.decay, (1 + n) / (10 + n)))
