"""The card of a speaker encoder."""

from __future__ import annotations

from collections.abc import Mapping

from diffsr.speakers.embedding import SpeakerEncoder


def encoder_card(encoder: SpeakerEncoder, training: Mapping[str, str]) -> str:
    """Markdown for the `README.md` of an encoder folder.

    Args:
        encoder: The trained encoder.
        training: Facts about the training, title -> text.
    """
    n_parameters = sum(parameter.numel() for parameter in encoder.parameters())
    facts = {
        "Parameters": f"{n_parameters / 1e6:.2f} M",
        "Sampling rate": f"{encoder.rate_hz} Hz",
        "Embedding": f"{encoder.embedding_dim} numbers, unit norm",
        **training,
    }
    return "\n".join(
        [
            "# Speaker encoder",
            "",
            "`diffsr.speakers.SpeakerEncoder.from_pretrained(THIS_FOLDER)` maps speech to an embedding of",
            "its talker; cosines of embeddings compare talkers.",
            "",
            "| | |",
            "| --- | --- |",
            *(f"| {title} | {text} |" for title, text in facts.items()),
            "",
            "The licence of the training speech decides how these weights may be used.",
            "",
        ]
    )
