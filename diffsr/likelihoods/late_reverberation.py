"""Late reverberation as noise whose power follows the talker's own with exponential decays."""

from __future__ import annotations

import torch
from torch import Tensor

from diffsr.likelihoods.base import Likelihood
from diffsr.signal.decays import decay_kernels, decayed, n_bands, updated_weights, weighted_sum

FLOOR = 1e-10
"""Least variance of a bin."""
TIMES_S = (0.15, 0.25, 0.4, 0.6, 0.9, 1.3, 2.0)
"""Reverberation times whose mixture stands for the room."""


class LateReverberation(Likelihood):
    """`Y - A(X) ~ CN(0, v)` with white noise and decaying power of the talker in v, see `signal.decays`.

    Args:
        level: Standard deviation of a sample of the white noise.
        delay: Frames until reverberation counts as late.
        initial: Energy of the decays at the start, over that of the recording that decays.
        n_updates: Updates of the weights in each `fit`.
        n_fft: STFT window in samples.
        hop_samples: STFT hop in samples.
        rate_hz: Sample rate.
    """

    def __init__(
        self,
        level: float = 3e-3,
        delay: int = 2,
        initial: float = 0.1,
        n_updates: int = 3,
        n_fft: int = 512,
        hop_samples: int = 128,
        rate_hz: int = 16000,
    ) -> None:
        super().__init__(n_fft, hop_samples)
        self.level, self.delay, self.initial, self.n_updates = level, delay, initial, n_updates
        self.rate_hz = rate_hz
        self.weights = torch.empty(0)  # [rows, times, bands]
        self._variance = torch.empty(0)

    def reset(self, y: Tensor, item_of_row: Tensor) -> None:
        """Start from the decayed power of `y [rows, 1, T]` itself, all decays with the same energy."""
        power = self.stft(y[:, 0]).abs().square()
        energy = self._kernels(power).sum(-1)
        shape = (len(power), -1, n_bands(power.shape[-2]))
        self.weights = (self.initial / len(energy) / energy)[None, :, None].expand(shape).clone()
        self._render(decayed(power, self._kernels(power)))

    @property
    def variance(self) -> Tensor:
        """Noise power v of each row, `[rows, F, N]`."""
        return self._variance

    def describe(self) -> dict[str, Tensor]:
        """Nothing: what is left is reverberation, and no noise."""
        return {}

    def update(self, residual: Tensor, extra_variance: Tensor) -> None:
        """Nothing: the power depends on the sources, see `fit`."""

    def fit(self, x0: Tensor, residual: Tensor, extra_variance: Tensor) -> None:
        """M-step on the expected noise power given the residual, as that of `NMFNoise.update`.

        Args:
            x0: Estimated sources `[rows, S, T]`.
            residual: `y - A(x0)`, `[rows, 1, T]`.
            extra_variance: Variance of `x0` in bins, broadcastable to `[rows, F, N]`.
        """
        dry = self.stft(x0).abs().square().sum(1) + extra_variance
        parts = decayed(dry, self._kernels(dry))
        left = self.stft(residual[:, 0]).abs().square()
        self._render(parts)
        for _ in range(self.n_updates):
            share = self._variance / (self._variance + extra_variance)
            target = share.square() * left + share * extra_variance
            self.weights = updated_weights(self.weights, parts, target, self._variance)
            self._render(parts)

    def _render(self, parts: Tensor) -> None:
        white = self.stft.bin_variance(torch.full((1,), self.level**2, device=parts.device))
        self._variance = weighted_sum(self.weights, parts) + white.clamp_min(FLOOR)

    def _kernels(self, power: Tensor) -> Tensor:
        times_s = torch.tensor(TIMES_S, device=power.device)
        frame_s = self.stft.hop_samples / self.rate_hz
        return decay_kernels(times_s, power.shape[-1], frame_s, self.delay)
