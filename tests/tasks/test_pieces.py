"""A training in pieces goes on where it stopped, from files that are small, and says what does not fit."""

from __future__ import annotations

import json
import logging
import math
from itertools import pairwise

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch.utils.data import DataLoader

from diffsr.callbacks import AveragedWeights, PieceExport, PieceTimer
from diffsr.diffusion import Prior
from diffsr.diffusion.pieces import read_start
from diffsr.errors import CheckpointError, ConfigError
from diffsr.io.weights import load_tensors, save_tensors
from diffsr.networks import TFTransformer
from diffsr.tasks import PriorModule
from diffsr.tasks.learning_rate import piece_factor

N_SAMPLES = 4096


def tiny_prior(**network) -> Prior:
    torch.manual_seed(0)
    return Prior(TFTransformer(**{"width": 16, "depth": 1, "heads": 2, **network}), window_s=0.256)


def batches(n: int = 8, seed: int = 0) -> DataLoader:
    """Harmonic tones of several pitches."""
    rng = torch.Generator().manual_seed(seed)
    time_s = torch.arange(N_SAMPLES) / 16_000
    pitch_hz = 100 + 100 * torch.rand(n, 4, 1, generator=rng)
    waves = sum(torch.sin(2 * math.pi * k * pitch_hz * time_s) / k for k in range(1, 6))
    return DataLoader([{"wave": 0.05 * wave} for wave in waves], batch_size=None)


def train(
    root, prior=None, steps=24, module_options=None, callbacks=(), data=None, valid=None
) -> PriorModule:
    module = PriorModule(
        prior or tiny_prior(),
        **{"learning_rate": 3e-3, "schedule": "constant", "n_samples": 0, **(module_options or {})},
    )
    trainer = Trainer(
        max_steps=steps,
        max_epochs=-1,
        default_root_dir=root,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[AveragedWeights(0.9), *callbacks],
    )
    trainer.fit(module, data or batches(), valid)
    return module


@pytest.fixture(scope="module")
def piece(tmp_path_factory):
    """A run with its first piece."""
    run = tmp_path_factory.mktemp("first")
    train(run)
    return run / "piece"


class First(Callback):
    """What the second piece begins with."""

    def on_train_start(self, trainer, pl_module):
        averaging = next(c for c in trainer.callbacks if isinstance(c, AveragedWeights))
        raw, average, self.n_averaged = averaging.weights(pl_module)
        self.raw = {name.removeprefix("prior."): t.clone() for name, t in raw.items()}
        self.average = {name.removeprefix("prior."): t.clone() for name, t in average.items()}


def test_a_piece_begins_with_the_weights_average_and_history_of_the_one_before(piece, tmp_path):
    first = First()
    train(tmp_path, module_options={"start": str(piece)}, callbacks=[first])
    for name, tensor in load_tensors(piece / "raw.safetensors").items():
        assert tensor.dtype == torch.bfloat16
        assert torch.equal(first.raw[name], tensor.float())
    for name, tensor in load_tensors(piece / "average.safetensors").items():
        assert torch.equal(first.average[name], tensor.float())
    assert any(not torch.equal(first.raw[name], first.average[name]) for name in first.raw)
    assert first.n_averaged == 24
    before, after = (
        json.loads((f / "piece.json").read_text(encoding="utf-8")) for f in (piece, tmp_path / "piece")
    )
    assert [before[key] for key in ("steps", "crops", "n_averaged")] == [24, 96, 24]
    assert [after[key] for key in ("steps", "crops", "n_averaged")] == [48, 192, 48]
    assert after["history"][0] == before["history"][0]
    assert after["minutes"] == pytest.approx(sum(entry["minutes"] for entry in after["history"]))
    assert "threads" in after["history"][1]["hardware"]


def test_the_exported_prior_is_the_average_and_its_card_names_both_pieces(piece, tmp_path):
    train(tmp_path, module_options={"start": str(piece), "storage": "bfloat16"})
    average = load_tensors(tmp_path / "piece" / "average.safetensors")
    prior = Prior.from_pretrained(tmp_path / "prior")
    for name, tensor in prior.state_dict().items():
        assert torch.equal(tensor, average[name].float())
    assert "1 piece: 24 steps, 96 crops" in (tmp_path / "prior" / "README.md").read_text()


def test_the_noise_of_a_piece_is_new(piece, tmp_path, monkeypatch):
    seeds = []
    step_seed = PriorModule._step_seed
    monkeypatch.setattr(
        PriorModule, "_step_seed", lambda self, i: (seeds.append(step_seed(self, i)), seeds[-1])[1]
    )
    train(tmp_path / "1", steps=3)
    train(tmp_path / "2", steps=3, module_options={"start": str(piece)})
    assert len(set(seeds)) == 6


def test_any_prior_is_a_start(piece, tmp_path):
    folder = tiny_prior(width=16).save_pretrained(tmp_path / "prior")
    first = First()
    train(tmp_path / "run", steps=1, module_options={"start": str(folder)}, callbacks=[first])
    expected = load_tensors(folder / "model.safetensors")
    assert all(torch.equal(first.average[name], expected[name]) for name in expected)
    assert first.n_averaged > 10_000  # no ramp: the average of a good prior is worth keeping


def test_a_network_that_is_told_talkers_starts_from_one_that_is_not(piece, tmp_path, caplog):
    prior = tiny_prior(speaker_width=8)
    with caplog.at_level(logging.WARNING):
        module = PriorModule(prior, start=str(piece))
    assert "has no network.condition.speaker.weight: trained from their initial values" in caplog.text
    z, sigma, speaker = torch.randn(2, N_SAMPLES), torch.tensor([0.1, 1.0]), torch.randn(2, 8)
    plain = tiny_prior()
    plain.load_state_dict(read_start(piece).raw)
    torch.testing.assert_close(module.prior.denoise(z, sigma, speaker), plain.denoise(z, sigma))


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (lambda: tiny_prior(width=32, heads=2), "tensors do not fit the network to train"),
        (lambda: Prior(TFTransformer(width=16, depth=1, heads=2), rate_hz=8000), "rate_hz"),
        (lambda: Prior(TFTransformer(width=16, depth=1, heads=2), sigma_data=0.1), "sigma_data"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(piece, prior, message):
    with pytest.raises(CheckpointError, match=message):
        PriorModule(prior(), start=str(piece))


def copy(piece, folder):
    folder.mkdir()
    for path in piece.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_damaged_pieces_are_refused(piece, tmp_path):
    cut = copy(piece, tmp_path / "cut")
    (cut / "average.safetensors").write_bytes((piece / "average.safetensors").read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        read_start(cut)
    half = copy(piece, tmp_path / "half")
    (half / "raw.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"raw\.safetensors"):
        read_start(half)
    garbled = copy(piece, tmp_path / "garbled")
    (garbled / "piece.json").write_text('{"format": "diffsr-piece-1", "history": 3}', encoding="utf-8")
    with pytest.raises(CheckpointError, match="record of a piece"):
        read_start(garbled)
    newer = copy(piece, tmp_path / "newer")
    record = json.loads((piece / "piece.json").read_text(encoding="utf-8"))
    (newer / "piece.json").write_text(json.dumps({**record, "format": "diffsr-piece-9"}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="diffsr-piece-9"):
        read_start(newer)
    broken = copy(piece, tmp_path / "broken")
    raw = load_tensors(piece / "raw.safetensors")
    save_tensors({name: tensor * torch.nan for name, tensor in raw.items()}, broken / "raw.safetensors")
    with pytest.raises(CheckpointError, match="NaN"):
        read_start(broken)
    with pytest.raises(CheckpointError, match="No prior at"):
        read_start(tmp_path / "nothing")


class StopAt(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            raise KeyboardInterrupt


def test_ctrl_c_leaves_a_usable_piece(tmp_path):
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(tmp_path, callbacks=[StopAt(5)])
    start = read_start(tmp_path / "piece")
    assert start.steps == 5
    assert not (tmp_path / "prior").exists()
    PriorModule(tiny_prior(), start=str(tmp_path / "piece"))


def test_a_stop_in_a_validation_reads_no_scores_that_devices_gather_together(tmp_path, monkeypatch):
    """The device that writes the piece would wait for the others for ever."""

    class StopInSecondValidation(Callback):
        def on_validation_batch_start(self, trainer, *_):
            if trainer.global_step == 16:
                monkeypatch.setattr(Trainer, "callback_metrics", property(lambda _: pytest.fail("gathered")))
                raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(tmp_path, callbacks=[StopInSecondValidation()], valid=batches(1))
    [piece] = read_start(tmp_path / "piece").history
    assert piece["steps"] == 16
    assert piece["valid"]["loss"] > 0


def test_a_killed_piece_keeps_its_last_interval(tmp_path):
    class Crash(StopAt):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.global_step == self.step:
                raise RuntimeError("killed")

    export = PieceExport(folder=str(tmp_path / "here"), every_n_steps=4)
    with pytest.raises(RuntimeError, match="killed"):
        train(tmp_path / "run", callbacks=[Crash(10), export])
    assert read_start(tmp_path / "here").steps == 8
    assert not (tmp_path / "run" / "piece").exists()


def test_the_time_of_a_piece_begins_before_its_training(tmp_path):
    timer = PieceTimer(minutes=0.05)
    timer._made_s -= 2.5  # what reading the data took
    train(tmp_path, steps=-1, callbacks=[timer])
    minutes = read_start(tmp_path / "piece").history[0]["minutes"]
    assert 0 < minutes < 0.05
    with pytest.raises(ConfigError, match="minutes is 0"):
        PieceTimer(minutes=0)


def test_the_rate_of_a_piece_rises_stays_and_in_the_last_one_falls():
    stay = [piece_factor(step / 1000, step, 100, last=False) for step in range(1000)]
    fall = [piece_factor(step / 1000, step, 100, last=True) for step in range(1001)]
    assert stay[0] == pytest.approx(0.01)
    assert stay[99:] == [1.0] * 901
    assert all(a < b for a, b in pairwise(stay[:100]))
    assert fall[-1] == pytest.approx(0)
    assert all(a >= b for a, b in pairwise(fall[100:]))
    # a budget of a few steps is not all warm-up
    assert piece_factor(0.2, 2, 100, last=False) == 1.0
