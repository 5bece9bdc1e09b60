"""Noise whose spectrogram has low rank, estimated from the recording itself."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffsr.errors import ConfigError
from diffsr.likelihoods.base import (
    FLOOR,
    Likelihood,
    check_start,
    mean_over_restarts,
    noise_posterior_power,
)
from diffsr.signal.noise_floor import noise_floor

LONG_FRAMES = 1000
"""8 s at 16 kHz and a hop of 128."""


class NMFNoise(Likelihood):
    """`Y - A(X) ~ CN(0, v)`, `v = W H`: Gaussian noise with a non-negative factorisation of its power.

    One factorisation for each item; its restarts share it. W and H start from the noise floor of the
    observation, never from random numbers: component k starts as the noise floor
    around its place in time, and activations fade from one component to the next.

    Args:
        rank: Number of components K; recordings of more than `LONG_FRAMES` frames get twice as many.
        n_fft: STFT window in samples.
        hop_samples: STFT hop in samples.
        quantile: Of the power over time that W and H start from; lower for nearly clean recordings.
        bias: Factor on the quantile, see `signal.noise_floor`.
        exponent: Of the multiplicative update; 1/2 never raises the objective (arXiv 1010.1763, the
            majorisation-minimisation algorithm), 1 is the usual heuristic.

    Raises:
        ConfigError: `rank` is below 1, see also `check_start` and `Likelihood`.
    """

    def __init__(
        self,
        rank: int = 4,
        n_fft: int = 512,
        hop_samples: int = 128,
        quantile: float = 0.25,
        bias: float = 1.3,
        exponent: float = 0.5,
    ) -> None:
        super().__init__(n_fft, hop_samples)
        check_start(self, quantile, bias)
        if rank < 1:
            raise ConfigError(f"rank of NMFNoise is {rank}; expected 1 or more.")
        self.rank, self.exponent = rank, exponent
        self.quantile, self.bias = quantile, bias
        self.spectra = torch.empty(0)  # W [B, F, K]
        self.activations = torch.empty(0)  # H [B, K, N]
        self.item_of_row = torch.empty(0, dtype=torch.long)

    def reset(self, y: Tensor, item_of_row: Tensor) -> None:
        """Start W and H from the noise floor of `y [rows, 1, T]`; row r belongs to item `item_of_row[r]`."""
        self.item_of_row = item_of_row
        power = mean_over_restarts(self.stft(y[:, 0]).abs().square(), item_of_row)
        floor = noise_floor(power, quantile=self.quantile, bias=self.bias).clamp_min(FLOOR)
        n_frames = floor.shape[-1]
        rank = self.rank if n_frames <= LONG_FRAMES else 2 * self.rank
        centres = torch.linspace(0, n_frames - 1, rank, device=y.device)
        self.spectra = floor[..., centres.round().long()]
        frames = torch.arange(n_frames, device=y.device)
        # A single component is everywhere.
        spacing = max((n_frames - 1) / (rank - 1), 1.0) if rank > 1 else math.inf
        fade = (1 - (frames - centres[:, None]).abs() / spacing).clamp_min(0)
        # A little of every component everywhere: a zero activation could never grow again.
        fade = 0.9 * fade / fade.sum(0) + 0.1 / rank
        self.activations = fade.expand(floor.shape[0], -1, -1).clone()

    @property
    def variance(self) -> Tensor:
        """Noise power v of each row, `[rows, F, N]`."""
        return (self.spectra @ self.activations).clamp_min(FLOOR)[self.item_of_row]

    def update(self, residual: Tensor, extra_variance: Tensor) -> None:
        """One M-step on the noise, see `noise_posterior_power`."""
        found = noise_posterior_power(self.stft(residual[:, 0]), self.variance, extra_variance)
        self._multiplicative_update(mean_over_restarts(found, self.item_of_row).clamp_min(FLOOR))

    def _multiplicative_update(self, target: Tensor) -> None:
        """Itakura-Saito updates of H, then W (Févotte et al., Neural Computation 21(3), 2009)."""
        w, h = self.spectra, self.activations
        v = (w @ h).clamp_min(FLOOR)
        h = h * ((w.mT @ (target / v.square())) / (w.mT @ v.reciprocal())) ** self.exponent
        v = (w @ h).clamp_min(FLOOR)
        w = w * (((target / v.square()) @ h.mT) / (v.reciprocal() @ h.mT)) ** self.exponent
        scale = w.mean(1, keepdim=True).clamp_min(FLOOR)
        self.spectra, self.activations = w / scale, h * scale.mT
