"""What trainings of small networks share: optimizer, learning rate, random numbers that a resume keeps."""

from __future__ import annotations

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.optim.lr_scheduler import LambdaLR

from diffsr.tasks.budget import budget_used
from diffsr.tasks.learning_rate import learning_rate_factor


class SmallNetworkModule(LightningModule):
    """A training with AdamW, warm-up and a cosine over its budget (`trainer.max_steps` or `max_time`).

    Args:
        learning_rate: Peak learning rate of AdamW.
        warmup: Share of the budget with a rising learning rate.
        weight_decay: Of AdamW, for matrices.
        seed: Seed of what is drawn; that of step i does not depend on how training was interrupted.
    """

    def __init__(self, learning_rate: float, warmup: float, weight_decay: float, seed: int) -> None:
        super().__init__()
        self.learning_rate, self.warmup, self.weight_decay = learning_rate, warmup, weight_decay
        self.seed = seed

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW without decay of vectors, warm-up and cosine."""
        groups = [
            {"params": [p for p in self.parameters() if p.ndim >= 2], "weight_decay": self.weight_decay},
            {"params": [p for p in self.parameters() if p.ndim < 2], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=self.learning_rate, betas=(0.9, 0.98))
        schedule = LambdaLR(
            optimizer, lambda step: learning_rate_factor(budget_used(self.trainer, step), self.warmup)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def step_rng(self, batch_idx: int) -> torch.Generator:
        """Of each step, each batch that is accumulated in a step, and each device."""
        part = batch_idx % self.trainer.accumulate_grad_batches
        seed = ((self.seed * 1_000_003 + self.global_step) * 1_009 + self.global_rank) * 1_021 + part
        return torch.Generator(self.device).manual_seed(seed)

    def facts(self) -> dict[str, str]:
        """About the training, for a card."""
        speech = getattr(self.trainer.datamodule, "summary", "unknown")  # type: ignore[attr-defined]
        return {"Training speech": speech, "Training": f"{self.trainer.global_step} steps"}
