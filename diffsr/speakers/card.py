"""Cards of networks of voices."""

from __future__ import annotations

from collections.abc import Mapping

from diffsr.io.network_card import network_card
from diffsr.speakers.embedding import SpeakerEncoder
from diffsr.speakers.tracking import VoiceTracker


def encoder_card(encoder: SpeakerEncoder, training: Mapping[str, str]) -> str:
    """Markdown for the `README.md` of an encoder folder.

    Args:
        encoder: The trained encoder.
        training: Facts about the training, title -> text.
    """
    what = [
        "`diffsr.speakers.SpeakerEncoder.from_pretrained(THIS_FOLDER)` maps speech to an embedding of",
        "its talker; cosines of embeddings compare talkers.",
    ]
    facts = {"Embedding": f"{encoder.embedding_dim} numbers, unit norm", **training}
    return network_card("Speaker encoder", what, encoder, encoder.rate_hz, facts)


def tracker_card(tracker: VoiceTracker, training: Mapping[str, str]) -> str:
    """Markdown for the `README.md` of a tracker folder.

    Args:
        tracker: The trained tracker.
        training: Facts about the training, title -> text.
    """
    what = [
        "`diffsr.speakers.VoiceTracker.from_pretrained(THIS_FOLDER)` hears two tracks and tells where their",
        "voices have changed places.",
    ]
    hop_ms = 1000 * tracker.hop_samples / tracker.rate_hz
    return network_card(
        "Voice tracker", what, tracker, tracker.rate_hz, {"Distance of times": f"{hop_ms:.0f} ms", **training}
    )
