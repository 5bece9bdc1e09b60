"""What a speaker encoder in training shall keep of another one."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from diffsr.errors import ConfigError
from diffsr.speakers import SpeakerEncoder


class Teacher:
    """A frozen encoder whose embeddings of clean speech another one learns to give, whatever it hears.

    What was trained on the embeddings of the teacher, such as a prior, then goes with the new encoder, too.

    It is no `nn.Module`: what trains, averages or saves a module that holds it does not see the encoder.

    Args:
        encoder: What `SpeakerEncoder.from_pretrained` takes.
        weight: Of its loss, beside that of telling talkers apart.

    Raises:
        CheckpointError: There is no such encoder.
        ConfigError: The weight is negative.
    """

    def __init__(self, encoder: str = "speaker-16k", weight: float = 5.0) -> None:
        if not weight >= 0:
            raise ConfigError(f"Teacher has weight = {weight:g}; expected a number of at least 0.")
        self.encoder = SpeakerEncoder.from_pretrained(encoder).eval().requires_grad_(False)
        self.weight = weight

    def check(self, student: SpeakerEncoder) -> None:
        """Make sure that the student can learn from it.

        Raises:
            ConfigError: It is for another rate, or embeds in another number of dimensions.
        """
        own, asked = ((it.rate_hz, it.embedding_dim) for it in (self.encoder, student))
        if own != asked:
            raise ConfigError(
                f"The teacher gives {own[1]} numbers at {own[0]} Hz, and the encoder {asked[1]} at "
                f"{asked[0]} Hz. Use one of the same rate and embedding_dim, or none."
            )

    def loss(self, embeddings: Iterable[Tensor], clean: Tensor) -> Tensor:
        """Mean of 1 - cosine of embeddings and that of the clean speech `[B, T]`, times the weight."""
        with torch.no_grad():
            target = self.encoder.to(clean.device)(clean)
        cosine = torch.stack([(embedding * target).sum(-1) for embedding in embeddings])
        return self.weight * (1 - cosine.mean())
