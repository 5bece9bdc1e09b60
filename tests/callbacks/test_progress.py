"""The time left and how it is written."""

from __future__ import annotations

import io
import math

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader

from diffsr.callbacks.progress import TrainingProgress, clock, seconds_left


@pytest.mark.parametrize(
    ("steps", "per_step", "budget", "expected"),
    [
        (100, 0.5, None, 50),
        (100, 0.5, 20, 20),  # trainer.max_time comes first
        (100, 0.5, 80, 50),
        (math.inf, 0.5, 80, 80),
        (math.inf, 0.5, None, None),
        (100, math.inf, None, None),  # no step done yet
        (0, 0.5, -3, 0),
    ],
)
def test_seconds_left(steps: float, per_step: float, budget: float | None, expected: float | None) -> None:
    assert seconds_left(steps, per_step, budget) == expected


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "?"), (5.4, "0:05"), (252, "4:12"), (3852, "1:04:12"), (176652, "2d 1:04:12")],
)
def test_clock(seconds: float | None, text: str) -> None:
    assert clock(seconds) == text


class Speech(LightningModule):
    rate_hz = 16000

    def __init__(self) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(()))

    def training_step(self, batch, batch_idx):
        return (self.gain * batch["wave"]).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_one_report_for_the_whole_training(stream: io.StringIO, tmp_path) -> None:
    items = [{"wave": torch.ones(1600)} for _ in range(4)]
    trainer = Trainer(
        accelerator="cpu",
        max_steps=10,  # two and a half epochs
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=[TrainingProgress(line_every_s=0.0, stream=stream)],
    )
    trainer.fit(Speech(), DataLoader(items, batch_size=1))  # type: ignore[arg-type]
    text = stream.getvalue()
    if stream.isatty():
        assert "100%" in text
        assert "10/10 steps" in text
        return
    lines = text.splitlines()
    assert lines[0] == f"training in {tmp_path}"
    assert lines[1].startswith("training: step 1/10, loss 1, ")
    assert "s audio/s" in lines[1]
    assert lines[-1].startswith("training: step 10/10, loss ")
    assert lines[-1].endswith("0:00 left")
    assert len(lines) == 12


def test_the_loss_is_that_of_the_model_where_batches_are_accumulated(tmp_path) -> None:
    stream = io.StringIO()
    trainer = Trainer(
        accelerator="cpu",
        max_steps=1,
        accumulate_grad_batches=4,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=[TrainingProgress(line_every_s=0.0, stream=stream)],
    )
    trainer.fit(Speech(), DataLoader([{"wave": torch.ones(1600)}] * 4, batch_size=1))  # type: ignore[arg-type]
    assert stream.getvalue().splitlines()[-1].startswith("training: step 1/1, loss 1, ")
