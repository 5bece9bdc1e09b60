"""Parts of NCSN++. The names of their parameters are those of published checkpoints."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffsr.networks.ncsnpp_resampling import Resampling


class FourierEmbedding(nn.Module):
    """Sines and cosines of the noise coordinate at random, fixed frequencies (arXiv 2006.10739)."""

    W: Tensor

    def __init__(self, n_frequencies: int, scale: float) -> None:
        super().__init__()
        self.register_buffer("W", scale * torch.randn(n_frequencies))

    def forward(self, c_noise: Tensor) -> Tensor:
        """`[B] -> [B, 2 n_frequencies]`."""
        # Thousands of radians: half precision would leave nothing of the phase.
        angles = 2 * math.pi * c_noise.float()[:, None] * self.W.float()
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class ResidualBlock(nn.Module):
    """Residual block of BigGAN (arXiv 1809.11096), as used by NCSN++ (arXiv 2011.13456, appendix H.1).

    Args:
        c_in: Channels that come in.
        c_out: Channels that go out.
        level_width: Width of the embedded noise level.
        resampling: `fir` or `box`.
        change: `none`, `down` (halves both axes) or `up` (doubles them).
    """

    def __init__(
        self, c_in: int, c_out: int, level_width: int, resampling: str = "fir", change: str = "none"
    ) -> None:
        super().__init__()
        self.change = change
        self.resample = Resampling(resampling)
        self.GroupNorm_0 = group_norm(c_in)
        self.Conv_0 = convolution(c_in, c_out)
        self.Dense_0 = linear(level_width, c_out)
        self.GroupNorm_1 = group_norm(c_out)
        self.Conv_1 = convolution(c_out, c_out, zero=True)
        self.Conv_2 = convolution(c_in, c_out, size=1) if c_in != c_out or change != "none" else nn.Identity()

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """`x [B, c_in, F, N]`, `level [B, level_width]` -> `[B, c_out, F', N']`."""
        inner = F.silu(self.GroupNorm_0(x))
        if self.change != "none":
            move = self.resample.down if self.change == "down" else self.resample.up
            inner, x = move(inner), move(x)
        inner = self.Conv_0(inner) + self.Dense_0(F.silu(level))[:, :, None, None]
        inner = self.Conv_1(F.silu(self.GroupNorm_1(inner)))
        return halved_sum(self.Conv_2(x), inner)


class PointwiseLinear(nn.Module):
    """A linear map of the channels of each token; its weight is stored as `[c_in, c_out]`."""

    def __init__(self, width: int, zero: bool = False) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.zeros(width, width))
        self.b = nn.Parameter(torch.zeros(width))
        if not zero:
            nn.init.xavier_uniform_(self.W, gain=math.sqrt(0.1))

    def forward(self, tokens: Tensor) -> Tensor:
        """`[..., width] -> [..., width]`."""
        return F.linear(tokens, self.W.T, self.b)


class Attention(nn.Module):
    """Self-attention with one head over all bins and frames, with residual connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.GroupNorm_0 = group_norm(channels)
        self.NIN_0 = PointwiseLinear(channels)  # query
        self.NIN_1 = PointwiseLinear(channels)  # key
        self.NIN_2 = PointwiseLinear(channels)  # value
        self.NIN_3 = PointwiseLinear(channels, zero=True)  # output

    def forward(self, x: Tensor) -> Tensor:
        """`[B, channels, F, N] -> [B, channels, F, N]`."""
        tokens = self.GroupNorm_0(x).flatten(2).transpose(1, 2)[:, None]  # one head
        mixed = F.scaled_dot_product_attention(self.NIN_0(tokens), self.NIN_1(tokens), self.NIN_2(tokens))
        return halved_sum(x, self.NIN_3(mixed)[:, 0].transpose(1, 2).reshape(x.shape))


class Injection(nn.Module):
    """Adds the input at reduced resolution to the encoder (progressive input of NCSN++)."""

    def __init__(self, c_input: int, channels: int) -> None:
        super().__init__()
        self.Conv_0 = convolution(c_input, channels, size=1)

    def forward(self, small: Tensor, x: Tensor) -> Tensor:
        """`small [B, c_input, F, N]`, `x [B, channels, F, N]` -> `[B, channels, F, N]`."""
        added: Tensor = self.Conv_0(small) + x
        return added


def halved_sum(a: Tensor, b: Tensor) -> Tensor:
    """Sum of two signals of like variance, with that variance."""
    return (a + b) / math.sqrt(2)


def group_norm(channels: int) -> nn.GroupNorm:
    """At least four channels a group, at most 32 groups."""
    return nn.GroupNorm(min(channels // 4, 32), channels, eps=1e-6)


def convolution(c_in: int, c_out: int, size: int = 3, zero: bool = False) -> nn.Conv2d:
    """A convolution that keeps the shape; with `zero` it starts as nothing."""
    layer = nn.Conv2d(c_in, c_out, size, padding=size // 2)
    _initialise(layer, zero)
    return layer


def linear(n_in: int, n_out: int) -> nn.Linear:
    """A linear layer that starts without bias."""
    layer = nn.Linear(n_in, n_out)
    _initialise(layer)
    return layer


def _initialise(layer: nn.Conv2d | nn.Linear, zero: bool = False) -> None:
    """Variance kept, averaged over both directions; bias zero."""
    if zero:
        nn.init.zeros_(layer.weight)
    else:
        nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
