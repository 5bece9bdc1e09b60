"""What every backbone offers."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class Backbone(nn.Module):
    """A network that maps a noisy waveform and a noise coordinate to a waveform.

    Attributes:
        config: The arguments of its constructor, as plain values: enough to build it again.
    """

    config: dict[str, Any]

    def forward(self, wave: Tensor, c_noise: Tensor) -> Tensor:
        """`wave [B, T]` of unit variance and `c_noise [B]` -> `[B, T]`."""
        raise NotImplementedError
