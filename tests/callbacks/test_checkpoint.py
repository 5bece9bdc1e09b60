"""Checkpoint files are whole, and the two kinds of weights are never mixed up."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader

from diffsr.callbacks import AtomicCheckpoints, AveragedWeights, LastCheckpoint, PieceExport
from diffsr.errors import CheckpointError, ConfigError


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


def fit(model: LightningModule, folder: Path, steps: int = 8, average_every: int = 1, **options) -> dict:
    trainer = Trainer(
        accelerator="cpu",
        max_steps=steps,
        logger=False,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[AveragedWeights(0.5, average_every), LastCheckpoint(every_n_steps=3)],
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


@pytest.mark.parametrize("every", [5, 1000])
def test_the_last_weights_are_in_the_average_however_seldom_it_is_updated(tmp_path: Path, every: int) -> None:
    saved = fit(Drift(), tmp_path, average_every=every)
    updates = [1.0, 6.0, 8.0] if every == 5 else [1.0, 8.0]
    mean = updates[0]
    for n, weight in enumerate(updates[1:], start=1):
        d = (1 + n) / (10 + n)
        mean = d * mean + (1 - d) * weight
    assert saved["state_dict"]["weight"] == pytest.approx(mean)
    assert saved["averaging_state"]["n_averaged"] == len(updates)


def test_averages_that_would_never_be_updated_are_refused() -> None:
    with pytest.raises(ConfigError, match="every_n_steps is 0, expected at least 1"):
        AveragedWeights(every_n_steps=0)
    for decay in (1.0, -0.1, float("nan")):
        with pytest.raises(ConfigError, match="decay is .*, expected a number from 0 to below 1"):
            AveragedWeights(decay)


def test_checkpoints_and_pieces_come_every_few_steps() -> None:
    for kind in (LastCheckpoint, PieceExport):
        with pytest.raises(ConfigError, match="every_n_steps is 0, expected at least 1"):
            kind(every_n_steps=0)


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
