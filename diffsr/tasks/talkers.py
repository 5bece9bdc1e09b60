"""What a prior in training is told about the talker of each crop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffsr.errors import ConfigError

if TYPE_CHECKING:
    from diffsr.speakers.embedding import SpeakerEncoder


class TalkerCondition:
    """Embeddings of reference crops by a frozen encoder, left out at random.

    It is no `nn.Module`: what trains, averages or saves a module that holds it does not see the encoder.

    Args:
        encoder: Folder of a `SpeakerEncoder`; None to tell the network of no talker.
        width: Width of the embedding that the network takes.
        rate_hz: Sampling rate of the prior.
        dropout: Share of the training crops whose talker is not told.

    Raises:
        CheckpointError: There is no such encoder.
        ConfigError: It does not go with the prior.
    """

    def __init__(self, encoder: str | None, width: int, rate_hz: int, dropout: float) -> None:
        if not 0 <= dropout <= 1:
            raise ConfigError(f"speaker_dropout is {dropout:g}, expected a share from 0 to 1.")
        self.width, self.dropout = width, dropout
        self.encoder = None if encoder is None else _frozen(encoder, width, rate_hz)

    def embed(self, reference: Tensor) -> tuple[Tensor, Tensor]:
        """References `[B, T]`, zeros for none -> embeddings `[B, E]`, and whose talker is known `[B]`."""
        known = reference.abs().amax(-1) > 0
        if self.encoder is None:
            return reference.new_zeros(len(reference), self.width), torch.zeros_like(known)
        self.encoder.to(reference.device)
        with torch.no_grad(), torch.autocast(reference.device.type, enabled=False):
            embedding = self.encoder(reference.float())
        return torch.where(known[:, None], embedding, 0.0), known

    def draw(self, batch: dict[str, Tensor], rng: torch.Generator) -> Tensor | None:
        """The condition `[B, E]` of a training batch, zeros where none is given; None without conditioning.

        A network with a place for a talker is always given one, so that its weights always have gradients.
        """
        wave, reference = batch["wave"], batch.get("reference")
        if not self.width:
            return None
        if self.encoder is None or reference is None:
            return wave.new_zeros(len(wave), self.width)
        embedding, _ = self.embed(reference)
        kept = torch.rand(len(wave), generator=rng, device=wave.device) >= self.dropout
        return embedding * kept[:, None]


def _frozen(folder: str, width: int, rate_hz: int) -> SpeakerEncoder:
    from diffsr.speakers.embedding import SpeakerEncoder

    encoder = SpeakerEncoder.from_pretrained(folder)
    if encoder.embedding_dim != width:
        raise ConfigError(
            f"speaker_encoder {folder} gives {encoder.embedding_dim} numbers for a talker, and the network "
            f"takes {width}. Set network.init_args.speaker_width={encoder.embedding_dim}."
        )
    if encoder.rate_hz != rate_hz:
        raise ConfigError(
            f"speaker_encoder {folder} is for {encoder.rate_hz} Hz, and the prior for {rate_hz} Hz. "
            "Use an encoder of the same rate."
        )
    return encoder.eval().requires_grad_(False)
