"""Training at toy size: the loss falls, talkers are told apart, and the run leaves an encoder that loads."""

from __future__ import annotations

import shutil

import pytest
import torch

from data_modules import CleanSpeech
from diffsr.errors import CheckpointError, ConfigError, DataError
from diffsr.speakers import SpeakerEncoder
from diffsr.speakers.augmentation import Disturbances
from diffsr.tasks.speaker import SpeakerModule, known_rows
from diffsr.tasks.teacher import Teacher

SMALL = dict(n_mels=8, width=8, depth=1, embedding_dim=4)
MILD = Disturbances(colour_db=3.0, low_pass=0.0, noise=0.3, snr_db=(20.0, 40.0), denoised=0.3)
LOUD = Disturbances(colour_db=6.0, low_pass=0.0, noise=1.0, snr_db=(-20.0, -20.0), denoised=0.0)


def train(corpus, fit, max_steps, redrawing=None, teacher=None, start=None, **data):
    torch.manual_seed(0)
    encoder = SpeakerEncoder(n_mels=32, width=32, depth=1, embedding_dim=16)
    module = SpeakerModule(encoder, MILD, redrawing, teacher, start, learning_rate=5e-3)
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
    module = SpeakerModule(SpeakerEncoder(**SMALL), MILD)
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


def test_a_share_of_the_crops_is_coloured_and_redrawn(redrawing):
    """Each wave by itself, at the level of the prior; the others are disturbed and not redrawn."""
    module = SpeakerModule(SpeakerEncoder(**SMALL), LOUD, redrawing)
    wave = torch.randn(8, 8_000, generator=torch.Generator().manual_seed(1))
    heard = module._another(wave, torch.Generator().manual_seed(0))
    state, _ = redrawing.prior.shown
    assert state.shape == (4, 1, 8_000)
    torch.testing.assert_close(state.std(-1), torch.full((4, 1), 0.05), rtol=0.01, atol=0)
    rms = heard.std(-1)
    assert sorted((rms > 5).tolist()) == [False] * 4 + [True] * 4  # noise at -20 dB
    quiet = torch.corrcoef(torch.cat([wave, heard]))[8:, :8].diagonal()[rms < 5]
    assert bool(((quiet > 0.2) & (quiet < 0.99)).all())  # of its own wave, and coloured


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_none_or_all_are_redrawn(redrawing, share):
    redrawing.share = share
    module = SpeakerModule(SpeakerEncoder(**SMALL), LOUD, redrawing)
    heard = module._another(torch.randn(3, 8_000), torch.Generator().manual_seed(0))
    assert (heard.std(-1) > 5).tolist() == [share == 0] * 3


def test_it_learns_from_redrawn_crops_and_like_a_teacher(corpus, fit, tmp_path, redrawing):
    """The embedding of the teacher of what it never hears: crop and reference, clean and in one piece."""
    torch.manual_seed(3)
    teacher = SpeakerEncoder(n_mels=32, width=32, depth=1, embedding_dim=16).save_pretrained(tmp_path / "old")
    taught = Teacher(str(teacher), weight=20.0)
    wave = 0.05 * torch.randn(4, 8_000)
    torch.manual_seed(0)
    before = taught.loss([SpeakerEncoder(n_mels=32, width=32, depth=1, embedding_dim=16)(wave)], wave)
    _, module, losses = train(corpus, fit, 60, redrawing, taught)
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    assert float(taught.loss([module.encoder.eval()(wave)], wave)) < 0.5 * float(before)
    assert not any("teacher" in name or "prior" in name for name, _ in module.named_parameters())
    assert all(not p.requires_grad and p.grad is None for p in taught.encoder.parameters())


def test_a_teacher_is_agreed_with_where_the_cosine_is_one(tmp_path):
    encoder = SpeakerEncoder(**SMALL)
    teacher = Teacher(str(encoder.save_pretrained(tmp_path / "teacher")), weight=3.0)
    wave = torch.randn(2, 8_000)
    own = encoder(wave)
    assert float(teacher.loss([own, own], wave)) == pytest.approx(0.0, abs=1e-5)
    assert float(teacher.loss([own, -own], wave)) == pytest.approx(3.0, abs=1e-5)
    assert float(teacher.loss([-own], wave)) == pytest.approx(6.0, abs=1e-5)


def test_what_does_not_go_with_the_encoder(tmp_path, redrawing):
    other = str(SpeakerEncoder(**{**SMALL, "embedding_dim": 6}).save_pretrained(tmp_path / "other"))
    with pytest.raises(ConfigError, match="gives 6 numbers at 16000 Hz, and the encoder 4 at 16000 Hz"):
        SpeakerModule(SpeakerEncoder(**SMALL), teacher=Teacher(other))
    with pytest.raises(ConfigError, match="weight = -1; expected a number of at least 0"):
        Teacher(other, weight=-1.0)
    with pytest.raises(CheckpointError, match="Train one of the same sizes"):
        SpeakerModule(SpeakerEncoder(**SMALL), start=other)
    with pytest.raises(ConfigError, match="redraws is for 16000 Hz, and the encoder for 8000 Hz"):
        SpeakerModule(SpeakerEncoder(8_000, **SMALL), redrawing=redrawing)


def test_training_goes_on_from_an_encoder(tmp_path):
    start = SpeakerEncoder(**SMALL).save_pretrained(tmp_path / "start")
    module = SpeakerModule(SpeakerEncoder(**SMALL), start=str(start))
    wave = torch.randn(1, 8_000)
    torch.testing.assert_close(module.encoder(wave), SpeakerEncoder.from_pretrained(start)(wave))
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_the_average_of_the_weights_begins_with_those_of_the_start(corpus, fit, tmp_path):
    """One step at a decay of 0.9: nine tenths of the start, and not the ramp of a random start."""
    sizes = dict(n_mels=32, width=32, depth=1, embedding_dim=16)
    start = SpeakerEncoder.from_pretrained(SpeakerEncoder(**sizes).save_pretrained(tmp_path / "start"))
    raw = {}

    def remember(module, *_):
        raw.update({name: value.clone() for name, value in module.encoder.state_dict().items()})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SpeakerModule, "on_train_batch_end", remember)
        _, module, _ = train(corpus, fit, 1, start=str(tmp_path / "start"))
    for name, value in start.named_parameters():
        torch.testing.assert_close(module.encoder.get_parameter(name), 0.9 * value + 0.1 * raw[name])
    assert not torch.equal(raw["stem.weight"], start.stem.weight)


def test_a_second_training_averages_from_where_the_first_ended(corpus, fit, tmp_path):
    start = SpeakerEncoder(n_mels=32, width=32, depth=1, embedding_dim=16).save_pretrained(tmp_path / "start")
    _, module, _ = train(corpus, fit, 20, start=str(start))
    trained = {name: value.clone() for name, value in module.encoder.named_parameters()}
    speech = CleanSpeech(str(corpus), str(corpus), crop_s=0.55, reference_s=0.55, batch_size=12)
    fit(module, speech, 1)
    first = SpeakerEncoder.from_pretrained(start)

    def distance(other):
        return sum(float((module.encoder.get_parameter(n) - v).square().sum()) for n, v in other) ** 0.5

    assert distance(trained.items()) < 0.2 * distance(first.named_parameters())
