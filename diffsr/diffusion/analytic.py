"""Priors whose posterior is known in closed form: the yardstick of every sampler."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diffsr.diffusion.calibration import white_uncertainty
from diffsr.signal.stft import STFT
from diffsr.typing import Denoiser, Sources


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
        return stft.bin_variance(white_uncertainty(sigma, self.sigma_data))


class StationaryGaussianPrior(nn.Module):
    """`x ~ N(0, C)` with a circulant covariance C: coloured noise, periodic in the length of the signal.

    Denoiser and uncertainty are exact; the uncertainty is that of bins whose window lies inside the signal.

    Args:
        power: Variance per sample at frequencies from 0 to half the rate in even steps, `[K]`, K at least 2,
            interpolated linearly; `sd^2` everywhere is the white prior.
        rate_hz: Nominal sampling rate.
    """

    power: Tensor

    def __init__(self, power: Tensor, rate_hz: int = 16_000) -> None:
        super().__init__()
        self.register_buffer("power", power.detach().float(), persistent=False)
        self.rate_hz = rate_hz
        self.sigma_data = float(self.power_at(1024).mean().sqrt())

    def power_at(self, n_bins: int) -> Tensor:
        """The power at `n_bins` frequencies from 0 to half the rate, `[n_bins]`."""
        grid = self.power[None, None]
        return nn.functional.interpolate(grid, n_bins, mode="linear", align_corners=True)[0, 0]

    def denoise(self, z: Tensor, sigma: Tensor) -> Tensor:
        """The Wiener filter `C (C + sigma^2 I)^-1 z`."""
        spectrum = torch.fft.rfft(z)
        power = self.power_at(spectrum.shape[-1])
        gain = power / (power + sigma[..., None].square())
        return torch.fft.irfft(gain * spectrum, n=z.shape[-1])

    def uncertainty(self, x0: Tensor, sigma: Tensor, stft: STFT) -> Tensor:
        """Power of the error, of spectrum `sigma^2 p / (sigma^2 + p)`, through the window, `[..., F, 1]`."""
        power, state = self.power_at(4 * stft.n_fft + 1), sigma[..., None].square()
        correlation = torch.fft.irfft(state * power / (state + power))
        window = torch.fft.rfft(stft.window, n=2 * stft.n_fft).abs().square()
        overlap = torch.fft.irfft(window)[: stft.n_fft]  # of the window with itself, by lag
        seen = correlation[..., : stft.n_fft] * overlap
        # sum over lags of both signs; lag 0 is there once
        return (2 * torch.fft.rfft(seen).real - seen[..., :1])[..., None]


class PriorOfEach(nn.Module):
    """Independent talkers, each with a prior of their own.

    Args:
        priors: Of the talkers in their order; they have the rate of the first.
    """

    def __init__(self, priors: Sequence[Denoiser]) -> None:
        super().__init__()
        self.priors = list(priors)
        self.rate_hz = priors[0].rate_hz
        self.sigma_data = (sum(prior.sigma_data**2 for prior in priors) / len(priors)) ** 0.5

    def denoise(self, z: Sources, sigma: Tensor) -> Sources:
        """`z [rows, S, T]` at `sigma [rows, S]`, each talker by their own."""
        found = [prior.denoise(z[:, k], sigma[:, k]) for k, prior in enumerate(self.priors)]
        return torch.stack(found, dim=1)

    def uncertainty(self, x0: Sources, sigma: Tensor, stft: STFT) -> Tensor:
        """In bin units, each talker's by their own."""
        found = [prior.uncertainty(x0[:, k], sigma[:, k], stft) for k, prior in enumerate(self.priors)]
        return torch.stack(found, dim=1)
