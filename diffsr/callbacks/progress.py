"""One progress bar for the whole training, with the time that is left."""

from __future__ import annotations

import math
import os
import sys
import time
from typing import Any, TextIO

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, Timer
from tqdm import tqdm


def seconds_left(steps_left: float, seconds_per_step: float, budget_left_s: float | None) -> float | None:
    """Time until the first of two limits: steps (inf for none) and seconds (None for none)."""
    limits = [] if budget_left_s is None else [max(0.0, budget_left_s)]
    if math.isfinite(steps_left) and math.isfinite(seconds_per_step):
        limits.append(max(0.0, steps_left) * seconds_per_step)
    return min(limits) if limits else None


def clock(seconds: float | None) -> str:
    """`4:12`, `1:04:12`, `2d 1:04:12`; `?` for an unknown time."""
    if seconds is None:
        return "?"
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    text = f"{h}:{m:02d}:{s:02d}" if hours else f"{m}:{s:02d}"
    return f"{days}d {text}" if days else text


class TrainingProgress(ProgressBar):
    """Steps done of steps to do, loss, seconds of audio per second, and time left.

    The time left counts validation in (it is measured on the wall clock) and ends at the first of
    `trainer.max_steps`, `trainer.max_epochs` and `trainer.max_time`. When the stream is no terminal,
    a line is written every `line_every_s` seconds instead of a bar.

    Args:
        line_every_s: Seconds between two lines without a terminal.
        stream: Where to write; stderr when None.
    """

    def __init__(self, line_every_s: float = 30.0, stream: TextIO | None = None) -> None:
        super().__init__()
        self.line_every_s = line_every_s
        self._stream = stream
        self._enabled = True
        self._bar: tqdm[Any] | None = None
        self._total = math.inf
        self._start_step = 0
        self._start_s = self._shown_s = 0.0
        self._audio_s = 0.0
        self._loss: float | None = None
        self._outputs: Any = None

    def disable(self) -> None:
        """Stay silent (Lightning calls this on all processes but the first)."""
        self._enabled = False

    def enable(self) -> None:
        """Speak again."""
        self._enabled = True

    def print(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Lightning's signature
        """Write a line without breaking the bar."""
        if self._enabled:
            tqdm.write(" ".join(map(str, args)), file=self._out)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar where the training stands."""
        self._total = float(trainer.estimated_stepping_batches)
        self._start_step = trainer.global_step
        self._start_s = self._shown_s = time.monotonic()
        self._audio_s, self._loss = 0.0, None
        start = f", from step {self._start_step}" if self._start_step else ""
        self.print(f"training in {trainer.default_root_dir}{start}")
        if self._enabled and self._out.isatty():
            total = int(self._total) if math.isfinite(self._total) else None
            self._bar = tqdm(
                total=total,
                initial=self._start_step,
                file=self._out,
                **_width(self._out),
                bar_format="{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} steps{postfix}"
                if total
                else "{desc} {n_fmt} steps{postfix}",
                desc="training",
            )

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ANN401 - Lightning's signature
        batch: Any,  # noqa: ANN401 - Lightning's signature
        batch_idx: int,
    ) -> None:
        """Count the step; show it when it is time."""
        self._outputs = outputs
        self._audio_s += _audio_seconds(batch, trainer, pl_module)
        now = time.monotonic()
        due = 0.3 if self._bar is not None else self.line_every_s
        if self._enabled and now - self._shown_s >= due:
            self._shown_s = now
            self._show(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar with the final state."""
        if self._enabled:
            self._show(trainer)
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the terminal in order."""
        self._close()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what takes the time."""
        if self._bar is not None:
            self._bar.set_description_str("validating")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Back to training."""
        if self._bar is not None:
            self._bar.set_description_str("training")

    @property
    def _out(self) -> TextIO:
        return self._stream or sys.stderr

    def _take_loss(self, n_accumulated: int) -> None:
        outputs, self._outputs = self._outputs, None
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if loss is not None:  # smoothed over what is shown, one device synchronisation each
            value = float(loss) * n_accumulated  # Lightning has divided it
            self._loss = value if self._loss is None else 0.8 * self._loss + 0.2 * value

    def _status(self, trainer: Trainer) -> str:
        elapsed_s = time.monotonic() - self._start_s
        done = trainer.global_step - self._start_step
        timers = [c for c in trainer.callbacks if isinstance(c, Timer)]  # type: ignore[attr-defined]
        budgets = [left for t in timers if (left := t.time_remaining()) is not None]
        left_s = seconds_left(
            self._total - trainer.global_step,
            elapsed_s / done if done else math.inf,
            min(budgets, default=None),
        )
        parts = [] if self._loss is None else [f"loss {self._loss:.3g}"]
        if self._audio_s and elapsed_s:
            parts.append(f"{self._audio_s * trainer.world_size / elapsed_s:.3g} s audio/s")
        return ", ".join([*parts, f"{clock(left_s)} left"])

    def _show(self, trainer: Trainer) -> None:
        self._take_loss(trainer.accumulate_grad_batches)
        if self._bar is not None:
            self._bar.set_postfix_str(self._status(trainer), refresh=False)
            self._bar.n = trainer.global_step
            self._bar.refresh()
            return
        total = f"/{self._total:.0f}" if math.isfinite(self._total) else ""
        self._out.write(f"training: step {trainer.global_step}{total}, {self._status(trainer)}\n")
        self._out.flush()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _width(stream: TextIO) -> dict[str, Any]:
    """Follow the terminal's width; some (docker exec) say 0, which would leave an empty line."""
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        columns = 0
    return {"dynamic_ncols": True} if columns else {"ncols": 100}


def _audio_seconds(batch: Any, trainer: Trainer, module: LightningModule) -> float:  # noqa: ANN401
    """Seconds of audio in a batch with a `wave` `[B, T]`; 0 where that is not known."""
    wave = batch.get("wave") if isinstance(batch, dict) else None
    owners = (trainer.datamodule, getattr(module, "prior", None), module)  # type: ignore[attr-defined]
    rate_hz = next((r for o in owners if (r := getattr(o, "rate_hz", None))), None)
    return 0.0 if wave is None or not rate_hz else float(wave.numel()) / float(rate_hz)
