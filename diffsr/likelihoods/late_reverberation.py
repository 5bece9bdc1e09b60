"""Late reverberation as noise whose power follows the talker's own with exponential decays."""

from __future__ import annotations

import torch
from torch import Tensor

from diffsr.errors import ConfigError
from diffsr.likelihoods.base import Likelihood, noise_posterior_power
from diffsr.signal.decays import TINY, blocks, decay_kernels, decayed, n_bands, updated_weights, weighted_sum

TIMES_S = (0.15, 0.25, 0.4, 0.6, 0.9, 1.3, 2.0)
"""Reverberation times whose mixture stands for the room."""


class LateReverberation(Likelihood):
    """`Y - A(X) ~ CN(0, v)`, v the decaying power of the talker (see `signal.decays`) plus that of noise.

    Args:
        noise: Model of the noise, with the same STFT.
        delay: Frames until reverberation counts as late.
        initial: Energy of the decays at the start, over that of the recording that decays.
        n_updates: Updates of the weights in each `fit`.
        rate_hz: Sample rate.
    """

    def __init__(
        self,
        noise: Likelihood,
        delay: int = 2,
        initial: float = 0.1,
        n_updates: int = 3,
        rate_hz: int = 16000,
    ) -> None:
        super().__init__(noise.stft.n_fft, noise.stft.hop_samples)
        if delay < 1:
            raise ConfigError(f"delay of LateReverberation is {delay}; expected 1 frame or more.")
        self.noise = noise
        self.delay, self.initial, self.n_updates, self.rate_hz = delay, initial, n_updates, rate_hz
        self.weights = torch.empty(0)  # [rows, times, bands]
        self.late = torch.empty(0)  # power [rows, F, N]

    def reset(self, y: Tensor, item_of_row: Tensor) -> None:
        """Start from the decayed power of `y [rows, 1, T]` itself, all decays with the same energy."""
        self.noise.reset(y, item_of_row)
        power = self.stft(y[:, 0]).abs().square()
        kernels = self._kernels(power)
        # Nothing is late in a recording that is shorter than the delay.
        energy = kernels.sum(-1).clamp_min(TINY)
        shape = (len(power), -1, n_bands(power.shape[-2]))
        self.weights = (self.initial / len(energy) / energy)[None, :, None].expand(shape).clone()
        self.late = torch.empty_like(power)
        for bins, bands in blocks(power.shape[-2], kernels.numel()):
            self.late[:, bins] = weighted_sum(self.weights[..., bands], decayed(power[:, bins], kernels))

    @property
    def variance(self) -> Tensor:
        """Power of late reverberation and noise of each row, `[rows, F, N]`."""
        return self.late + self.noise.variance

    def describe(self) -> dict[str, Tensor]:
        """What the noise model tells; the late reverberation is no noise."""
        return self.noise.describe()

    def update(self, residual: Tensor, extra_variance: Tensor) -> None:
        """M-step of the noise, to which late reverberation is one more uncertainty; see `fit` for that."""
        self.noise.update(residual, extra_variance + self.late)

    def fit(self, x0: Tensor, residual: Tensor, extra_variance: Tensor) -> None:
        """M-step on the expected noise power given the residual, as that of `NMFNoise.update`.

        Args:
            x0: Estimated sources `[rows, S, T]`.
            residual: `y - A(x0)`, `[rows, 1, T]`.
            extra_variance: Variance of `x0` in bins, broadcastable to `[rows, F, N]`.
        """
        dry = self.stft(x0).abs().square().sum(1) + extra_variance
        left, extra = self.stft(residual[:, 0]), extra_variance.expand_as(dry)
        noise, kernels = self.noise.variance.expand_as(dry), self._kernels(dry)
        for bins, bands in blocks(dry.shape[-2], kernels.numel()):
            parts, weights = decayed(dry[:, bins], kernels), self.weights[..., bands]
            late = weighted_sum(weights, parts)
            for _ in range(self.n_updates):
                total = late + noise[:, bins]
                target = noise_posterior_power(left[:, bins], total, extra[:, bins])
                weights = updated_weights(weights, parts, target, total)
                late = weighted_sum(weights, parts)
            self.weights[..., bands], self.late[:, bins] = weights, late

    def _kernels(self, power: Tensor) -> Tensor:
        times_s = torch.tensor(TIMES_S, device=power.device)
        frame_s = self.stft.hop_samples / self.rate_hz
        return decay_kernels(times_s, power.shape[-1], frame_s, self.delay)
