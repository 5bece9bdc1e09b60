"""Training of a tracker at toy size: it learns who is who, and the run leaves a tracker that loads."""

from __future__ import annotations

import pytest
import torch

from data_modules import CleanSpeech
from diffsr.errors import DataError
from diffsr.speakers import VoiceTracker
from diffsr.speakers.exchanges import Exchanges, Pair
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
    with pytest.raises(DataError, match="names 0 talkers; a voice tracker learns from pairs that differ"):
        train(corpus, fit, max_steps=1)


def test_pairs_are_of_two_talkers_one_of_them_known():
    module = TrackerModule(VoiceTracker(width=8, depth=1, heads=1, embedding_dim=2))
    batch = {"wave": torch.randn(5, 8_000), "speaker": torch.tensor([3, 3, -1, -1, 4])}
    pair = module._pair(batch, torch.Generator().manual_seed(0))  # 3 with nobody, -1 with 4, 4 with 3
    assert pair is not None
    assert len(pair.power) == 3
    alone = {"wave": torch.randn(2, 8_000), "speaker": torch.tensor([-1, -1])}
    assert module._pair(alone, torch.Generator()) is None


def test_tokens_over_which_tracks_change_say_nothing():
    sign = torch.tensor([[1.0, 1, 1, 1, 1, -1, -1, -1, -1, 1]])
    heard = torch.tensor([[1.0, 1, 1, 1, 1, 1, 9, 9, 9, 0]])
    token, weight = by_token(Pair(torch.zeros(1), sign, heard))
    assert token.tolist() == [[1, 0, -1]]
    torch.testing.assert_close(weight, torch.tensor([[1.0, 0.0, 3**0.5]]))
