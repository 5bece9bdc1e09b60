"""White noise of known level."""

from __future__ import annotations

import torch
from torch import Tensor

from diffsr.likelihoods.base import Likelihood


class WhiteNoise(Likelihood):
    """`y - A(x) ~ N(0, level^2 I)`: for noise known to be white, and for checks of samplers.

    Args:
        level: Standard deviation of a sample, at the level at which the prior sees the recording.
        n_fft: STFT window in samples.
        hop_samples: STFT hop in samples.
    """

    def __init__(self, level: float, n_fft: int = 512, hop_samples: int = 128) -> None:
        super().__init__(n_fft, hop_samples)
        self.level = level

    def reset(self, y: Tensor, item_of_row: Tensor) -> None:
        """Nothing to start."""

    @property
    def variance(self) -> Tensor:
        """Noise power in every bin, `[1, 1, 1]`."""
        return self.stft.bin_variance(torch.full((1,), self.level**2, device=self.stft.window.device))

    def describe(self) -> dict[str, Tensor]:
        """Nothing: the level was given, not found."""
        return {}

    def update(self, residual: Tensor, extra_variance: Tensor) -> None:
        """Nothing to estimate."""
