"""The noise listener: a network that hears how much of a recording is noise, in each bin and frame."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffsr.io.model_folder import ModelKind
from diffsr.io.network import SmallNetwork
from diffsr.signal.stft import STFT
from diffsr.signal.windows import crossfade, window_starts

KIND = ModelKind(
    name="noise listener",
    format="diffsr-noise-listener/1",
    shipped="listeners",
    experiment="noise",
    checkpoint_key="diffsr_noise_listener",
    prefix="listener.",
    noted=("rate_hz",),
)
STACKED = 2
"""Frames that make one token of the network."""
DILATIONS = (1, 2, 4, 8, 16)
TAPS = 5
LOW = 0.25
"""Quantile of the power over time that stands for the floor of a bin."""
FLOOR = 1e-10
"""Power in relation to the mean below which nothing is heard."""
WINDOW_FRAMES, OVERLAP_FRAMES = 1000, 250


class NoiseListener(SmallNetwork):
    """Expected noise power of each bin, of the power of a recording, `[B, F, N] -> [B, F, N]`.

    A token stands for two frames; dilated convolutions over tokens hear 2 s to either side. Any level comes
    in and the same goes out: what is heard are logarithms above the floor of each bin, and the floors.

    Args:
        rate_hz: Sampling rate.
        n_fft: STFT window in samples.
        hop_samples: STFT hop in samples.
        width: Channels.
        depth: Layers.

    Raises:
        ValueError: One of the numbers is not a whole number above 0.

    Example:
        >>> listener = NoiseListener()
        >>> listener(listener.stft(torch.randn(1, 16_000)).abs().square()).shape
        torch.Size([1, 257, 126])
    """

    kind = KIND

    def __init__(
        self,
        rate_hz: int = 16_000,
        n_fft: int = 512,
        hop_samples: int = 128,
        width: int = 128,
        depth: int = 10,
    ) -> None:
        super().__init__(rate_hz, n_fft=n_fft, hop_samples=hop_samples, width=width, depth=depth)
        self.stft = STFT(n_fft, hop_samples)
        n_bins = self.stft.n_bins
        self.embed = nn.Linear(STACKED * n_bins, width)
        self.embed_floor = nn.Linear(n_bins, width)
        self.layers = nn.ModuleList(Layer(width, DILATIONS[n % len(DILATIONS)]) for n in range(depth))
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, STACKED * n_bins)

    def forward(self, power: Tensor) -> Tensor:
        """See class; longer recordings in windows of 1000 frames that are cross-faded."""
        n_frames = power.shape[-1]
        starts = window_starts(n_frames, WINDOW_FRAMES, OVERLAP_FRAMES)
        if len(starts) == 1:
            return self.log_power(power).exp()
        pieces = [self.log_power(power[..., start : start + WINDOW_FRAMES]) for start in starts]
        return crossfade(torch.stack(pieces, -2), starts, n_frames).exp()

    def log_power(self, power: Tensor) -> Tensor:
        """Logarithm of the noise power of recordings that are heard at once, `[B, F, N] -> [B, F, N]`."""
        n_frames = power.shape[-1]
        mean = power.mean((1, 2), keepdim=True).clamp_min(torch.finfo(power.dtype).tiny)
        heard = (power / mean + FLOOR).log()
        low = heard.kthvalue(max(1, round(LOW * n_frames)), dim=-1, keepdim=True).values
        frames = F.pad((heard - low) / 3, (0, -n_frames % STACKED), mode="replicate").mT
        middle = heard.mean((1, 2), keepdim=True)
        tokens = self.embed(frames.reshape(len(frames), -1, STACKED * frames.shape[-1]))
        tokens = tokens + self.embed_floor(((low - middle) / 3).mT)
        for layer in self.layers:
            tokens = layer(tokens)
        above = self.project(self.norm(tokens)).float().reshape(*frames.shape).mT[..., :n_frames]
        return low + 0.6 + 3 * above + mean.log()


class Layer(nn.Module):
    """A depthwise dilated convolution over tokens, and a two-layer network for each of them."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.taps = nn.Parameter(0.3 * torch.randn(TAPS, width))
        self.norm = nn.LayerNorm(width)
        self.change = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """`[B, N, width] -> [B, N, width]`."""
        # Shifted sums: on CPUs grouped convolutions with dilation are several times slower.
        n, margin = tokens.shape[1], self.dilation * (TAPS // 2)
        padded = F.pad(tokens, (0, 0, margin, margin))
        shifted = (padded[:, k * self.dilation : k * self.dilation + n] for k in range(TAPS))
        near = sum(part * tap for part, tap in zip(shifted, self.taps, strict=True))
        return tokens + self.change(self.norm(near))
