"""Frame transformer: STFT frames are tokens; the fast backbone that runs on CPUs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffsr.networks.backbone import Backbone
from diffsr.signal.stft import STFT


class TFTransformer(Backbone):
    """Maps a noisy waveform and its noise embedding to a waveform, `[B, T] -> [B, T]`.

    Each STFT frame is one token: real part, imaginary part and log power of all bins are projected to
    `width`, pass through blocks of self-attention over the whole segment and gated convolution, and come
    out as a complex filter over neighbouring frames plus an additive spectrum. The filter is what lets a
    narrow network pass the full-rank noise on (its target contains the noise); the addition is what can
    create speech where there is only noise.

    The parameters of each block are modulated by the noise level (adaptive layer norm with zero-initialised
    gates, arXiv 2212.09748), positions are rotary (arXiv 2104.09864).

    Args:
        width: Model dimension.
        depth: Number of blocks.
        heads: Number of attention heads.
        ffn_ratio: Hidden dimension of the gated convolution over `width`.
        taps: Frames (odd) that the output filter combines.
        n_fft: STFT window in samples.
        hop_samples: STFT hop in samples.
    """

    def __init__(
        self,
        width: int = 256,
        depth: int = 8,
        heads: int = 4,
        ffn_ratio: float = 2.0,
        taps: int = 3,
        n_fft: int = 512,
        hop_samples: int = 256,
    ) -> None:
        super().__init__()
        if min(width, depth, heads, taps) < 1 or width % (2 * heads) or taps % 2 == 0:
            raise ValueError(
                f"width={width}, depth={depth}, heads={heads}, taps={taps}; expected at least 1, width/heads "
                "even, taps odd."
            )
        if not 0 < 2 * hop_samples <= n_fft:
            raise ValueError(
                f"n_fft={n_fft}, hop_samples={hop_samples}; expected n_fft >= 2 hop_samples > 0."
            )
        self.config = {
            "width": width,
            "depth": depth,
            "heads": heads,
            "ffn_ratio": ffn_ratio,
            "taps": taps,
            "n_fft": n_fft,
            "hop_samples": hop_samples,
        }
        self.stft = STFT(n_fft, hop_samples, window="sqrt_hann")
        self.taps, self.head_width = taps, width // heads
        self.noise_embedding = NoiseEmbedding(width)
        self.encode = nn.Linear(3 * self.stft.n_bins, width)
        self.blocks = nn.ModuleList(Block(width, heads, int(width * ffn_ratio)) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.decode = nn.Linear(width, 2 * self.stft.n_bins * (taps + 1))
        nn.init.zeros_(self.decode.weight)
        nn.init.zeros_(self.decode.bias)

    def forward(self, wave: Tensor, c_noise: Tensor) -> Tensor:
        """Args: wave `[B, T]` of unit variance, c_noise `[B]`. Returns `[B, T]`."""
        with torch.autocast(wave.device.type, enabled=False):  # the FFT wants full precision
            unit = self.stft.window_energy**0.5  # bins of unit white noise have unit variance after this
            spec = self.stft(wave.float()) / unit
        tokens = self.encode(_features(spec))
        level = self.noise_embedding(c_noise)
        rotary = _rotary_angles(tokens.shape[1], self.head_width, tokens.device)
        for block in self.blocks:
            tokens = block(tokens, level, rotary)
        out = self.decode(self.norm(tokens)).float()
        with torch.autocast(wave.device.type, enabled=False):
            return self.stft.inverse(_filter_and_add(out, spec, self.taps) * unit, wave.shape[-1])


class Block(nn.Module):
    """Self-attention over frames, then a gated depthwise convolution, both modulated by the noise level."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.modulate = nn.Linear(width, 6 * width)
        self.norm_attention = nn.LayerNorm(width, elementwise_affine=False)
        self.qkv = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.norm_ffn = nn.LayerNorm(width, elementwise_affine=False)
        self.ffn_in = nn.Linear(width, 2 * hidden)
        self.ffn_conv = nn.Conv1d(hidden, hidden, kernel_size=5, padding=2, groups=hidden)
        self.ffn_out = nn.Linear(hidden, width)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    def forward(self, tokens: Tensor, level: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        """`tokens [B, N, width]`, `level [B, width]` -> `[B, N, width]`."""
        shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = self.modulate(level)[:, None].chunk(6, dim=-1)
        tokens = tokens + gate_a * self._attend(self.norm_attention(tokens) * (1 + scale_a) + shift_a, rotary)
        return tokens + gate_f * self._feed_forward(self.norm_ffn(tokens) * (1 + scale_f) + shift_f)

    def _attend(self, x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        batch, frames, width = x.shape
        qkv = self.qkv(x).view(batch, frames, 3, self.heads, self.head_width)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(_rotate(q, rotary), _rotate(k, rotary), v)
        return self.attention_out(mixed.transpose(1, 2).reshape(batch, frames, width))

    def _feed_forward(self, x: Tensor) -> Tensor:
        value, gate = self.ffn_in(x).chunk(2, dim=-1)
        value = self.ffn_conv(value.transpose(1, 2)).transpose(1, 2)
        return self.ffn_out(value * F.silu(gate))


class NoiseEmbedding(nn.Module):
    """Sines of the noise coordinate at octave-spaced frequencies, then a small network."""

    frequencies: Tensor

    def __init__(self, width: int, n_frequencies: int = 16) -> None:
        super().__init__()
        # c_noise = ln(sigma) / 4 spans about [-2.5, 0.6]: periods from 8 down to 1/16 of a unit.
        self.register_buffer(
            "frequencies", 2 * torch.pi * torch.logspace(-3, 4, n_frequencies, base=2.0), persistent=False
        )
        self.layers = nn.Sequential(
            nn.Linear(2 * n_frequencies, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )

    def forward(self, c_noise: Tensor) -> Tensor:
        """`[B] -> [B, width]`."""
        angles = c_noise[:, None] * self.frequencies
        embedding: Tensor = self.layers(torch.cat([angles.sin(), angles.cos()], dim=-1))
        return embedding


def _features(spec: Tensor) -> Tensor:
    """Complex `[B, F, N]` -> real `[B, N, 3F]`: both parts and a log power of about unit scale."""
    parts = torch.view_as_real(spec)
    power = (parts.square().sum(-1) + 1e-5).log() / 4
    return torch.cat([parts[..., 0], parts[..., 1], power], dim=1).transpose(1, 2)


def _filter_and_add(out: Tensor, spec: Tensor, taps: int) -> Tensor:
    """Apply the predicted filter over `taps` neighbouring frames and add the predicted spectrum."""
    batch, bins, frames = spec.shape
    out = torch.view_as_complex(
        out.view(batch, frames, bins, taps + 1, 2).permute(3, 0, 2, 1, 4).contiguous()
    )
    padded = F.pad(torch.view_as_real(spec), (0, 0, taps // 2, taps // 2))
    shifted = torch.view_as_complex(padded).unfold(-1, frames, 1)  # [B, F, taps, N]
    filtered = (out[:taps].permute(1, 2, 0, 3) * shifted).sum(2)
    return filtered + out[taps]


def _rotary_angles(frames: int, head_width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines `[frames, head_width / 2]` of rotary positions."""
    frequencies = 10_000 ** (-torch.arange(0, head_width, 2, device=device) / head_width)
    angles = torch.arange(frames, device=device)[:, None] * frequencies
    return angles.cos(), angles.sin()


def _rotate(x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate pairs of channels of `x [B, heads, N, head_width]` by their position."""
    cos, sin = (part.to(x.dtype) for part in rotary)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
