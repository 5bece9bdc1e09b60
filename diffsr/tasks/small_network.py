"""What trainings of small networks share: optimizer, learning rate, random numbers, files."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from diffsr.errors import CheckpointError
from diffsr.io.network import SmallNetwork
from diffsr.tasks.budget import budget_used
from diffsr.tasks.devices import step_seed
from diffsr.tasks.learning_rate import check_learning_rate, learning_rate_factor
from diffsr.tasks.optimizer import adamw

SETTLED = 1_000_000
"""Updates that a network to start from counts as: an average of it needs no ramp, as a random start does."""


class SmallNetworkModule(LightningModule):
    """A training with AdamW, warm-up and a cosine over its budget (see `tasks.budget`).

    A subclass has the network as an attribute whose name is the prefix of its kind, such as `encoder`.

    Args:
        learning_rate: Peak learning rate of AdamW.
        warmup: Share of the budget with a rising learning rate.
        weight_decay: Of AdamW, for matrices.
        seed: Seed of what is drawn; that of step i does not depend on how training was interrupted.

    Raises:
        ConfigError: The learning rate or its warm-up is out of range.
    """

    def __init__(self, learning_rate: float, warmup: float, weight_decay: float, seed: int) -> None:
        super().__init__()
        check_learning_rate(learning_rate, warmup)
        self.learning_rate, self.warmup, self.weight_decay = learning_rate, warmup, weight_decay
        self.seed = seed
        self._has_start = False

    @property
    def initial_average(self) -> tuple[dict[str, Tensor], int] | None:
        """The average to go on from, the weights as they are, where they are not random ones."""
        return (self.state_dict(), SETTLED) if self._has_start else None

    @property
    def network(self) -> SmallNetwork:
        """What is trained."""
        raise NotImplementedError

    def card(self) -> str:
        """Of the trained network."""
        raise NotImplementedError

    def start_from(self, source: str) -> None:
        """Take the weights of another network of the same kind: a name that ships, a folder or a checkpoint.

        An average of the weights begins with them, so a slow one ends between the start and what was learned:
        of n steps with a decay d, a share d^n is the start.

        Raises:
            CheckpointError: There is none, or it has other sizes.
        """
        start = type(self.network).from_pretrained(source)
        if start.config != self.network.config:
            raise CheckpointError(
                f"The {self.network.kind.name} {source} has {start.config}, and the one to train "
                f"{self.network.config}. Train one of the same sizes, or leave out `start`."
            )
        self.network.load_state_dict(start.state_dict())
        self._has_start = True

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Store the configuration of the network, so that the checkpoint loads without its YAML."""
        checkpoint[self.network.kind.checkpoint_key] = self.network.config

    def on_fit_end(self) -> None:
        """Write the network, such as `<run>/encoder/`; by now the averaged weights are in place."""
        trainer = self.trainer
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            folder = Path(trainer.default_root_dir) / self.network.kind.prefix.removesuffix(".")
            self.network.save_pretrained(folder, self.card())

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW without decay of vectors, warm-up and cosine."""
        return adamw(self, self.learning_rate, self.weight_decay, self._learning_rate_factor)

    def _learning_rate_factor(self, step: int) -> float:
        return learning_rate_factor(budget_used(self.trainer, step), self.warmup)

    def step_rng(self, batch_idx: int) -> torch.Generator:
        """Of each step, each batch that is accumulated in a step, and each device."""
        seed = step_seed(self, self.seed, self.global_step, batch_idx)
        return torch.Generator(self.device).manual_seed(seed)

    def no_loss(self) -> Tensor:
        """Zero, for a batch of which nothing can be learned: all devices need a gradient in every step."""
        return sum((p.sum() * 0.0 for p in self.parameters()), torch.zeros((), device=self.device))

    def facts(self) -> dict[str, str]:
        """About the training, for a card."""
        speech = getattr(self.trainer.datamodule, "summary", "unknown")  # type: ignore[attr-defined]
        return {"Training speech": speech, "Training": f"{self.trainer.global_step} steps"}
