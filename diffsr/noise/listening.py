"""A noise listener by its name, for noise models and experiments."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from diffsr.noise.listener import NoiseListener


class Listening(nn.Module):
    """Hears the noise in the power of recordings, `[B, F, N] -> [B, F, N]`, for `likelihoods.DriftingNoise`.

    Args:
        listener: What `NoiseListener.from_pretrained` takes; none ships.

    Attributes:
        stft: Of the powers.

    Raises:
        CheckpointError: The listener cannot be loaded.
    """

    def __init__(self, listener: str | Path) -> None:
        super().__init__()
        self.network = NoiseListener.from_pretrained(listener)
        self.stft = self.network.stft

    def forward(self, power: Tensor) -> Tensor:
        """See class."""
        heard: Tensor = self.network(power)
        return heard
