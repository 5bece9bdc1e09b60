"""Short-time Fourier transform with exact inverse and the variance that white noise has in its bins."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class STFT(nn.Module):
    """One-sided STFT of real signals of any length, zero-padded at both ends.

    The inverse is the least-squares one, so `inverse(forward(x), T) == x`. `torch.stft` and
    `torch.istft` do the work; this class fixes the window and keeps the units in one place.

    Args:
        n_fft: Window length in samples.
        hop_samples: Distance of frames in samples.
        window: `hann` or `sqrt_hann`, both periodic.
    """

    window: Tensor

    def __init__(self, n_fft: int = 512, hop_samples: int = 128, window: str = "hann") -> None:
        super().__init__()
        shapes = {"hann": torch.hann_window(n_fft), "sqrt_hann": torch.hann_window(n_fft).sqrt()}
        if window not in shapes:
            raise ValueError(f"window is {window!r}; expected one of {sorted(shapes)}.")
        self.n_fft, self.hop_samples = n_fft, hop_samples
        self.register_buffer("window", shapes[window], persistent=False)
        # The factor from variance per sample to variance per bin; a float, so that no device waits for it.
        self.window_energy = float(shapes[window].square().sum())

    @property
    def n_bins(self) -> int:
        """Number of frequency bins F."""
        return self.n_fft // 2 + 1

    def bin_variance(self, sample_variance: Tensor) -> Tensor:
        """`E|W|^2` in a bin of white noise with this variance per sample, `[...] -> [..., 1, 1]`."""
        return (sample_variance * self.window_energy)[..., None, None]

    def forward(self, wave: Tensor) -> Tensor:
        """`[..., T] -> complex [..., F, N]` with `N = T // hop_samples + 1`."""
        lead, flat = wave.shape[:-1], wave.reshape(-1, wave.shape[-1])
        spec = torch.stft(
            flat, self.n_fft, self.hop_samples, window=self.window, pad_mode="constant", return_complex=True
        )
        return spec.reshape(*lead, *spec.shape[-2:])

    def inverse(self, spec: Tensor, n_samples: int) -> Tensor:
        """`complex [..., F, N] -> [..., T]` with `T = n_samples`."""
        lead, flat = spec.shape[:-2], spec.reshape(-1, *spec.shape[-2:])
        wave = torch.istft(flat, self.n_fft, self.hop_samples, window=self.window, length=n_samples)
        return wave.reshape(*lead, n_samples)
