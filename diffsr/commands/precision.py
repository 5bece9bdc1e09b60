"""In which precision an experiment computes where the experiment was written for another machine."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from diffsr.commands.terminal import note
from diffsr.networks.instructions import has_fast_bfloat16

BFLOAT16, FLOAT32 = "bf16-mixed", "32-true"
OPTION = "--trainer.precision"


def suited_precision(
    precision: str | int | None, accelerator: str, arguments: Sequence[str]
) -> str | int | None:
    """Single precision in place of the bfloat16 of an experiment, on a CPU that is not made for that.

    Products of matrices take up to 25 times as long there (docs/training.md). What the command line asks for
    itself stays.

    Args:
        precision: `trainer.precision`.
        accelerator: `trainer.accelerator`, a name.
        arguments: The command line.
    """
    is_asked_for = any(word.partition("=")[0] == OPTION for word in arguments)
    if precision != BFLOAT16 or is_asked_for or not _is_cpu(accelerator) or has_fast_bfloat16():
        return precision
    return FLOAT32


class TellPrecision(Callback):
    """Says at the first step that it computes in another precision than its experiment asks for.

    By then nothing is wrong with the data, whose errors come first.
    """

    def __init__(self) -> None:
        self._has_told = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """See class."""
        self._tell(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """See class."""
        self._tell(trainer)

    def _tell(self, trainer: Trainer) -> None:
        if trainer.is_global_zero and not self._has_told:
            note(
                f"this CPU is slow in bfloat16: computing in single precision ({OPTION}={BFLOAT16} does not)"
            )
        self._has_told = True


def _is_cpu(accelerator: str) -> bool:
    """Whether Lightning will compute on the CPU."""
    has_other = torch.cuda.is_available() or torch.backends.mps.is_available()
    return accelerator == "cpu" or (accelerator == "auto" and not has_other)
