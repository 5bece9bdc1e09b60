"""Exponential moving average of the weights, with checkpoints that are right at every moment."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import Tensor

from diffsr.errors import ConfigError


class AveragedWeights(EMAWeightAveraging):
    """Average of the weights; used in validation and stored as the `state_dict` of every checkpoint.

    The raw weights that training continues from are stored as `current_model_state`. Lightning's
    callback mixes the two up in two places, which this class puts right: in a checkpoint written
    after the end of training (the average has replaced the raw weights by then), and in one
    written by an interruption during validation (the two are swapped).

    In the first steps the decay is `(1 + n) / (10 + n)`, so that a short run is not dominated by its
    random start; after about `10 / (1 - decay)` steps it is `decay`. A module with an attribute
    `initial_average` (tensors by the names of its `state_dict`, and how many updates went into them)
    goes on from that average.

    Args:
        decay: Weight of the old average in each update, at least 0 and below 1. 0 switches averaging off.
        every_n_steps: Optimizer steps between two updates; those at the end of training go in at any rate.

    Raises:
        ConfigError: An argument is out of range.
    """

    def __init__(self, decay: float = 0.999, every_n_steps: int = 1) -> None:
        if not 0 <= decay < 1:
            raise ConfigError(f"ema.decay is {decay:g}, expected a number from 0 to below 1.")
        if every_n_steps < 1:
            raise ConfigError(
                f"ema.every_n_steps is {every_n_steps}, expected at least 1. Averaging is switched off with "
                "ema.decay=0."
            )
        super().__init__(use_buffers=False, decay=decay, update_every_n_steps=every_n_steps)
        self._kwargs["avg_fn"] = None
        self._kwargs["multi_avg_fn"] = _RampedAverage(decay)
        self._swapped = False
        self._raw: dict[str, Tensor] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begin the average, where the module has one from before with that."""
        super().setup(trainer, pl_module, stage)
        self._raw = None
        initial = getattr(pl_module, "initial_average", None)
        if stage == "fit" and initial is not None:
            assert self._average_model is not None
            tensors, n_averaged = initial
            self._average_model.module.load_state_dict(tensors)
            self._average_model.n_averaged.fill_(n_averaged)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring the average to where the weights are; it was made before they were moved.

        Its counter stays on the CPU, so that reading it in every step makes no accelerator wait.
        """
        if self._average_model is not None:
            self._average_model.module.to(pl_module.device)

    def weights(self, pl_module: LightningModule) -> tuple[dict[str, Tensor], dict[str, Tensor], int]:
        """Raw weights, average, and the updates that went into it, at any moment of a training."""
        current = pl_module.state_dict()
        if self._average_model is None:
            return current, current, 0
        n_averaged = int(self._average_model.n_averaged)
        if self._raw is not None:
            return self._raw, current, n_averaged
        other = self._average_model.module.state_dict()
        return (other, current, n_averaged) if self._swapped else (current, other, n_averaged)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Swap the average in."""
        super().on_validation_epoch_start(trainer, pl_module)
        self._swapped = self._average_model is not None

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Swap the raw weights back."""
        super().on_validation_epoch_end(trainer, pl_module)
        self._swapped = False

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replace the weights by their average; keep the raw ones for what is saved later."""
        assert self._average_model is not None
        if trainer.global_step > self._latest_update_step:
            self._average_model.update_parameters(pl_module)
            self._latest_update_step = trainer.global_step
        self._raw = {name: value.detach().clone() for name, value in pl_module.state_dict().items()}
        super().on_train_end(trainer, pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The same for a training that had been at its end before: Lightning skips what it has done."""
        if self._raw is None and self._average_model is not None:
            self.on_train_end(trainer, pl_module)

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
    def __call__(self, old: list[Tensor], new: list[Tensor], n_averaged: Tensor) -> None:
        weight = 1 - ((1 + n_averaged) / (10 + n_averaged)).clamp_max(self.decay)
        step = torch._foreach_sub(new, old)
        torch._foreach_mul_(step, weight)  # a tensor: no accelerator is waited for
        torch._foreach_add_(old, step)
