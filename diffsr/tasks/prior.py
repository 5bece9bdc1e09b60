"""Training of a speech prior."""

from __future__ import annotations

import math

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from diffsr.callbacks.export import PriorExport
from diffsr.callbacks.listening import PriorSamples
from diffsr.diffusion import LogNormalLevels, Prior
from diffsr.diffusion.loss import denoising_loss
from diffsr.diffusion.schedule import NoiseLevels
from diffsr.diffusion.validation import mean_scores, validation_scores


class PriorModule(LightningModule):
    """Trains a denoiser of clean speech over all noise levels.

    The learning rate rises linearly over the first `warmup` of the budget and falls along a cosine to zero
    at its end; the budget is `trainer.max_steps` or `trainer.max_time`, whichever is nearer to its end.

    Args:
        prior: The prior to train.
        levels: Distribution of the noise levels; log-normal around the level of speech when not given.
        learning_rate: Peak learning rate of AdamW.
        warmup: Share of the budget with a rising learning rate.
        weight_decay: Of AdamW.
        seed: Seed of the training noise; the noise of step i does not depend on how training was interrupted.
    """

    def __init__(
        self,
        prior: Prior,
        levels: NoiseLevels | None = None,
        learning_rate: float = 1e-3,
        warmup: float = 0.03,
        weight_decay: float = 0.01,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.prior = prior
        self.levels = levels or LogNormalLevels()
        self.learning_rate, self.warmup, self.weight_decay = learning_rate, warmup, weight_decay
        self.seed = seed

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Loss of one batch of clean speech, `batch["wave"] [B, T]`."""
        wave = batch["wave"]
        rng = torch.Generator(wave.device).manual_seed(self._step_seed(batch_idx))
        loss = denoising_loss(self.prior, wave, self.levels.sample(wave.shape[0], rng), rng).mean()
        self.log("train/loss", loss, prog_bar=True, batch_size=wave.shape[0])
        return loss

    def _step_seed(self, batch_idx: int) -> int:
        """A seed of its own for each step, each batch that is accumulated in a step, and each device."""
        part = batch_idx % self.trainer.accumulate_grad_batches
        return ((self.seed * 1_000_003 + self.global_step) * 1_009 + self.global_rank) * 1_021 + part

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Loss in each noise band and gain of plain denoising, on fixed items with fixed noise."""
        wave = batch["wave"]
        means = mean_scores(validation_scores(self.prior, wave, seed=batch_idx))
        for name, (mean, count) in means.items():
            self.log(f"valid/{name}", mean, batch_size=count, sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW without decay of vectors, warm-up and cosine."""
        matrices = [p for p in self.parameters() if p.ndim >= 2]
        vectors = [p for p in self.parameters() if p.ndim < 2]
        groups = [
            {"params": matrices, "weight_decay": self.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=self.learning_rate, betas=(0.9, 0.98))
        schedule = LambdaLR(optimizer, lambda step: learning_rate_factor(self._progress(step), self.warmup))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _progress(self, step: int) -> float:
        """Share of the training budget that is used, 0..1, the same on every device."""
        trainer = self.trainer
        n_steps = trainer.max_steps if trainer.max_steps > 0 else trainer.estimated_stepping_batches
        shares = [step / float(n_steps)]  # 0 where only time ends the training
        for timer in trainer.callbacks:  # type: ignore[attr-defined]  # trainer.max_time is one of these
            if isinstance(timer, Timer) and (left := timer.time_remaining()) is not None:
                elapsed = timer.time_elapsed()
                shares.append(elapsed / (elapsed + left) if elapsed + left > 0 else 1.0)
        progress = min(max(shares), 1.0)
        # Clocks differ between devices, and so would their learning rates.
        return progress if trainer.world_size == 1 else trainer.strategy.broadcast(progress)

    def configure_callbacks(self) -> list[Callback]:
        """What a finished training leaves behind: the exported prior and what it sounds like."""
        return [PriorExport(), PriorSamples()]

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Store the configuration of the prior, so that the checkpoint loads without its YAML."""
        checkpoint["diffsr_prior"] = self.prior.config


def learning_rate_factor(progress: float, warmup: float) -> float:
    """Linear rise over the share `warmup`, then half a cosine down to zero at progress 1."""
    if progress < warmup:
        return max(progress / warmup, 1e-2)
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))
