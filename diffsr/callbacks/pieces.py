"""Training in pieces: what a piece leaves behind, and when it ends."""

from __future__ import annotations

import time
from collections import deque
from datetime import timedelta
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Timer
from torch import Tensor

from diffsr.callbacks.averaging import AveragedWeights
from diffsr.diffusion.pieces import write_piece
from diffsr.diffusion.prior import Prior
from diffsr.errors import ConfigError
from diffsr.io.run_layout import piece_folder

N_LOSSES = 100
"""Steps over which the loss at the start and at the end of a piece is averaged."""


class PieceTimer(Timer):
    """Ends the training `minutes` after this object was made, so that the reading of data counts.

    Args:
        minutes: Time for reading and training together; the exported prior is scored after it.
    """

    def __init__(self, minutes: float = 9.0) -> None:
        if not minutes > 0:
            raise ConfigError(f"minutes is {minutes:g}; a piece of a training needs a time above 0.")
        super().__init__(timedelta(minutes=minutes))
        self._made_s = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take off what the start has used; at least a second is left."""
        super().on_train_start(trainer, pl_module)
        assert self._duration is not None
        self._duration = max(1.0, self._duration - (time.monotonic() - self._made_s))


class PieceExport(Callback):
    """Writes raw and averaged weights and the history of a training, see `diffsr.diffusion.pieces`.

    Every few steps, when training ends, and on Ctrl-C or SIGTERM; other errors write nothing.

    Args:
        folder: Where; `<run>/piece` when None.
        every_n_steps: Steps between two writings.

    Raises:
        ConfigError: It is below 1.
    """

    def __init__(self, folder: str | None = None, every_n_steps: int = 500) -> None:
        super().__init__()
        if every_n_steps < 1:
            raise ConfigError(f"PieceExport: every_n_steps is {every_n_steps}, expected at least 1.")
        self.folder, self.every_n_steps = folder, every_n_steps
        self._training = False
        self._crops = 0
        self._seconds_before = self._started_s = 0.0
        self._first: list[Tensor] = []
        self._last: deque[Tensor] = deque(maxlen=N_LOSSES)
        self._valid: dict[str, float] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on there is something to write."""
        self._training = True
        self._started_s = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ANN401 - Lightning's signature
        batch: Any,  # noqa: ANN401 - Lightning's signature
        batch_idx: int,
    ) -> None:
        """Count the crops, keep the loss, write on every `every_n_steps`-th step."""
        self._crops += len(batch["wave"]) * trainer.world_size
        loss = outputs["loss"].detach() * trainer.accumulate_grad_batches
        if len(self._first) < N_LOSSES:
            self._first.append(loss)
        self._last.append(loss)
        if trainer.global_step % self.every_n_steps == 0:
            self._write(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the scores, on every device: who reads them alone, later, may wait for the others for ever."""
        if trainer.sanity_checking:
            return
        self._valid = {
            name.removeprefix("valid/"): round(float(value), 5)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("valid/")
        }

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the end of the piece."""
        self._write(trainer, pl_module)
        self._training = False

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write when the user or the system stops the training."""
        if self._training and isinstance(exception, KeyboardInterrupt | SystemExit):
            self._write(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed piece has to remember."""
        return {"crops": self._crops, "seconds": self._seconds(), "first": [float(x) for x in self._first]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self._crops, self._seconds_before = state_dict["crops"], state_dict["seconds"]
        self._first = [torch.tensor(x) for x in state_dict["first"]]

    def _seconds(self) -> float:
        return self._seconds_before + (time.monotonic() - self._started_s if self._training else 0.0)

    def _write(self, trainer: Trainer, module: LightningModule) -> None:
        prior = module.prior
        if (
            not trainer.is_global_zero
            or trainer.fast_dev_run  # type: ignore[attr-defined]
            or not isinstance(prior, Prior)
            or not trainer.global_step
        ):
            return
        raw, average, n_averaged = _weights(trainer, module)
        piece = {
            "steps": trainer.global_step,
            "crops": self._crops,
            "minutes": round(self._seconds() / 60, 3),
            "schedule": getattr(module, "schedule", None),
            "learning_rate": getattr(module, "learning_rate", None),
            "precision": str(trainer.precision),
            "data": getattr(trainer.datamodule, "summary", None),  # type: ignore[attr-defined]
            "hardware": hardware(trainer),
            "loss_first": _mean(self._first),
            "loss_last": _mean(self._last),
            "valid": self._valid,
        }
        folder = self.folder or piece_folder(trainer.default_root_dir)
        before = getattr(module, "history", ())
        write_piece(folder, prior, _of_prior(raw), _of_prior(average), n_averaged, [*before, piece])


def hardware(trainer: Trainer) -> str:
    """`1 x NVIDIA H100`, `1 x CPU, 2 threads`."""
    device = trainer.strategy.root_device
    count = trainer.num_devices * trainer.num_nodes
    if device.type == "cuda":
        return f"{count} x {torch.cuda.get_device_name(device)}"
    return f"{count} x {device.type.upper()}, {torch.get_num_threads()} threads"


def _weights(trainer: Trainer, module: LightningModule) -> tuple[dict[str, Tensor], dict[str, Tensor], int]:
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, AveragedWeights):
            return callback.weights(module)
    weights = module.state_dict()
    return weights, weights, 0


def _of_prior(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("prior."): t for name, t in weights.items() if name.startswith("prior.")}


def _mean(losses: Any) -> float | None:  # noqa: ANN401 - a list or a deque of tensors
    return round(float(torch.stack([loss.cpu() for loss in losses]).mean()), 5) if losses else None
