"""Noise whose spectrum changes slowly, and clicks: estimated from the recording itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffsr.errors import ConfigError
from diffsr.likelihoods.base import (
    FLOOR,
    Likelihood,
    check_start,
    mean_over_restarts,
    noise_posterior_power,
)
from diffsr.signal.clicks import click_power
from diffsr.signal.noise_floor import muted_frames, noise_floor
from diffsr.signal.smoothing import mean_around, moving_mean


class DriftingNoise(Likelihood):
    """`Y - A(X) ~ CN(0, v)`, v the mean noise power of the bins and frames around each one.

    The M-step of noise whose power is constant over a rectangle of bins and frames, for every rectangle: it
    follows wind and traffic, and has too many frames for a word to pass for noise. One spectrum for each
    item; its restarts share it. It starts from the noise floor of the observation. Clicks, which are faster
    than any such rectangle, are found in the recording beforehand (`signal.clicks`) and added.

    With a listener it starts from what that hears, and an update is a weighted mean of both logarithms: the
    mode of v where what is heard is its prior, log-normal.

    Args:
        n_frames: Frames of a rectangle; 101 are 0.8 s at 16 kHz and a hop of 128.
        n_bins: Its bins.
        n_fft: STFT window in samples.
        hop_samples: STFT hop in samples.
        quantile: Of the power over time that it starts from.
        bias: Factor on the quantile, see `signal.noise_floor`.
        clicks: Whether there are clicks in v.
        listener: Expects a noise power `[B, F, N]` of the power of recordings, with the same STFT, as
            `diffsr.noise.Listening` does; None starts from the noise floor.
        trust: Share of the listener in an update, 0 to 1.

    Raises:
        ConfigError: `n_frames` or `n_bins` is no odd number from 1 on, `trust` is outside 0..1, or the
            listener has another STFT; see also `check_start` and `Likelihood`.
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
        listener: nn.Module | None = None,
        trust: float = 0.5,
    ) -> None:
        super().__init__(n_fft, hop_samples)
        check_start(self, quantile, bias)
        for name, size in (("n_frames", n_frames), ("n_bins", n_bins)):
            if size < 1 or size % 2 == 0:
                raise ConfigError(f"{name} of DriftingNoise is {size}; expected an odd number from 1 on.")
        if not 0 <= trust <= 1:
            raise ConfigError(f"trust of DriftingNoise is {trust:g}; expected 0 to 1.")
        own, other = self.stft, getattr(listener, "stft", self.stft)
        if (own.n_fft, own.hop_samples) != (other.n_fft, other.hop_samples):
            raise ConfigError(
                f"The listener of DriftingNoise hears n_fft {other.n_fft}, hop_samples {other.hop_samples}; "
                f"expected those of the noise model, {own.n_fft} and {own.hop_samples}."
            )
        self.listener, self.trust = listener, trust
        self.n_frames, self.n_bins = n_frames, n_bins
        self.quantile, self.bias, self.clicks = quantile, bias, clicks
        self.power = torch.empty(0)  # of what drifts [B, F, N]
        self.expected: Tensor | None = None  # by the listener [B, F, N]
        self.click_power: Tensor | float = 0.0  # [B, F, N]
        self.muted = torch.zeros((), dtype=torch.bool)  # frames of digital silence in noise [B, 1, N]
        self.item_of_row = torch.empty(0, dtype=torch.long)

    def reset(self, y: Tensor, item_of_row: Tensor) -> None:
        """Start from the noise floor of `y [rows, 1, T]`; row r belongs to item `item_of_row[r]`."""
        self.item_of_row = item_of_row
        power = mean_over_restarts(self.stft(y[:, 0]).abs().square(), item_of_row)
        self.muted = muted_frames(power)
        self.expected = None
        if self.listener is None:
            start = noise_floor(power, quantile=self.quantile, bias=self.bias)
        else:
            start = self.expected = self._listened(power, self.listener).clamp_min(FLOOR)
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
        if self.expected is not None:
            found = found.clamp_min(FLOOR) ** (1 - self.trust) * self.expected**self.trust
        self.power = found.masked_fill(self.muted, FLOOR).clamp_min(FLOOR)

    def _smooth(self, power: Tensor) -> Tensor:
        """Mean over the rectangle around each bin, of the frames in it that are not muted."""
        if not bool(self.muted.any()):
            return mean_around(power, self.n_frames, self.n_bins)
        heard = (~self.muted).to(power)
        total = mean_around(power * heard, self.n_frames, self.n_bins)
        return total / moving_mean(heard, self.n_frames).clamp_min(FLOOR)

    def _listened(self, power: Tensor, listener: nn.Module) -> Tensor:
        """What the listener expects, as slow as the model, of recordings without their muted frames."""
        if not bool(self.muted.any()):
            heard: Tensor = listener(power)
            return self._smooth(heard)
        found = torch.full_like(power, FLOOR)
        for item, is_muted in enumerate(self.muted[:, 0]):
            if not bool(is_muted.all()):
                found[item, :, ~is_muted] = listener(power[[item]][..., ~is_muted])[0]
        return self._smooth(found)
