"""What several backbones are made of: spectral input and output, noise embedding, rotary positions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffsr.signal.stft import STFT


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


def unit_spectrum(stft: STFT, wave: Tensor) -> Tensor:
    """Wave `[B, T]` -> complex `[B, F, N]` in which the bins of unit white noise have unit variance."""
    with torch.autocast(wave.device.type, enabled=False):  # the FFT wants full precision
        return stft(wave.float()) / stft.window_energy**0.5


def unit_wave(stft: STFT, spec: Tensor, n_samples: int) -> Tensor:
    """The inverse of `unit_spectrum`: complex `[B, F, N]` -> `[B, T]`."""
    with torch.autocast(spec.device.type, enabled=False):
        return stft.inverse(spec * stft.window_energy**0.5, n_samples)


def spectral_features(spec: Tensor) -> Tensor:
    """Complex `[B, F, N]` -> real `[B, 3, F, N]`: both parts and a log power of about unit scale."""
    parts = torch.view_as_real(spec)
    power = (parts.square().sum(-1) + 1e-5).log() / 4
    return torch.stack([parts[..., 0], parts[..., 1], power], dim=1)


def filter_and_add(out: Tensor, spec: Tensor) -> Tensor:
    """Apply a predicted complex filter over neighbouring frames, then add a predicted spectrum.

    The filter is what lets a narrow network pass the full-rank noise on (the target of a denoiser contains
    it); the addition is what can create speech where there is only noise.

    Args:
        out: Prediction `[B, F, N, taps + 1, 2]`, real and imaginary parts; the last tap is the addition.
        spec: Input spectrum, complex `[B, F, N]`.

    Returns:
        Complex `[B, F, N]`, in single precision.
    """
    frames, taps = spec.shape[-1], out.shape[-2] - 1
    taken = torch.view_as_complex(out.float().permute(3, 0, 1, 2, 4).contiguous())
    padded = F.pad(torch.view_as_real(spec), (0, 0, taps // 2, taps // 2))
    shifted = torch.view_as_complex(padded).unfold(-1, frames, 1)  # [B, F, taps, N]
    filtered = (taken[:taps].permute(1, 2, 0, 3) * shifted).sum(2)
    return filtered + taken[taps]


def attend(qkv: Tensor, heads: int, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Self-attention with rotary positions (arXiv 2104.09864), `[B, N, 3 width]` -> `[B, N, width]`."""
    batch, frames = qkv.shape[:2]
    with torch.autocast(qkv.device.type, enabled=False):
        q, k, v = qkv.view(batch, frames, 3, heads, -1).permute(2, 0, 3, 1, 4)
        if qkv.device.type == "cpu":  # whose fused attention is up to four times slower in bfloat16
            q, k, v = q.float(), k.float(), v.float()
        mixed = F.scaled_dot_product_attention(rotate(q, rotary), rotate(k, rotary), v)
    return mixed.transpose(1, 2).reshape(batch, frames, -1)


def rotary_angles(frames: int, head_width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines `[frames, head_width / 2]` of rotary positions."""
    frequencies = 10_000 ** (-torch.arange(0, head_width, 2, device=device) / head_width)
    angles = torch.arange(frames, device=device)[:, None] * frequencies
    return angles.cos(), angles.sin()


def rotate(x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate pairs of channels of `x [B, heads, N, head_width]` by their position."""
    cos, sin = (part.to(x.dtype) for part in rotary)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
