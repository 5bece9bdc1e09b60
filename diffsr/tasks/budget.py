"""How much of a training is done."""

from __future__ import annotations

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Timer


def budget_used(trainer: Trainer, step: int) -> float:
    """Share of the training budget that is used at `step`, 0..1, the same on every device.

    The budget is `trainer.max_steps`, `trainer.max_epochs` or `trainer.max_time`, whichever is nearest to its
    end.
    """
    n_steps = float(trainer.estimated_stepping_batches)  # inf or -1 where only time ends the training
    shares = [1.0 if n_steps == 0 else max(0.0, step / n_steps)]
    if n_steps < 0 and (n_epochs := trainer.max_epochs or 0) > 0:  # of batches that nobody can count
        shares.append(trainer.current_epoch / n_epochs)
    for timer in trainer.callbacks:  # type: ignore[attr-defined]  # trainer.max_time is one of these
        if isinstance(timer, Timer) and (left := timer.time_remaining()) is not None:
            elapsed = timer.time_elapsed()
            shares.append(elapsed / (elapsed + left) if elapsed + left > 0 else 1.0)
    used = min(max(shares), 1.0)
    # Clocks differ between devices, and so would their learning rates.
    return used if trainer.world_size == 1 else trainer.strategy.broadcast(used)
