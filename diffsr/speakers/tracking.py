"""The voice tracker: a network that hears two tracks and says where their voices have changed places."""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffsr.io.model_folder import ModelKind
from diffsr.io.network import SmallNetwork
from diffsr.speakers.pair_bands import PairBands, relative_log

KIND = ModelKind(
    name="voice tracker",
    format="diffsr-voice-tracker/1",
    shipped="trackers",
    experiment="speakers",
    checkpoint_key="diffsr_voice_tracker",
    prefix="tracker.",
    noted=("rate_hz",),
)
STACKED = 3
"""Frames of 16 ms that make one of the network."""


class VoiceTracker(SmallNetwork):
    """Directions that turn round where two tracks exchange their voices, `[B, 2, M, N] -> [B, N // 3, E]`.

    Of every 48 ms of each track there is a token that knows both tracks there; tokens of all times and both
    tracks attend to one another, with a learnt bias for distance in time and for being in one track. The
    direction of a time is the difference of its two outputs, of unit norm: tracks in the other order have
    minus that direction, whatever the weights. Which voice points where is free, so that only products of
    directions mean something: positive for two times at which the tracks have the same voices, negative
    where they have changed places.

    Args:
        rate_hz: Sampling rate.
        width: Channels.
        depth: Layers of attention.
        heads: Of attention.
        embedding_dim: E.
        reach: Distance in tokens beyond which the bias does not change.

    Raises:
        ValueError: One of the numbers is not a whole number above 0, or the width is no multiple of heads.

    Example:
        >>> tracker = VoiceTracker()
        >>> tracker(tracker.bands(torch.randn(1, 2, 16_000))).shape
        torch.Size([1, 21, 16])
    """

    kind = KIND
    in_bfloat16 = False

    def __init__(
        self,
        rate_hz: int = 16_000,
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        embedding_dim: int = 16,
        reach: int = 40,
    ) -> None:
        super().__init__(
            rate_hz, width=width, depth=depth, heads=heads, embedding_dim=embedding_dim, reach=reach
        )
        if width % heads:
            raise ValueError(f"width is {width}; expected a multiple of heads, {heads}")
        self.bands = PairBands(rate_hz)
        self.embed = nn.Linear(2 * STACKED * self.bands.n_bands, width)
        self.mix = nn.ModuleList(Mix(width) for _ in range(2))
        self.layers = nn.ModuleList(Layer(width, heads, reach) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, embedding_dim)

    @property
    def hop_samples(self) -> int:
        """Samples from one direction to the next."""
        return STACKED * self.bands.hop_samples

    def rounded(self) -> VoiceTracker:
        """The same weights, computing in bfloat16."""
        twin = copy.copy(self)
        twin.in_bfloat16 = True
        return twin

    def forward(self, power: Tensor) -> Tensor:
        """Directions of the powers of two tracks, `[B, 2, M, N] -> [B, N // 3, E]`."""
        if not self.in_bfloat16:  # in training what is around it decides
            return self._directions(power)
        with torch.autocast(power.device.type, torch.bfloat16):
            return self._directions(power)

    def _directions(self, power: Tensor) -> Tensor:
        n_tokens = power.shape[-1] // STACKED
        frames = relative_log(power)[..., : n_tokens * STACKED].unflatten(-1, (n_tokens, STACKED))
        own = frames.permute(0, 1, 3, 4, 2)
        tokens = self.embed(torch.cat([own, own.flip(1)], dim=-1).flatten(3))
        for mix in self.mix:
            tokens = mix(tokens)
        for layer in self.layers:
            tokens = layer(tokens)
        found = self.project(self.norm(tokens)).float()
        return F.normalize(found[:, 0] - found[:, 1], dim=-1, eps=1e-4)


class Mix(nn.Module):
    """Neighbours in time of one track: a depthwise convolution, then a two-layer network for each token."""

    def __init__(self, width: int, kernel_size: int = 5, expansion: int = 2) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, kernel_size, padding=kernel_size // 2, groups=width)
        self.change = _two_layers(width, expansion)

    def forward(self, tokens: Tensor) -> Tensor:
        """`[B, 2, N, width] -> [B, 2, N, width]`."""
        mixed = self.depthwise(tokens.flatten(0, 1).transpose(1, 2)).transpose(1, 2)
        return tokens + self.change(mixed.unflatten(0, tokens.shape[:2]))


class Layer(nn.Module):
    """Attention among the tokens of all times and both tracks, then a two-layer network for each."""

    def __init__(self, width: int, heads: int, reach: int) -> None:
        super().__init__()
        self.heads, self.reach = heads, reach
        self.norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.join = nn.Linear(width, width)
        self.change = _two_layers(width, 3)
        self.bias = nn.Parameter(torch.zeros(heads, 2, 2 * reach + 1))  # in the same track, in the other one

    def forward(self, tokens: Tensor) -> Tensor:
        """`[B, 2, N, width] -> [B, 2, N, width]`."""
        parts = self.query_key_value(self.norm(tokens)).flatten(1, 2)
        query, key, value = parts.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        # Plain products: on CPUs with a gradient the fused kernel is slower (docs/priors.md).
        alike = query * query.shape[-1] ** -0.5 @ key.transpose(-1, -2) + self._biases(tokens.shape[2], query)
        heard = (alike.softmax(-1).to(value.dtype) @ value).transpose(1, 2).flatten(2)
        tokens = tokens + self.join(heard).unflatten(1, (2, -1))
        return tokens + self.change(tokens)

    def _biases(self, n_tokens: int, like: Tensor) -> Tensor:
        """`[heads, 2N, 2N]`."""
        time = torch.arange(n_tokens, device=like.device)
        distance = (time[:, None] - time).clamp(-self.reach, self.reach) + self.reach
        same, other = self.bias.to(like.dtype)[:, :, distance].unbind(1)
        return torch.cat([torch.cat([same, other], -1), torch.cat([other, same], -1)], -2)


def _two_layers(width: int, expansion: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.Linear(width, expansion * width),
        nn.GELU(),
        nn.Linear(expansion * width, width),
    )


def tracking_loss(direction: Tensor, sign: Tensor, weight: Tensor, sharpness: float = 6.0) -> Tensor:
    """Cross-entropy of telling from each pair of times whether the tracks have the same voices; 1 for chance.

    The signs of a recording count up to one sign for all of it: which voice is in which track is free.

    Args:
        direction: `[B, N, E]`, unit norm.
        sign: Order of the tracks `[B, N]`, 1 or -1; 0 where there is none.
        weight: `[B, N]`, at least 0.
        sharpness: Of the logistic function of the products of directions.
    """
    alike = sign[:, :, None] * sign[:, None] * (direction @ direction.transpose(1, 2))
    known = weight * (sign != 0)
    pair = known[:, :, None] * known[:, None]
    return (pair * F.softplus(-sharpness * alike)).sum() / pair.sum().clamp_min(1e-9) / math.log(2)
