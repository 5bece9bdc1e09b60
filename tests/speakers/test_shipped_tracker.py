"""The tracker that ships: it is small, has a card, and finds exchanges of voices that it never heard."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from data_modules.corpus import decode
from data_modules.splits import STARTER
from diffsr.io.manifest import read_manifest
from diffsr.speakers import VoiceTracker
from diffsr.speakers.following import changed_places

FOLDER = Path(__file__).parents[2] / "diffsr" / "assets" / "trackers" / "tracker-16k"
N_SAMPLES = 64_000


@pytest.fixture(scope="module")
def tracker() -> VoiceTracker:
    return VoiceTracker.from_pretrained("tracker-16k")


@pytest.fixture(scope="module")
def voices() -> list[torch.Tensor]:
    """4 s of each synthetic talker of the starter corpus."""
    found: dict[str, list[torch.Tensor]] = {}
    for row in read_manifest(str(STARTER)):
        found.setdefault(str(row.speaker), []).append(decode(row, 16_000).samples.float() / 32_768)
    joined = [torch.cat(waves)[:N_SAMPLES] for waves in found.values()]
    return [wave / wave.square().mean().sqrt() for wave in joined if len(wave) == N_SAMPLES]


def test_it_is_small_and_has_a_card(tracker):
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 2.0e6
    assert tracker.rate_hz == 16_000
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(word in card for word in ("CC BY 4.0", "LibriSpeech", "Picovoice", "Limits", "no mixture"))


def test_rounded_it_hears_the_same(tracker, voices):
    power = tracker.bands(torch.stack(voices[:2])[None])
    exact, found = tracker(power), tracker.rounded()(power)
    assert found.dtype == torch.float32
    assert not torch.equal(found, exact)
    assert float((found * exact).sum(-1).mean()) > 0.99


def test_a_training_in_bfloat16_decides_how_it_computes(tracker):
    tokens = []
    hook = tracker.embed.register_forward_hook(lambda module, given, found: tokens.append(found.dtype))
    power = tracker.bands(torch.zeros(1, 2, 16_000))
    with torch.autocast("cpu", torch.bfloat16):
        tracker(power)
    tracker(power)
    hook.remove()
    assert tokens == [torch.bfloat16, torch.float32]


def test_it_finds_where_synthetic_voices_change_places(tracker, voices):
    wrong = torch.zeros(N_SAMPLES, dtype=torch.bool)
    for start_s, end_s in ((0.7, 1.0), (1.6, 2.1), (3.0, 3.4)):
        wrong[round(16_000 * start_s) : round(16_000 * end_s)] = True
    before, after = [], []
    for a, b in zip(voices[:12], voices[::-1], strict=False):  # a woman and a man
        tracks = torch.where(wrong, torch.stack([b, a]), torch.stack([a, b]))
        found = changed_places(tracker, tracks[None], cost=0.5)[0]
        loud = (a.square() + b.square()).sqrt()
        before.append(float((loud * wrong).sum() / loud.sum()))
        after.append(float((loud * (wrong ^ found)).sum() / loud.sum()))
    assert len(after) == 12
    assert min(before) > 0.2
    assert sum(after) / 12 < 0.1
