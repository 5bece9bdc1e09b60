"""Time-frequency dual path: groups of bins are tokens, mixed along frequency and along time; for quality."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffsr.networks.backbone import Backbone
from diffsr.networks.layers import (
    Condition,
    attend,
    filter_and_add,
    rotary_angles,
    spectral_features,
    unit_spectrum,
    unit_wave,
)
from diffsr.signal.stft import STFT

Rotary = tuple[Tensor, Tensor]


class TFDualPath(Backbone):
    """Maps a noisy waveform and its noise embedding to a waveform, `[B, T] -> [B, T]`.

    `bins_per_token` neighbouring STFT bins of a frame are one token, so that there are G tokens along
    frequency and N along time, all of the same small `width`. Each block lets the tokens of a frame attend
    to each other (harmonics), then the frames of a group, over the whole segment (one talker, one voice),
    then mixes neighbours by a gated depthwise convolution over both axes. All weights are shared over
    time and frequency; a learned embedding says which group a token is. The plan of alternating narrow
    models along both axes is that of TF-GridNet (arXiv 2211.12433) and SpatialNet (arXiv 2307.16516).

    Noise level and talker modulate each block (adaptive layer norm with zero-initialised gates, arXiv
    2212.09748); positions are rotary along both axes. The output is a complex filter over neighbouring
    frames plus an additive spectrum.

    Args:
        width: Channels of a token.
        depth: Number of blocks.
        heads: Number of attention heads along each axis.
        ffn_ratio: Hidden dimension of the gated convolution over `width`.
        bins_per_token: Bins that one token covers: the down-sampling along frequency.
        taps: Frames (odd) that the output filter combines.
        n_fft: STFT window in samples.
        hop_samples: STFT hop in samples.
        speaker_width: Width of the embedding of a talker; 0 for none.
    """

    def __init__(
        self,
        width: int = 96,
        depth: int = 8,
        heads: int = 3,
        ffn_ratio: float = 2.0,
        bins_per_token: int = 4,
        taps: int = 3,
        n_fft: int = 512,
        hop_samples: int = 256,
        speaker_width: int = 0,
    ) -> None:
        super().__init__()
        sizes = {
            "width": width,
            "depth": depth,
            "heads": heads,
            "ffn_ratio": ffn_ratio,
            "bins_per_token": bins_per_token,
            "taps": taps,
        }
        hidden = int(width * ffn_ratio)
        if min(*sizes.values(), hidden) < 1 or width % (2 * heads) or taps % 2 == 0:
            found = ", ".join(f"{name}={value}" for name, value in sizes.items())
            raise ValueError(
                f"{found}; expected at least 1 (width * ffn_ratio too), width/heads even, taps odd."
            )
        if not 0 < 2 * hop_samples <= n_fft:
            raise ValueError(
                f"n_fft={n_fft}, hop_samples={hop_samples}; expected n_fft >= 2 hop_samples > 0."
            )
        self.config = {
            **sizes, "n_fft": n_fft, "hop_samples": hop_samples, "speaker_width": speaker_width
        }  # fmt: skip
        self.stft = STFT(n_fft, hop_samples, window="sqrt_hann")
        self.bins, self.taps, self.head_width = bins_per_token, taps, width // heads
        self.n_tokens = -(-self.stft.n_bins // bins_per_token)
        self.speaker_width = speaker_width
        self.adaptation_shape = (depth, 9 * width)
        self.condition = Condition(width, speaker_width)
        # Along frequency a token sees its own bins and half of each neighbour's.
        self.encode = nn.Conv2d(3, width, (2 * bins_per_token, 3), stride=(bins_per_token, 1), padding=(0, 1))
        self.group = nn.Parameter(0.1 * torch.randn(self.n_tokens, 1, width))
        self.blocks = nn.ModuleList(Block(width, heads, hidden) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.decode = nn.Linear(width, 2 * bins_per_token * (taps + 1))
        nn.init.zeros_(self.decode.weight)
        nn.init.zeros_(self.decode.bias)

    def forward(
        self,
        wave: Tensor,
        c_noise: Tensor,
        speaker: Tensor | None = None,
        adaptation: Tensor | None = None,
    ) -> Tensor:
        """See `Backbone`; an adaptation `[B, depth, 9 width]` is added to the modulation of each block."""
        spec = unit_spectrum(self.stft, wave)
        tokens = self._encode(spectral_features(spec))
        told = self.condition(c_noise, speaker)
        along_f = rotary_angles(self.n_tokens, self.head_width, tokens.device)
        along_n = rotary_angles(tokens.shape[2], self.head_width, tokens.device)
        added = [None] * len(self.blocks) if adaptation is None else adaptation.unbind(1)
        for block, own in zip(self.blocks, added, strict=True):
            tokens = block(tokens, told, along_f, along_n, own)
        return unit_wave(self.stft, filter_and_add(self._decode(tokens), spec), wave.shape[-1])

    def _encode(self, features: Tensor) -> Tensor:
        """`[B, N, 3, F]` -> tokens `[B, G, N, width]`."""
        low = self.bins // 2
        high = (self.n_tokens + 1) * self.bins - low - self.stft.n_bins
        image = F.pad(features.permute(0, 2, 3, 1), (0, 0, low, high))
        return self.encode(image).permute(0, 2, 3, 1) + self.group

    def _decode(self, tokens: Tensor) -> Tensor:
        """Tokens `[B, G, N, width]` -> filter and addition `[B, N, taps + 1, 2, F]`."""
        out = self.decode(self.norm(tokens)).unflatten(-1, (self.taps + 1, 2, self.bins))
        return out.permute(0, 2, 3, 4, 1, 5).flatten(-2)[..., : self.stft.n_bins]


class Block(nn.Module):
    """Attention along frequency, attention along time, gated convolution; modulated by the conditions."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.modulate = nn.Linear(width, 9 * width)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.frequency, self.time = Attention(width, heads), Attention(width, heads)
        self.convolution = GatedConvolution(width, hidden)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    def forward(
        self, tokens: Tensor, told: Tensor, along_f: Rotary, along_n: Rotary, added: Tensor | None = None
    ) -> Tensor:
        """`tokens [B, G, N, width]`, `told [B, width]`, `added [B, 9 width]` -> `[B, G, N, width]`."""
        modulation = self.modulate(told) if added is None else self.modulate(told) + added
        shift_f, scale_f, gate_f, shift_n, scale_n, gate_n, shift_c, scale_c, gate_c = (
            modulation[:, None, None].chunk(9, dim=-1)
        )  # fmt: skip
        x = self.norm(tokens) * (1 + scale_f) + shift_f
        tokens = tokens + gate_f * self.frequency(x.transpose(1, 2), along_f).transpose(1, 2)
        x = self.norm(tokens) * (1 + scale_n) + shift_n
        tokens = tokens + gate_n * self.time(x, along_n)
        x = self.norm(tokens) * (1 + scale_c) + shift_c
        return tokens + gate_c * self.convolution(x)


class Attention(nn.Module):
    """Self-attention along the last but one axis, with rotary positions."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, rotary: Rotary) -> Tensor:
        """`[B, G, N, width]` -> the same, mixed along N."""
        mixed = attend(self.qkv(x).flatten(0, 1), self.heads, rotary)
        return self.out(mixed).unflatten(0, x.shape[:2])


class GatedConvolution(nn.Module):
    """A gated feed-forward network whose value passes a depthwise convolution over both axes."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.value, self.gate = nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.mix = nn.Conv2d(hidden, hidden, kernel_size=3, padding=1, groups=hidden)
        self.out = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, G, N, width]` -> the same."""
        # The permuted view is channels-last memory: the convolution runs without a copy.
        value = self.mix(self.value(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.out(value * F.silu(self.gate(x)))
