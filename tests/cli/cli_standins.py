"""Modules that learn in microseconds, in the place of the real ones: the command line is what is tested."""

from __future__ import annotations

import os
import signal

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

from diffsr.errors import CheckpointError, DataError


class Net(nn.Module):
    def __init__(self, width: int = 4, depth: int = 1) -> None:
        super().__init__()
        if depth > 9:
            raise ValueError(f"depth is {depth}; expected at most 9")
        self.layer = nn.Linear(width, 1)


class Prior(nn.Module):
    def __init__(self, network: Net, rate_hz: int = 16000) -> None:
        super().__init__()
        self.network, self.rate_hz = network, rate_hz


class TinyPrior(LightningModule):
    """Notes the weights it validates with; can stop itself as a user would."""

    validated: list[Tensor] = []

    def __init__(
        self, prior: Prior, learning_rate: float = 0.1, note: str = "", stop_at: int = -1, how: str = "INT"
    ) -> None:
        super().__init__()
        self.prior, self.learning_rate, self.stop_at, self.how = prior, learning_rate, stop_at, how

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        if self.global_step == self.stop_at:
            os.kill(os.getpid(), getattr(signal, f"SIG{self.how}"))
        loss = (self.prior.network.layer(batch["wave"]) - 1).square().mean()
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.validated.append(self.prior.network.layer.weight.detach().clone())
        self.log("valid/loss", (self.prior.network.layer(batch["wave"]) - 1).square().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), self.learning_rate)


class TinyTask(LightningModule):
    n_predicted = 0

    def __init__(self, prior: str = "none", output: str = "out", is_ended: bool = False) -> None:
        super().__init__()
        self.is_ended = is_ended
        if prior == "gone":
            raise CheckpointError("No prior at gone.")

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Nothing to score."""

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        assert not torch.is_inference_mode_enabled()  # samplers need gradients
        type(self).n_predicted = batch_idx + 1
        if self.is_ended and batch_idx == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return batch["wave"]


class TinyData(LightningDataModule):
    def __init__(self, data: str | None = None, width: int = 4, n_batches: int = 8) -> None:
        super().__init__()
        self.data, self.width, self.n_batches, self.rate_hz = data, width, n_batches, 16000

    def setup(self, stage: str) -> None:
        if self.data == "broken":
            raise DataError("broken: no audio in it. Expected wav files.")

    def _loader(self) -> DataLoader[dict[str, Tensor]]:
        rng = torch.Generator().manual_seed(1)
        items = [{"wave": torch.randn(self.width, generator=rng)}] * (2 * self.n_batches)
        return DataLoader(items, batch_size=2)  # type: ignore[arg-type]

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        return self._loader()

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        return self._loader()

    def predict_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        return self._loader()
