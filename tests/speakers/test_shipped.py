"""The encoder that ships: it loads by its name, is small, and tells talkers apart that it never heard."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from data_modules.corpus import decode
from data_modules.splits import STARTER
from diffsr.io.manifest import read_manifest
from diffsr.speakers import SpeakerEncoder
from diffsr.speakers.verification import equal_error_rate

FOLDER = Path(__file__).parents[2] / "diffsr" / "assets" / "speakers" / "speaker-16k"


@pytest.fixture(scope="module")
def encoder() -> SpeakerEncoder:
    return SpeakerEncoder.from_pretrained("speaker-16k", rate_hz=16_000)


def test_it_is_small_and_has_a_card(encoder):
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 2.1e6
    assert sum(parameter.numel() for parameter in encoder.parameters()) <= 1_000_000
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(
        word in card for word in ("CC BY 4.0", "LibriSpeech", "speechocean762", "Limits", "Equal error")
    )


def test_it_tells_synthetic_talkers_apart(encoder):
    """Two sentences of each talker of the starter corpus; chance is 0.5."""
    embeddings, talkers = [], []
    for row in read_manifest(str(STARTER)):
        if row.id.endswith(("-1", "-2")):
            embeddings.append(encoder(decode(row, 16_000).samples[None].float() / 32_768))
            talkers.append(row.speaker)
    first, second = torch.cat(embeddings[::2]), torch.cat(embeddings[1::2])
    assert talkers[::2] == talkers[1::2]
    same = torch.eye(len(first), dtype=torch.bool)
    assert equal_error_rate((first @ second.T).flatten(), same.flatten()) < 0.25
