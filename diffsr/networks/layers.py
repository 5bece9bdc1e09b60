"""What several backbones are made of: spectral input and output, conditions, rotary positions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffsr.networks.instructions import has_amx, has_fast_bfloat16
from diffsr.signal.stft import STFT


class Condition(nn.Module):
    """What a network is told: the noise level and, where it is known, whose voice it is.

    Sines of the noise coordinate at octave-spaced frequencies pass through a small network. The embedding
    of the talker is added inside it by a projection without bias that starts at zero, so a zero vector means
    "nobody in particular", and a prior without talkers becomes one with them without any change.

    Args:
        width: Width of the output.
        speaker_width: Width of the embedding of a talker; 0 for a network that takes none.
        n_frequencies: Sines, and as many cosines.
    """

    frequencies: Tensor

    def __init__(self, width: int, speaker_width: int = 0, n_frequencies: int = 16) -> None:
        super().__init__()
        # c_noise = ln(sigma) / 4 spans about [-2.5, 0.6]: periods from 8 down to 1/16 of a unit.
        self.register_buffer(
            "frequencies", 2 * torch.pi * torch.logspace(-3, 4, n_frequencies, base=2.0), persistent=False
        )
        self.level = nn.Linear(2 * n_frequencies, width)
        self.mix = nn.Linear(width, width)
        self.speaker = nn.Linear(speaker_width, width, bias=False) if speaker_width else None
        if self.speaker is not None:
            nn.init.zeros_(self.speaker.weight)

    def forward(self, c_noise: Tensor, speaker: Tensor | None = None) -> Tensor:
        """Noise coordinates `[B]`, embeddings `[B, E]` -> `[B, width]`.

        Raises:
            ValueError: A talker for a network that takes none.
        """
        angles = c_noise[:, None] * self.frequencies
        hidden = self.level(torch.cat([angles.sin(), angles.cos()], dim=-1))
        if speaker is not None:
            if self.speaker is None:
                raise ValueError("This network was built without talkers (speaker_width=0), expected none.")
            hidden = hidden + self.speaker(speaker)
        out: Tensor = F.silu(self.mix(F.silu(hidden)))
        return out


def unit_spectrum(stft: STFT, wave: Tensor) -> Tensor:
    """Wave `[B, T]` -> complex `[B, N, F]` in which the bins of unit white noise have unit variance.

    Frames come first, as `torch.stft` lays them out in memory: a frame is then one contiguous row.
    """
    with torch.autocast(wave.device.type, enabled=False):  # the FFT wants full precision
        return stft(wave.float()).transpose(1, 2) / stft.window_energy**0.5


def unit_wave(stft: STFT, spec: Tensor, n_samples: int) -> Tensor:
    """The inverse of `unit_spectrum`: complex `[B, N, F]` -> `[B, T]`."""
    with torch.autocast(spec.device.type, enabled=False):
        return stft.inverse((spec * stft.window_energy**0.5).transpose(1, 2), n_samples)


def spectral_features(spec: Tensor) -> Tensor:
    """Complex `[B, N, F]` -> real `[B, N, 3, F]`: both parts and a log power of about unit scale."""
    parts = torch.view_as_real(spec).movedim(-1, 2)
    power = (parts.square().sum(2) + 1e-5).log() / 4
    return torch.cat([parts, power[:, :, None]], dim=2)


def filter_and_add(out: Tensor, spec: Tensor) -> Tensor:
    """Apply a predicted complex filter over neighbouring frames, then add a predicted spectrum.

    The filter is what lets a narrow network pass the full-rank noise on (the target of a denoiser contains
    it); the addition is what can create speech where there is only noise. Written in real numbers, whose
    gradients are several times cheaper than those of complex ones.

    Args:
        out: Prediction `[B, N, taps + 1, 2, F]`, real and imaginary parts; the last tap is the addition.
        spec: Input spectrum, complex `[B, N, F]`.

    Returns:
        Complex `[B, N, F]`, in single precision.
    """
    frames, taps = spec.shape[1], out.shape[2] - 1
    padded = F.pad(torch.view_as_real(spec).movedim(-1, 2), (0, 0, 0, 0, taps // 2, taps // 2))
    parts = out.float().flatten(2, 3).unbind(2)
    real, imag = parts[-2:]
    for tap, (a, b) in enumerate(zip(parts[:-2:2], parts[1:-2:2], strict=True)):
        x, y = padded[:, tap : tap + frames].unbind(2)
        real = real + a * x - b * y
        imag = imag + a * y + b * x
    return torch.complex(real, imag)


def attend(qkv: Tensor, heads: int, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Self-attention with rotary positions (arXiv 2104.09864), `[B, N, 3 width]` -> `[B, N, width]`."""
    batch, frames = qkv.shape[:2]
    with torch.autocast(qkv.device.type, enabled=False):
        turned, v = qkv.view(batch, frames, 3, heads, -1).split([2, 1], dim=2)
        q, k = rotate(turned, rotary).permute(2, 0, 3, 1, 4)
        v = v[:, :, 0].transpose(1, 2)
        if q.device.type == "cpu" and q.dtype == torch.bfloat16 and _is_better_in_parts(q):
            scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
            mixed = scores.softmax(-1) @ v
        else:
            mixed = F.scaled_dot_product_attention(q, k, v)
    return mixed.transpose(1, 2).reshape(batch, frames, -1)


def _is_better_in_parts(q: Tensor) -> bool:
    """Whether products of matrices are faster than the fused attention of CPUs in bfloat16.

    Its gradient never uses their instructions for bfloat16, and it itself only those of AMX.
    """
    return q.requires_grad or (has_fast_bfloat16() and not has_amx())


def rotary_angles(frames: int, head_width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines `[frames, 1, 1, head_width / 2]` of rotary positions."""
    frequencies = 10_000 ** (-torch.arange(0, head_width, 2, device=device) / head_width)
    angles = torch.arange(frames, device=device)[:, None, None, None] * frequencies
    return angles.cos(), angles.sin()


def rotate(x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate pairs of channels of `x [B, N, ..., heads, head_width]` by their position."""
    cos, sin = (part.to(x.dtype) for part in rotary)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
