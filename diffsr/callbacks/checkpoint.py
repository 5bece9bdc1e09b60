"""The checkpoint a run continues from: `<run>/checkpoints/last.ckpt`, always whole, always recent."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn

from diffsr.errors import CheckpointError, ConfigError
from diffsr.io.atomic import replacing
from diffsr.io.run_layout import last_checkpoint
from diffsr.io.weights import load_checkpoint


class AtomicCheckpoints(TorchCheckpointIO):
    """Checkpoint files that are either the old one or the new one, whatever happens while writing.

    Those that cannot be read are told by name.

    Lightning writes to the system's temporary folder and moves; across file systems that is a
    copy, which a kill can cut in half. Here the temporary file lies beside the target.
    """

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: Any | None = None,  # noqa: ANN401 - Lightning's signature
    ) -> None:
        """Write `checkpoint` to `path`; on failure `path` is left as it was."""
        try:
            with replacing(Path(path)) as temporary:
                super().save_checkpoint(checkpoint, temporary, storage_options)
        except OSError as error:
            raise CheckpointError(
                f"{path}: the checkpoint cannot be written ({error}). Free some disk space or choose "
                "another place with --runs DIR."
            ) from error

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Any | None = None,  # noqa: ANN401 - Lightning's signature
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint to the CPU, without running code that may be in it.

        Raises:
            CheckpointError: It is cut short, or something else.
        """
        content = load_checkpoint(Path(path))
        if "state_dict" not in content:
            raise CheckpointError(
                f"{path} holds no weights of a model; expected a checkpoint of `diffsr fit`."
            )
        return content


class LastCheckpoint(Checkpoint):
    """Writes `last.ckpt` every few steps, when training ends, and on Ctrl-C or SIGTERM.

    Other errors write nothing, because the state they leave behind may be broken; the checkpoint of
    the last interval stands.

    Args:
        every_n_steps: Optimizer steps between two checkpoints.

    Raises:
        ConfigError: It is below 1.
    """

    def __init__(self, every_n_steps: int = 200) -> None:
        super().__init__()
        if every_n_steps < 1:
            raise ConfigError(f"checkpoint.every_n_steps is {every_n_steps}, expected at least 1.")
        self.every_n_steps = every_n_steps
        self._saved_step = -1
        self._training = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on the state is worth saving."""
        self._training = True
        self._saved_step = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ANN401 - Lightning's signature
        batch: Any,  # noqa: ANN401 - Lightning's signature
        batch_idx: int,
    ) -> None:
        """Save on every `every_n_steps`-th step."""
        if trainer.global_step % self.every_n_steps == 0:
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the end of the training, over the checkpoint of the same step if there is one."""
        self._saved_step = -1
        self._save(trainer)
        self._training = False

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save when the user or the system stops the training."""
        if self._training and isinstance(exception, KeyboardInterrupt | SystemExit):
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        trying = trainer.sanity_checking or trainer.fast_dev_run  # type: ignore[attr-defined]
        fitting = trainer.state.fn == TrainerFn.FITTING and not trying
        if not fitting or trainer.global_step == self._saved_step:
            return
        trainer.save_checkpoint(last_checkpoint(trainer.default_root_dir))
        self._saved_step = trainer.global_step
