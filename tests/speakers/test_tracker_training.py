"""Training of a tracker at toy size: it learns who is who, and the run leaves a tracker that loads."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from data_modules import CleanSpeech
from diffsr.errors import CheckpointError, ConfigError, DataError
from diffsr.speakers import VoiceTracker
from diffsr.speakers.exchanges import Exchanges, make_plan
from diffsr.tasks.tracker import TrackerModule, by_token


def train(corpus, fit, max_steps):
    torch.manual_seed(0)
    module = TrackerModule(
        VoiceTracker(width=32, depth=1, heads=2, embedding_dim=4),
        Exchanges((0.5, 2.0), parts_hz=1.0, leak=0.05),
        learning_rate=3e-3,
    )
    speech = CleanSpeech(
        str(corpus), str(corpus), crop_s=1.5, batch_size=12, crops_per_epoch=240, n_valid_crops=12
    )
    return fit(module, speech, max_steps), module


def test_it_learns_and_leaves_a_tracker(corpus, fit, tmp_path):
    trainer, module = train(corpus, fit, max_steps=100)
    found, before = (
        float(trainer.callback_metrics[f"valid/{n}"]) for n in ("wrong_share", "wrong_share_before")
    )
    assert before > 0.15
    assert found < 0.5 * before
    tracks = torch.randn(1, 2, 24_000)
    expected = module.tracker.eval()(module.tracker.bands(tracks))
    for source in ("tracker", "checkpoints/last.ckpt"):
        loaded = VoiceTracker.from_pretrained(tmp_path / "run" / source)
        torch.testing.assert_close(loaded(loaded.bands(tracks)), expected)
    card = (tmp_path / "run" / "tracker" / "README.md").read_text()
    assert "100 steps" in card
    assert "48 ms" in card


def test_nobody_to_tell_apart(corpus, fit, tmp_path):
    for path in sorted(corpus.rglob("*.wav")):
        path.rename(corpus / f"{path.parent.name}-{path.name}")
    for folder in corpus.glob("talker?"):
        folder.rmdir()
    with pytest.raises(
        DataError, match="speech names 0 talkers; a voice tracker learns from pairs that differ"
    ):
        train(corpus, fit, max_steps=1)


def test_pairs_are_of_two_talkers_one_of_them_known():
    module = TrackerModule(VoiceTracker(width=8, depth=1, heads=1, embedding_dim=2))
    batch = {"wave": torch.randn(5, 8_000), "speaker": torch.tensor([3, 3, -1, -1, 4])}
    drawn = module._draw(batch, torch.Generator().manual_seed(0))  # 3 with nobody, -1 with 4, 4 with 3
    assert drawn is not None
    assert len(drawn[0]) == len(drawn[1].sign) == 3
    alone = {"wave": torch.randn(2, 8_000), "speaker": torch.tensor([-1, -1])}
    assert module._draw(alone, torch.Generator()) is None


def test_a_batch_without_pairs_has_a_loss_of_zero_and_gradients(monkeypatch):
    """Another device would wait for the gradients for ever."""
    module = TrackerModule(VoiceTracker(width=8, depth=1, heads=1, embedding_dim=2))
    monkeypatch.setattr(module, "step_rng", lambda _: torch.Generator())
    loss = module.training_step({"wave": torch.randn(2, 8_000), "speaker": torch.tensor([3, 3])}, 0)
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is not None and not p.grad.any() for p in module.parameters())


def test_tokens_over_which_tracks_change_say_nothing():
    plan = make_plan(torch.ones(1, 2, 4, 10), 62.5, Exchanges(), torch.Generator().manual_seed(0))
    sign = torch.tensor([[1.0, 1, 1, 1, 1, -1, -1, -1, -1, 1]])
    heard = torch.tensor([[1.0, 1, 1, 1, 1, 1, 9, 9, 9, 0]])
    token, weight = by_token(replace(plan, sign=sign, heard=heard))
    assert token.tolist() == [[1, 0, -1]]
    torch.testing.assert_close(weight, torch.tensor([[1.0, 0.0, 3**0.5]]))


def test_a_prior_that_changes_nothing_gives_the_tracks_of_the_plan(redrawing):
    """One voice in each band: spectra are exchanged as powers are, and come back at their level."""
    bands = VoiceTracker(width=8, depth=1, heads=1, embedding_dim=2).bands
    time_s = torch.arange(32_000) / 16_000
    waves = torch.stack([torch.sin(2 * math.pi * hz * time_s) for hz in (500.0, 1_250.0)])[None]
    how = Exchanges((1.0, 1.5), 0.0, parts_hz=0.0, leak=0.0, late=0.0, cuts_hz=(1e-9, 2e-9))
    power = bands(waves)
    plan = make_plan(power, 62.5, how, torch.Generator().manual_seed(2))
    found = bands(redrawing(plan.of_waves(waves, bands), torch.Generator().manual_seed(0)))
    where = (plan.exchanged == plan.exchanged.round()).all(2, keepdim=True).all(1, keepdim=True)
    settled = torch.nn.functional.avg_pool1d(where.float().flatten(0, 2), 9, 1, 4)[0] == 1
    assert plan.sign.unique().tolist() == [-1, 1]
    expected = plan.of_powers(power)
    torch.testing.assert_close(
        found.sum(2)[..., settled], expected.sum(2)[..., settled], rtol=0.05, atol=1e-3
    )


def test_half_of_the_pairs_are_redrawn(redrawing):
    torch.manual_seed(0)
    tracker = VoiceTracker(width=8, depth=1, heads=1, embedding_dim=2)
    batch = {"wave": torch.randn(4, 16_000), "speaker": torch.arange(4)}
    both = [
        TrackerModule(tracker, redrawing=way)._draw(batch, torch.Generator().manual_seed(0))
        for way in (None, redrawing)
    ]
    (plain, plan), (redrawn, same) = both
    assert torch.equal(plan.sign, same.sign)
    assert torch.equal(plain[2:], redrawn[2:])
    assert [torch.equal(a, b) for a, b in zip(plain, redrawn, strict=True)] == [False, False, True, True]
    assert len(redrawing.prior.shown[0]) == 2
    few = {"wave": batch["wave"][:2], "speaker": torch.tensor([0, -1])}
    redrawing.share = 0.0
    drawn = TrackerModule(tracker, redrawing=redrawing)._draw(few, torch.Generator().manual_seed(0))
    assert drawn is not None
    assert len(drawn[0]) == 2


def test_a_redrawing_at_another_rate(redrawing):
    tracker = VoiceTracker(rate_hz=8_000, width=8, depth=1, heads=1, embedding_dim=2)
    with pytest.raises(ConfigError, match="prior that redraws is for 16000 Hz, and the tracker for 8000 Hz"):
        TrackerModule(tracker, redrawing=redrawing)


def test_training_goes_on_from_a_tracker(tmp_path):
    sizes = dict(width=8, depth=1, heads=1, embedding_dim=2)
    start = VoiceTracker(**sizes).save_pretrained(tmp_path / "start")
    module = TrackerModule(VoiceTracker(**sizes), start=str(start))
    expected = VoiceTracker.from_pretrained(start).state_dict()
    for name, value in module.tracker.state_dict().items():
        torch.testing.assert_close(value, expected[name])
    assert all(parameter.requires_grad for parameter in module.parameters())
    with pytest.raises(CheckpointError, match="Train one of the same sizes"):
        TrackerModule(VoiceTracker(width=16, depth=1, heads=1, embedding_dim=2), start=str(start))
