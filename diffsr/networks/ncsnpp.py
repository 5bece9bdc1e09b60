"""NCSN++M on complex spectrograms: the U-Net of the BUDDy / SGMSE+ family, for comparisons and for import."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffsr.networks.backbone import Backbone
from diffsr.networks.ncsnpp_blocks import (
    Attention,
    FourierEmbedding,
    Injection,
    ResidualBlock,
    convolution,
    group_norm,
    linear,
)
from diffsr.networks.ncsnpp_resampling import Resampling
from diffsr.signal.stft import STFT

PARTS = 2
"""Real and imaginary part, as channels."""


class NCSNpp(Backbone):
    """Maps a noisy waveform and its noise embedding to a waveform, `[B, T] -> [B, T]`.

    The spectrogram, real and imaginary part as two channels, passes through a U-Net of BigGAN blocks with
    self-attention at its bottom; the input is added again at each resolution of the encoder, the output is
    collected from each resolution of the decoder. NCSN++ is arXiv 2011.13456 (appendix H), its form for
    complex spectrograms arXiv 2208.05830, the smaller NCSN++M (one block for each of four resolutions)
    arXiv 2212.11851, inside an STFT arXiv 2405.04272.

    The layers stand in `all_modules` in the order of published checkpoints, and their parameters have the
    published names, so such weights load as they are. To compute what the network of BUDDy computes, take
    `resampling="box"` and `unit_bins=False`; what is left is the padding at both ends of a recording
    (zeros here, mirrored there), which concerns the first and the last two frames.

    Args:
        nf: Channels at full resolution, a multiple of 4; 128 as published (27.7 M parameters).
        channel_multipliers: Channels over `nf`, for each resolution.
        n_blocks: Residual blocks for each resolution of the encoder; the decoder has one more.
        attention_bins: Attention also where there are so many bins, such as [16].
        resampling: `fir` ([1, 3, 3, 1]) or `box`.
        fourier_scale: Standard deviation of the frequencies of the noise embedding.
        unit_bins: Scale the STFT so that unit white noise has unit variance in its bins; it learns faster.
        n_fft: STFT window in samples; its number of bins has to be divisible by the lowest resolution.
        hop_samples: STFT hop in samples.
    """

    def __init__(
        self,
        nf: int = 128,
        channel_multipliers: Sequence[int] = (1, 2, 2, 2),
        n_blocks: int = 1,
        attention_bins: Sequence[int] = (),
        resampling: str = "fir",
        fourier_scale: float = 16.0,
        unit_bins: bool = True,
        n_fft: int = 510,
        hop_samples: int = 128,
    ) -> None:
        super().__init__()
        multipliers = list(channel_multipliers)
        factor = 2 ** max(len(multipliers) - 1, 0)
        if not multipliers or min(nf, n_blocks, *multipliers) < 1 or nf % 4:
            raise ValueError(
                f"nf={nf}, n_blocks={n_blocks}, channel_multipliers={multipliers}; expected at least 1 each, "
                "nf a multiple of 4."
            )
        if not 0 < 2 * hop_samples <= n_fft or (n_fft // 2 + 1) % factor:
            raise ValueError(
                f"n_fft={n_fft}, hop_samples={hop_samples}; expected n_fft >= 2 hop_samples > 0 and "
                f"n_fft // 2 + 1 bins divisible by {factor}."
            )
        self.config = {
            "nf": nf,
            "channel_multipliers": multipliers,
            "n_blocks": n_blocks,
            "attention_bins": list(attention_bins),
            "resampling": resampling,
            "fourier_scale": fourier_scale,
            "unit_bins": unit_bins,
            "n_fft": n_fft,
            "hop_samples": hop_samples,
        }
        self.stft = STFT(n_fft, hop_samples)
        self.unit = self.stft.window_energy**0.5 if unit_bins else 1.0
        self.frames_multiple = max(factor, 16)  # 16 as published, although 8 would do
        self.resample = Resampling(resampling)
        self.plan = tuple(_plan(nf, multipliers, n_blocks, _levels_with(attention_bins, self.stft.n_bins)))
        self.output_layer = convolution(PARTS, PARTS, size=1)
        self.all_modules = nn.ModuleList(
            [
                FourierEmbedding(nf, fourier_scale),
                linear(2 * nf, 4 * nf),
                linear(4 * nf, 4 * nf),
                *(_layer(step, 4 * nf, resampling) for step in self.plan),
            ]
        )

    def forward(
        self,
        wave: Tensor,
        c_noise: Tensor,
        speaker: Tensor | None = None,
        adaptation: Tensor | None = None,
    ) -> Tensor:
        """Args: wave `[B, T]` of unit variance, c_noise `[B]`, no talker, no adaptation. Returns `[B, T]`.

        Raises:
            ValueError: A talker or an adaptation; the published layout has no place for one.
        """
        if speaker is not None or adaptation is not None:
            raise ValueError("NCSN++ takes no talker and no adaptation, expected None for both.")
        with torch.autocast(wave.device.type, enabled=False):  # the FFT wants full precision
            spec = self.stft(wave.float()) / self.unit
        image = torch.view_as_real(spec).permute(0, 3, 1, 2)
        image = F.pad(image, (0, -image.shape[-1] % self.frames_multiple))
        out = self.output_layer(self._unet(image, self._embedded(c_noise))).float()
        with torch.autocast(wave.device.type, enabled=False):
            spec = torch.view_as_complex(out.permute(0, 2, 3, 1).contiguous())
            return self.stft.inverse(spec * self.unit, wave.shape[-1])

    def _embedded(self, c_noise: Tensor) -> Tensor:
        """`[B] -> [B, 4 nf]`."""
        fourier, first, second = self.all_modules[:3]
        embedding: Tensor = second(F.silu(first(fourier(c_noise))))
        return embedding

    def _unet(self, image: Tensor, level: Tensor) -> Tensor:
        """`[B, 2, F, N] -> [B, 2, F, N]`."""
        x, small, head = image, image, image
        out: Tensor | None = None
        kept: list[Tensor] = []
        for step, layer in zip(self.plan, self.all_modules[3:], strict=True):
            if step.kind == "inject":
                small = self.resample.down(small)
                x = layer(small, x)
            elif step.kind == "join":
                x = layer(torch.cat([x, kept.pop()], dim=1), level)
            elif step.kind == "emit_norm":
                head = F.silu(layer(x))
            elif step.kind == "emit":
                out = layer(head) if out is None else layer(head) + self.resample.up(out)
            else:
                x = layer(x, level) if step.kind in ("block", "down", "up") else layer(x)
            if step.keep:
                kept.append(x)
        assert out is not None  # each plan ends with an emission
        return out


class Step(NamedTuple):
    """One layer of the U-Net: what it is, its channels, and whether the decoder wants its output."""

    kind: str
    c_in: int
    c_out: int
    keep: bool = False


def _levels_with(attention_bins: Sequence[int], n_bins: int) -> set[int]:
    """Resolutions (0 is the full one) that have one of these numbers of bins."""
    return {level for level in range(n_bins.bit_length()) if n_bins >> level in attention_bins}


def _plan(nf: int, multipliers: Sequence[int], n_blocks: int, attended: set[int]) -> Iterator[Step]:
    """All layers after the noise embedding, in the published order."""
    encoder = list(_encoder(nf, multipliers, n_blocks, attended))
    bottom = nf * multipliers[-1]
    yield from encoder
    yield Step("block", bottom, bottom)
    yield Step("attend", bottom, bottom)
    yield Step("block", bottom, bottom)
    kept = [step.c_out for step in encoder if step.keep]
    yield from _decoder(nf, multipliers, n_blocks, attended, kept)


def _encoder(nf: int, multipliers: Sequence[int], n_blocks: int, attended: set[int]) -> Iterator[Step]:
    yield Step("stem", PARTS, nf, keep=True)
    channels = nf
    for level, multiplier in enumerate(multipliers):
        if level:
            yield Step("down", channels, channels)
            yield Step("inject", PARTS, channels, keep=True)
        for _ in range(n_blocks):
            yield Step("block", channels, nf * multiplier, keep=level not in attended)
            channels = nf * multiplier
            if level in attended:
                yield Step("attend", channels, channels, keep=True)


def _decoder(
    nf: int, multipliers: Sequence[int], n_blocks: int, attended: set[int], kept: list[int]
) -> Iterator[Step]:
    channels = nf * multipliers[-1]
    for level, multiplier in reversed(list(enumerate(multipliers))):
        for _ in range(n_blocks + 1):
            yield Step("join", channels + kept.pop(), nf * multiplier)
            channels = nf * multiplier
        if level in attended:
            yield Step("attend", channels, channels)
        yield Step("emit_norm", channels, channels)
        yield Step("emit", channels, PARTS)
        if level:
            yield Step("up", channels, channels)


def _layer(step: Step, level_width: int, resampling: str) -> nn.Module:
    if step.kind == "attend":
        return Attention(step.c_out)
    if step.kind == "inject":
        return Injection(step.c_in, step.c_out)
    if step.kind == "emit_norm":
        return group_norm(step.c_out)
    if step.kind in ("stem", "emit"):
        return convolution(step.c_in, step.c_out, zero=step.kind == "emit")
    change = step.kind if step.kind in ("down", "up") else "none"
    return ResidualBlock(step.c_in, step.c_out, level_width, resampling, change)
