"""Cards of networks of voices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

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
    return _card("Speaker encoder", what, encoder, encoder.rate_hz, facts)


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
    hop_ms = 1000 * tracker.hop / tracker.rate_hz
    return _card(
        "Voice tracker", what, tracker, tracker.rate_hz, {"Distance of times": f"{hop_ms:.0f} ms", **training}
    )


def _card(title: str, what: Sequence[str], model: nn.Module, rate_hz: int, facts: Mapping[str, str]) -> str:
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    table = {"Parameters": f"{n_parameters / 1e6:.2f} M", "Sampling rate": f"{rate_hz} Hz", **facts}
    return "\n".join(
        [
            f"# {title}",
            "",
            *what,
            "",
            "| | |",
            "| --- | --- |",
            *(f"| {name} | {text} |" for name, text in table.items()),
            "",
            "The licence of the training speech decides how these weights may be used.",
            "",
        ]
    )
