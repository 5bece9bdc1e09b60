"""Training of a listener at toy size: it learns what is noise, and the run leaves a listener that loads."""

from __future__ import annotations

import pytest
import torch

from data_modules import CleanSpeech
from diffsr.errors import CheckpointError
from diffsr.noise import ImaginedNoise, NoiseListener
from diffsr.tasks.listener import ListenerModule


def small(width=24):
    return NoiseListener(n_fft=128, hop_samples=64, width=width, depth=2)


def train(corpus, fit, max_steps):
    torch.manual_seed(0)
    module = ListenerModule(small(), ImaginedNoise(-5.0, 5.0), learning_rate=5e-3)
    speech = CleanSpeech(
        str(corpus), str(corpus), crop_s=1.0, batch_size=8, crops_per_epoch=80, n_valid_crops=16
    )
    return fit(module, speech, max_steps), module


def test_it_learns_and_leaves_a_listener(corpus, fit, tmp_path):
    trainer, module = train(corpus, fit, max_steps=40)
    before = float(trainer.callback_metrics["valid/loss"])
    trainer, module = train(corpus, fit, max_steps=120)
    after = float(trainer.callback_metrics["valid/loss"])
    assert after < 0.75 * before
    assert 0 < float(trainer.callback_metrics["valid/level_error_db"]) < 20
    power = torch.rand(1, 65, 50)
    expected = module.listener.eval()(power)
    for source in ("listener", "checkpoints/last.ckpt"):
        torch.testing.assert_close(NoiseListener.from_pretrained(tmp_path / "run" / source)(power), expected)
    card = (tmp_path / "run" / "listener" / "README.md").read_text()
    assert "120 steps" in card
    assert "128 samples, every 64" in card


def test_a_training_goes_on_from_a_listener(tmp_path):
    begun = small()
    begun.save_pretrained(tmp_path / "begun")
    module = ListenerModule(small(), start=str(tmp_path / "begun"))
    torch.testing.assert_close(module.listener.embed.weight, begun.embed.weight)
    with pytest.raises(CheckpointError, match="Train one of the same sizes, or leave out `start`"):
        ListenerModule(small(width=16), start=str(tmp_path / "begun"))
