"""Late reverberation as noise whose power follows the talker's own with exponential decays."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from diffsr.likelihoods.base import Likelihood
from diffsr.signal.filtering import fft_convolve

FLOOR = 1e-10
TIMES_S = (0.15, 0.25, 0.4, 0.6, 0.9, 1.3, 2.0)
BINS_PER_BAND = 8


class LateReverberation(Likelihood):
    """`Y - A(X) ~ CN(0, v)`, `v_n = level^2 + sum_t w_t sum_(m >= delay) exp(-2 alpha_t m) |X_(n - m)|^2`.

    The statistical model of late reverberation (Polack 1988; Lebart et al. 2001): power that decays. The
    decays are those of fixed reverberation times, their weights are found for each band of eight bins by
    multiplicative updates, so that a mixture of decays stands for the room.

    Args:
        level: Standard deviation of white noise beside it, a sample's.
        delay: Frames until reverberation counts as late.
        n_updates: Multiplicative updates at each noise level.
        n_fft: STFT window in samples.
        hop_samples: STFT hop in samples.
        rate_hz: Sample rate.
    """

    def __init__(
        self,
        level: float = 3e-3,
        delay: int = 2,
        n_updates: int = 3,
        n_fft: int = 512,
        hop_samples: int = 128,
        rate_hz: int = 16000,
        initial: float = 0.1,
    ) -> None:
        super().__init__(n_fft, hop_samples)
        self.level, self.delay, self.n_updates, self.initial = level, delay, n_updates, initial
        self.register_buffer(
            "decay",
            torch.tensor([math.log(1e6) * hop_samples / (t * rate_hz) for t in TIMES_S]),
            persistent=False,
        )
        self.weights = torch.empty(0)
        self._variance = torch.empty(0)

    decay: Tensor

    def reset(self, y: Tensor, item_of_row: Tensor) -> None:
        """The recording's own decayed power, at a low level."""
        self.to(y.device)
        power = self.stft(y[:, 0]).abs().square()
        n_bands = -(-power.shape[-2] // BINS_PER_BAND)
        # every decay adds up to the same energy
        share = self.initial * (1 - (-self.decay).exp()) / len(self.decay)
        self.weights = share[None, :, None].expand(len(power), -1, n_bands).clone()
        self._render(self._tails(power))

    @property
    def variance(self) -> Tensor:
        """Noise power v of each row, `[rows, F, N]`."""
        return self._variance

    def describe(self) -> dict[str, Tensor]:
        """Nothing: what is left is reverberation, and no noise."""
        return {}

    def update(self, residual: Tensor, extra_variance: Tensor) -> None:
        """Nothing: see `fit`."""

    def fit(self, x0: Tensor, residual: Tensor, extra_variance: Tensor) -> None:
        """M-step: `x0 [rows, S, T]`, residual `[rows, 1, T]`, variance of x0 in bins `[rows, F, N]`."""
        tails = self._tails((self.stft(x0).abs().square()).sum(1) + extra_variance)
        residual_power = self.stft(residual[:, 0]).abs().square()
        self._render(tails)
        for _ in range(self.n_updates):
            share = self._variance / (self._variance + extra_variance)
            target = share.square() * residual_power + share * extra_variance
            up = self._in_bands(tails * (target / self._variance.square())[:, None])
            down = self._in_bands(tails / self._variance[:, None])
            self.weights = (self.weights * (up / down.clamp_min(1e-20)).sqrt()).clamp_min(1e-12)
            self._render(tails)

    def _render(self, tails: Tensor) -> None:
        weights = self.weights.repeat_interleave(BINS_PER_BAND, -1)[..., : tails.shape[-2], None]
        white = self.stft.bin_variance(torch.full((1,), self.level**2, device=tails.device))
        self._variance = (weights * tails).sum(1) + white.clamp_min(FLOOR)

    def _tails(self, power: Tensor) -> Tensor:
        """`[rows, F, N] -> [rows, times, F, N]`."""
        frame = torch.arange(power.shape[-1], device=power.device)
        kernel = torch.where(frame >= self.delay, (-self.decay[:, None] * frame).exp(), 0.0)
        return fft_convolve(power[:, None], kernel[:, None]).clamp_min(0)

    def _in_bands(self, values: Tensor) -> Tensor:
        """`[rows, times, F, N] -> [rows, times, bands]`."""
        summed = values.sum(-1)
        padded = F.pad(summed, (0, -summed.shape[-1] % BINS_PER_BAND))
        return padded.unflatten(-1, (-1, BINS_PER_BAND)).sum(-1)
