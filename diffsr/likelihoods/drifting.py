"""Noise whose spectrum changes slowly, and clicks: estimated from the recording itself."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from diffsr.errors import ConfigError
from diffsr.likelihoods.base import FLOOR, Likelihood, mean_over_restarts, noise_posterior_power
from diffsr.signal.clicks import click_power
from diffsr.signal.noise_floor import muted_frames, noise_floor


class DriftingNoise(Likelihood):
    """`Y - A(X) ~ CN(0, v)`, v the mean noise power of the bins and frames around each one.

    The M-step of noise whose power is constant over a rectangle of bins and frames, for every rectangle: it
    follows wind and traffic, and has too many frames for a word to pass for noise. One spectrum for each
    item; its restarts share it. It starts from the noise floor of the observation. Clicks, which are faster
    than any such rectangle, are found in the recording beforehand (`signal.clicks`) and added.

    Args:
        n_frames: Frames of a rectangle; 101 are 0.8 s at 16 kHz and a hop of 128.
        n_bins: Its bins.
        n_fft: STFT window in samples.
        hop_samples: STFT hop in samples.
        quantile: Of the power over time that it starts from.
        bias: By what the quantile of white noise lies below its mean.
        clicks: Whether there are clicks in v.

    Raises:
        ConfigError: `n_frames` or `n_bins` is no odd number from 1 on.
    """

    def __init__(
        self,
        n_frames: int = 101,
        n_bins: int = 3,
        n_fft: int = 512,
        hop_samples: int = 128,
        quantile: float = 0.25,
        bias: float = 1.3,
        clicks: bool = True,
    ) -> None:
        super().__init__(n_fft, hop_samples)
        for name, size in (("n_frames", n_frames), ("n_bins", n_bins)):
            if size < 1 or size % 2 == 0:
                raise ConfigError(f"{name} of DriftingNoise is {size}; expected an odd number from 1 on.")
        self.n_frames, self.n_bins = n_frames, n_bins
        self.quantile, self.bias, self.clicks = quantile, bias, clicks
        self.power = torch.empty(0)  # of what drifts [B, F, N]
        self.click_power: Tensor | float = 0.0  # [B, F, N]
        self.muted = torch.zeros((), dtype=torch.bool)  # frames of digital silence in noise [B, 1, N]
        self.item_of_row = torch.empty(0, dtype=torch.long)

    def reset(self, y: Tensor, item_of_row: Tensor) -> None:
        """Start from the noise floor of `y [rows, 1, T]`; row r belongs to item `item_of_row[r]`."""
        self.item_of_row = item_of_row
        power = mean_over_restarts(self.stft(y[:, 0]).abs().square(), item_of_row)
        self.muted = muted_frames(power)
        start = noise_floor(power, quantile=self.quantile, bias=self.bias)
        self.power = start.masked_fill(self.muted, FLOOR).clamp_min(FLOOR)
        self.click_power = click_power(power) if self.clicks else 0.0

    @property
    def variance(self) -> Tensor:
        """Noise power v of each row, `[rows, F, N]`."""
        return (self.power + self.click_power)[self.item_of_row]

    def update(self, residual: Tensor, extra_variance: Tensor) -> None:
        """One M-step on what drifts, to which clicks are one more uncertainty; see the base.

        Restarts of an item are taken as one estimate, their mean, which leaves less speech in the residual.
        """
        by_row = extra_variance + residual.new_zeros(len(residual), 1, 1)
        extra = self.click_power + mean_over_restarts(by_row, self.item_of_row)
        left = mean_over_restarts(self.stft(residual[:, 0]), self.item_of_row)
        found = self._smooth(noise_posterior_power(left, self.power, extra))
        self.power = found.masked_fill(self.muted, FLOOR).clamp_min(FLOOR)

    def _smooth(self, power: Tensor) -> Tensor:
        """Mean over the rectangle around each bin, of the frames in it that are not muted."""
        # One direction after the other: several times faster than both at once.
        if not bool(self.muted.any()):
            return _moving_mean(_moving_mean(power, self.n_frames).mT, self.n_bins).mT
        heard = (~self.muted).to(power)
        total = _moving_mean(_moving_mean(power * heard, self.n_frames).mT, self.n_bins).mT
        return total / _moving_mean(heard, self.n_frames).clamp_min(FLOOR)


def _moving_mean(power: Tensor, n: int) -> Tensor:
    """Over `n` along the last dimension, of what there is at the ends, `[B, ..., N] -> [B, ..., N]`."""
    return F.avg_pool1d(power, n, stride=1, padding=n // 2, count_include_pad=False)
