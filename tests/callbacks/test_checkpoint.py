"""Checkpoint files are whole, and the two kinds of weights are never mixed up."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader

from diffsr.callbacks import AtomicCheckpoints, AveragedWeights, LastCheckpoint
from diffsr.errors import CheckpointError


class Drift(LightningModule):
    """Its weight is the number of steps taken; its constant must not drift."""

    def __init__(self, stop_in_validation: bool = False) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.register_buffer("constant", torch.tensor(0.1))
        self.stop_in_validation = stop_in_validation

    def training_step(self, batch, batch_idx):
        return -self.weight

    def validation_step(self, batch, batch_idx):
        if self.stop_in_validation:
            raise KeyboardInterrupt

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1.0)


def fit(model: LightningModule, folder: Path, steps: int = 8, **options) -> dict:
    trainer = Trainer(
        accelerator="cpu",
        max_steps=steps,
        logger=False,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[AveragedWeights(decay=0.5), LastCheckpoint(every_n_steps=3)],
        plugins=[AtomicCheckpoints()],
        **options,
    )
    batches = DataLoader(torch.zeros(8), batch_size=1)  # type: ignore[arg-type]
    try:
        trainer.fit(model, batches, batches)
    except SystemExit:
        assert trainer.interrupted
    return torch.load(folder / "checkpoints/last.ckpt", weights_only=True)


def average(steps: int, decay: float = 0.5) -> float:
    mean = 1.0  # the first update copies
    for n in range(1, steps):
        d = min(decay, (1 + n) / (10 + n))
        mean = d * mean + (1 - d) * (n + 1)
    return mean


def test_after_training_the_raw_weights_are_still_there(tmp_path: Path) -> None:
    model = Drift()
    saved = fit(model, tmp_path)
    assert saved["current_model_state"]["weight"] == 8
    assert saved["state_dict"]["weight"] == pytest.approx(average(8))
    assert saved["state_dict"]["constant"] == torch.tensor(0.1)
    assert model.weight.item() == pytest.approx(average(8))  # what is used after training


def test_interruption_during_validation(tmp_path: Path) -> None:
    saved = fit(Drift(stop_in_validation=True), tmp_path)
    assert saved["current_model_state"]["weight"] == 8
    assert saved["state_dict"]["weight"] == pytest.approx(average(8))


def test_a_crash_keeps_the_last_interval(tmp_path: Path) -> None:
    class Crash(Drift):
        def training_step(self, batch, batch_idx):
            if self.global_step == 7:
                raise RuntimeError("out of memory")
            return super().training_step(batch, batch_idx)

    with pytest.raises(RuntimeError, match="out of memory"):
        fit(Crash(), tmp_path)
    assert torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 6


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "checkpoints" / "last.ckpt"
    AtomicCheckpoints().save_checkpoint({"step": 1}, target)

    def full(_: object, path: Path) -> None:
        assert path.parent == target.parent  # so that it can be renamed
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lightning.fabric.plugins.io.torch_io._atomic_save", full)
    with pytest.raises(CheckpointError, match="No space left on device.*Free some disk space"):
        AtomicCheckpoints().save_checkpoint({"step": 2}, target)
    assert torch.load(target, weights_only=True) == {"step": 1}
    assert [p.name for p in target.parent.iterdir()] == ["last.ckpt"]
