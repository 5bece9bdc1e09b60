"""What every backbone offers."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class Backbone(nn.Module):
    """A network that maps a noisy waveform and a noise coordinate to a waveform.

    Attributes:
        config: The arguments of its constructor, as plain values: enough to build it again.
        speaker_width: Width of the embedding of a talker that it can be told; 0 where it takes none.
        adaptation_shape: Shape of what it takes to be adapted to a signal, see `diffsr.diffusion.adaptation`;
            None where it cannot be adapted, and is never given any.
    """

    config: dict[str, Any]
    speaker_width: int = 0
    adaptation_shape: tuple[int, ...] | None = None

    def forward(
        self,
        wave: Tensor,
        c_noise: Tensor,
        speaker: Tensor | None = None,
        adaptation: Tensor | None = None,
    ) -> Tensor:
        """`wave [B, T]` of unit variance, `c_noise [B]` and what it takes besides -> `[B, T]`.

        Args:
            wave: The noisy signals.
            c_noise: Their noise coordinates.
            speaker: Embeddings of the talkers `[B, E]`; zeros, and None for all rows, are nobody.
            adaptation: `[B, *adaptation_shape]`; zeros, and None for all rows, leave the network as it is.
        """
        raise NotImplementedError
