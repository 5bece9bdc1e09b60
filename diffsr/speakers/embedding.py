"""The speaker encoder: a waveform becomes a unit vector that tells its talker from others."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffsr.io.model_folder import ModelKind
from diffsr.io.network import SmallNetwork
from diffsr.speakers.features import RelativeLogMel, is_silent

KIND = ModelKind(
    name="speaker encoder",
    format="diffsr-speaker-encoder/1",
    shipped="speakers",
    experiment="speakers",
    checkpoint_key="diffsr_speaker_encoder",
    prefix="encoder.",
    noted=("rate_hz",),
)


class SpeakerEncoder(SmallNetwork):
    """Embedding of the voice in a recording, `[B, T] -> [B, E]`, of unit norm; cosines compare talkers.

    Relative log-mel features (without level and fixed equalisation), separable convolutions over time at 31
    frames a second (blocks of arXiv 2201.03545 in one dimension), attentive statistics pooling (arXiv
    1803.10963), one linear map. Each recording is embedded by itself. Differentiable with respect to the
    waveform.

    Args:
        rate_hz: Sampling rate.
        n_mels: Bands of the features.
        width: Channels.
        depth: Convolution blocks.
        embedding_dim: E.

    Raises:
        ValueError: One of the numbers is not a whole number above 0.

    Example:
        >>> encoder = SpeakerEncoder()
        >>> encoder(torch.randn(2, 16_000)).shape
        torch.Size([2, 128])
    """

    kind = KIND

    def __init__(
        self,
        rate_hz: int = 16_000,
        n_mels: int = 64,
        width: int = 192,
        depth: int = 4,
        embedding_dim: int = 128,
    ) -> None:
        super().__init__(rate_hz, n_mels=n_mels, width=width, depth=depth, embedding_dim=embedding_dim)
        self.embedding_dim = embedding_dim
        self.features = RelativeLogMel(rate_hz, n_mels)
        self.stem = nn.Conv1d(n_mels, width, kernel_size=5, stride=2, padding=2)
        self.norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.pool = AttentiveStatistics(width)
        self.project = nn.Linear(2 * width, embedding_dim)

    def forward(self, wave: Tensor) -> Tensor:
        """Embed waves of any length from 0.5 s, `[B, T] -> [B, E]`; digital silence gives zero, no talker."""
        frames = self.norm(self.stem(self.features(wave)).transpose(1, 2))
        for block in self.blocks:
            frames = block(frames)
        embedding = F.normalize(self.project(self.pool(frames)).float(), dim=-1)
        return torch.where(is_silent(wave)[:, None], 0.0, embedding)


class Block(nn.Module):
    """Depthwise convolution over time, then a two-layer network for each frame, added to the input."""

    def __init__(self, width: int, kernel_size: int = 7, expansion: int = 2) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, kernel_size, padding=kernel_size // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, expansion * width)
        self.reduce = nn.Linear(expansion * width, width)

    def forward(self, frames: Tensor) -> Tensor:
        """`[B, N, width] -> [B, N, width]`."""
        mixed = self.norm(self.depthwise(frames.transpose(1, 2)).transpose(1, 2))
        return frames + self.reduce(F.gelu(self.expand(mixed)))


class AttentiveStatistics(nn.Module):
    """Mean and standard deviation over time with learnt weights for each channel (arXiv 1803.10963)."""

    def __init__(self, width: int, hidden: int = 64) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, hidden)
        self.weight = nn.Linear(hidden, width)

    def forward(self, frames: Tensor) -> Tensor:
        """`[B, N, width] -> [B, 2 width]`."""
        frames = self.norm(frames)
        weight = self.weight(self.hidden(frames).tanh()).softmax(dim=1)
        mean = (weight * frames).sum(1)
        variance = (weight * frames.square()).sum(1) - mean.square()
        return torch.cat([mean, variance.clamp_min(1e-4).sqrt()], dim=-1)
