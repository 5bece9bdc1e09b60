"""Frame transformer: STFT frames are tokens; the fast backbone that runs on CPUs."""

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


class TFTransformer(Backbone):
    """Maps a noisy waveform and its noise embedding to a waveform, `[B, T] -> [B, T]`.

    Each STFT frame is one token: real part, imaginary part and log power of all bins are projected to
    `width`, pass through blocks of self-attention over the whole segment and gated convolution, and come
    out as a complex filter over neighbouring frames plus an additive spectrum.

    Noise level and talker modulate each block (adaptive layer norm with zero-initialised gates, arXiv
    2212.09748), positions are rotary (arXiv 2104.09864).

    Args:
        width: Model dimension.
        depth: Number of blocks.
        heads: Number of attention heads.
        ffn_ratio: Hidden dimension of the gated convolution over `width`.
        taps: Frames (odd) that the output filter combines.
        n_fft: STFT window in samples.
        hop_samples: STFT hop in samples.
        condition_width: Width of what the blocks are told about noise level and talker.
        speaker_width: Width of the embedding of a talker; 0 for none.
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
        condition_width: int = 96,
        speaker_width: int = 0,
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
            "condition_width": condition_width,
            "speaker_width": speaker_width,
        }
        self.stft = STFT(n_fft, hop_samples, window="sqrt_hann")
        self.taps, self.head_width = taps, width // heads
        self.speaker_width = speaker_width
        self.adaptation_shape = (depth, 6 * width)
        self.condition = Condition(condition_width, speaker_width)
        self.encode = nn.Linear(3 * self.stft.n_bins, width)
        self.blocks = nn.ModuleList(
            Block(width, heads, int(width * ffn_ratio), condition_width) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.decode = nn.Linear(width, 2 * self.stft.n_bins * (taps + 1))
        nn.init.zeros_(self.decode.weight)
        nn.init.zeros_(self.decode.bias)

    def forward(
        self,
        wave: Tensor,
        c_noise: Tensor,
        speaker: Tensor | None = None,
        adaptation: Tensor | None = None,
    ) -> Tensor:
        """See `Backbone`; an adaptation `[B, depth, 6 width]` is added to the modulation of each block."""
        spec = unit_spectrum(self.stft, wave)
        tokens = self.encode(spectral_features(spec).flatten(2))
        told = self.condition(c_noise, speaker)
        rotary = rotary_angles(tokens.shape[1], self.head_width, tokens.device)
        added = [None] * len(self.blocks) if adaptation is None else adaptation.unbind(1)
        for block, own in zip(self.blocks, added, strict=True):
            tokens = block(tokens, told, rotary, own)
        out = self.decode(self.norm(tokens)).unflatten(-1, (self.taps + 1, 2, self.stft.n_bins))
        return unit_wave(self.stft, filter_and_add(out, spec), wave.shape[-1])


class Block(nn.Module):
    """Self-attention over frames, then a gated depthwise convolution, both modulated by the conditions."""

    def __init__(self, width: int, heads: int, hidden: int, condition_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.modulate = nn.Linear(condition_width, 6 * width)
        self.norm_attention = nn.LayerNorm(width, elementwise_affine=False)
        self.qkv = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.norm_ffn = nn.LayerNorm(width, elementwise_affine=False)
        self.ffn_value, self.ffn_gate = nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.ffn_conv = nn.Conv2d(hidden, hidden, kernel_size=(5, 1), padding=(2, 0), groups=hidden)
        self.ffn_out = nn.Linear(hidden, width)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    def forward(
        self, tokens: Tensor, told: Tensor, rotary: tuple[Tensor, Tensor], added: Tensor | None = None
    ) -> Tensor:
        """`tokens [B, N, width]`, `told [B, condition_width]`, `added [B, 6 width]` -> `[B, N, width]`."""
        modulation = self.modulate(told) if added is None else self.modulate(told) + added
        shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = modulation[:, None].chunk(6, dim=-1)
        x = torch.addcmul(shift_a, self.norm_attention(tokens), 1 + scale_a)
        tokens = torch.addcmul(tokens, gate_a, self._attend(x, rotary))
        x = torch.addcmul(shift_f, self.norm_ffn(tokens), 1 + scale_f)
        return torch.addcmul(tokens, gate_f, self._feed_forward(x))

    def _attend(self, x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        return self.attention_out(attend(self.qkv(x), self.heads, rotary))

    def _feed_forward(self, x: Tensor) -> Tensor:
        # As an image of one column the tokens are channels-last memory: three times faster than Conv1d.
        image = self.ffn_value(x)[:, :, None].permute(0, 3, 1, 2)
        value = self.ffn_conv(image).permute(0, 2, 3, 1)[:, :, 0]
        return self.ffn_out(value * F.silu(self.ffn_gate(x)))
