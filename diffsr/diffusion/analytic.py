"""Priors whose posterior is known in closed form: the yardstick of every sampler."""

from __future__ import annotations

from torch import Tensor, nn

from diffsr.signal.stft import STFT


class WhiteGaussianPrior(nn.Module):
    """`x ~ N(0, sigma_data^2 I)`: the denoiser is the Wiener gain and its uncertainty is exact.

    Args:
        sigma_data: Standard deviation of a sample.
        rate_hz: Nominal sampling rate.
    """

    def __init__(self, sigma_data: float = 0.05, rate_hz: int = 16_000) -> None:
        super().__init__()
        self.sigma_data, self.rate_hz = sigma_data, rate_hz

    def denoise(self, z: Tensor, sigma: Tensor) -> Tensor:
        """`sd^2 / (sd^2 + sigma^2) z`."""
        return (self.sigma_data**2 / (self.sigma_data**2 + sigma**2))[..., None] * z

    def uncertainty(self, x0: Tensor, sigma: Tensor, stft: STFT) -> Tensor:
        """`sigma^2 sd^2 / (sigma^2 + sd^2)` in bin units."""
        return stft.bin_variance(sigma**2 * self.sigma_data**2 / (sigma**2 + self.sigma_data**2))
