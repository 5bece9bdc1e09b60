"""Training at toy size: the loss falls, talkers are told apart, and the run leaves an encoder that loads."""

from __future__ import annotations

import shutil

import pytest
import torch

from data_modules import CleanSpeech
from diffsr.errors import ConfigError, DataError
from diffsr.speakers import SpeakerEncoder
from diffsr.speakers.augmentation import Disturbances
from diffsr.tasks.speaker import SpeakerModule, known_rows

MILD = Disturbances(colour_db=3.0, low_pass=0.0, noise=0.3, snr_db=(20.0, 40.0), denoised=0.3)


def train(corpus, fit, max_steps, **data):
    torch.manual_seed(0)
    encoder = SpeakerEncoder(n_mels=32, width=32, depth=1, embedding_dim=16)
    module = SpeakerModule(encoder, MILD, learning_rate=5e-3)
    options = {"valid": str(corpus), "crop_s": 0.55, "reference_s": 0.55, "speed_share": 0.0} | data
    speech = CleanSpeech(str(corpus), batch_size=12, crops_per_epoch=120, n_valid_crops=12, **options)
    losses = []
    step = SpeakerModule.training_step
    module.training_step = lambda *args: (losses.append(step(module, *args)), losses[-1])[1]
    trainer = fit(module, speech, max_steps)
    return trainer, module, [float(loss.detach()) for loss in losses]


def test_it_learns_and_leaves_an_encoder(corpus, fit, tmp_path):
    trainer, module, losses = train(corpus, fit, max_steps=60)
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    assert float(trainer.callback_metrics["valid/equal_error_rate"]) < 0.35  # chance: 0.5
    wave = torch.randn(2, 8_000)
    expected = module.encoder.eval()(wave)
    for source in ("encoder", "checkpoints/last.ckpt"):
        loaded = SpeakerEncoder.from_pretrained(tmp_path / "run" / source)
        torch.testing.assert_close(loaded(wave), expected)
    assert "60 steps" in (tmp_path / "run" / "encoder" / "README.md").read_text()


def test_nobody_to_tell_apart(corpus, fit, tmp_path):
    for path in sorted(corpus.rglob("*.wav")):
        path.rename(corpus / f"{path.parent.name}-{path.name}")
    for folder in corpus.glob("talker?"):
        folder.rmdir()
    with pytest.raises(DataError, match="speech names 0 talkers; a speaker encoder learns from labels"):
        train(corpus, fit, max_steps=1)


def test_a_single_talker_does_not_do_because_others_validate(corpus, fit, tmp_path):
    alone = shutil.copytree(corpus / "talker0", tmp_path / "alone" / "talker0").parent
    with pytest.raises(DataError, match="training speech names 1 talkers"):
        train(alone, fit, max_steps=1, valid=str(corpus))


def test_a_batch_without_known_talkers_has_a_loss_of_zero_and_gradients(monkeypatch):
    """Another device would wait for the gradients for ever."""
    module = SpeakerModule(SpeakerEncoder(n_mels=8, width=8, depth=1, embedding_dim=4), MILD)
    monkeypatch.setattr(module, "step_rng", lambda _: torch.Generator())
    wave = torch.randn(2, 8_000)
    batch = {"wave": wave, "reference": wave, "speaker": torch.tensor([-1, -1])}
    loss = module.training_step(batch, 0)
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is not None and not p.grad.any() for p in module.parameters())


def test_validation_speech_without_labels_tells_nothing_and_stops_nothing(corpus, fit, tmp_path):
    unlabelled = tmp_path / "valid"
    unlabelled.mkdir()
    for path in sorted(corpus.rglob("*.wav"))[:4]:
        shutil.copy(path, unlabelled / f"{path.parent.name}-{path.name}")
    trainer, _, losses = train(corpus, fit, max_steps=10, valid=str(unlabelled))
    assert len(losses) == 10
    assert "valid/equal_error_rate" not in trainer.callback_metrics


def test_without_references(corpus, fit, tmp_path):
    with pytest.raises(ConfigError, match="reference_s"):
        train(corpus, fit, max_steps=1, reference_s=0.0)


def test_rows_without_label_or_reference_are_left_out():
    reference = torch.ones(4, 10)
    reference[2] = 0
    batch = {"speaker": torch.tensor([3, -1, 4, 5]), "reference": reference}
    assert known_rows(batch).tolist() == [0, 3]
