"""A prior for recordings of any length."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffsr.signal.stft import STFT
from diffsr.signal.windows import crossfade, window_starts
from diffsr.typing import Denoiser


class WindowedPrior(nn.Module):
    """Denoises overlapping windows of one long state and cross-fades the estimates at every call.

    The state, and with it the noise and room models of a sampler, stays that of the whole recording;
    only the network sees windows. Its memory does not grow with the recording.

    Args:
        prior: The prior that sees the windows.
        window_s: Length of a window.
        overlap_s: Least overlap of neighbouring windows.
        windows_per_call: Windows that go through the network at once.
    """

    def __init__(
        self, prior: Denoiser, window_s: float, overlap_s: float = 0.512, windows_per_call: int = 8
    ) -> None:
        super().__init__()
        if not 0 <= overlap_s < window_s:
            raise ValueError(f"overlap_s={overlap_s}; expected at least 0 and less than window_s={window_s}.")
        self.prior = prior
        self.rate_hz, self.sigma_data = prior.rate_hz, prior.sigma_data
        self.window = round(window_s * prior.rate_hz)
        self.overlap = round(overlap_s * prior.rate_hz)
        self.windows_per_call = windows_per_call

    def denoise(self, z: Tensor, sigma: Tensor) -> Tensor:
        """`[..., T]` and `[...]` -> `[..., T]`, as `Prior.denoise`."""
        n_samples = z.shape[-1]
        starts = window_starts(n_samples, self.window, self.overlap)
        if len(starts) == 1:
            return self._in_parts(z.reshape(-1, n_samples), sigma.reshape(-1)).reshape(z.shape)
        pieces = torch.stack([z[..., start : start + self.window] for start in starts], dim=-2)
        flat = pieces.reshape(-1, self.window)
        levels = sigma[..., None].expand(pieces.shape[:-1]).reshape(-1)
        return crossfade(self._in_parts(flat, levels).reshape(pieces.shape), starts, n_samples)

    def _in_parts(self, windows: Tensor, levels: Tensor) -> Tensor:
        """`[B, T]` and `[B]` -> `[B, T]`, a few windows at a time."""
        n = self.windows_per_call
        parts = zip(windows.split(n), levels.split(n), strict=True)
        return torch.cat([self.prior.denoise(part, level) for part, level in parts])

    def uncertainty(self, x0: Tensor, sigma: Tensor, stft: STFT) -> Tensor:
        """As the prior's."""
        return self.prior.uncertainty(x0, sigma, stft)
