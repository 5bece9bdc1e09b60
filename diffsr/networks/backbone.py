"""What every backbone offers."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class Backbone(nn.Module):
    """A network that maps a noisy waveform and a noise coordinate to a waveform.

    Attributes:
        config: The arguments of its constructor, as plain values: enough to build it again.
        speaker_width: Width of the embedding of a talker that it can be told; 0 where it takes none.
    """

    config: dict[str, Any]
    speaker_width: int = 0

    def forward(self, wave: Tensor, c_noise: Tensor, speaker: Tensor | None = None) -> Tensor:
        """`wave [B, T]` of unit variance, `c_noise [B]` and, where it takes it, `speaker [B, E]` -> `[B, T]`.

        A row of zeros in `speaker` means that nobody in particular speaks, as does None for all rows.
        """
        raise NotImplementedError
