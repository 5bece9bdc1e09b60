"""Whether each track holds one voice, and where two tracks have exchanged theirs, by embeddings of segments.

Nothing here sees a reference: the tracks of one recording are compared with each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from diffsr.speakers.embedding import SpeakerEncoder

AT_ONCE = 64
"""Segments that are embedded together, so that memory does not grow with the length of a recording."""
QUIET = 0.05
"""Share of a track's mean power below which a segment says nothing of a voice (13 dB)."""
N_ROUNDS = 10


@dataclass(frozen=True)
class Segments:
    """Overlapping segments of tracks, embedded.

    Attributes:
        embedding: `[R, S, N, E]`, unit norm; zeros for digital silence.
        weight: `[R, S, N]`, 1 where a segment is as loud as its track on average, 0 where it is quiet.
        size_samples: Their length.
        hop_samples: Their distance.
    """

    embedding: Tensor
    weight: Tensor
    size_samples: int
    hop_samples: int

    @classmethod
    def of(cls, encoder: SpeakerEncoder, x: Tensor, segment_s: float, hop_s: float) -> Segments:
        """Of tracks `x [R, S, T]`; shorter tracks are one segment."""
        size = min(round(segment_s * encoder.rate_hz), x.shape[-1])
        hop = max(1, round(hop_s * encoder.rate_hz))
        pieces = x.unfold(-1, size, hop)  # a view
        parts = [part for track in pieces.flatten(0, 1) for part in track.split(AT_ONCE)]
        embedding = torch.cat([encoder(part.contiguous()) for part in parts]).unflatten(0, pieces.shape[:3])
        power = torch.cat([part.square().mean(-1) for part in parts]).unflatten(0, pieces.shape[:3])
        share = power / power.mean(-1, keepdim=True).clamp_min(torch.finfo(power.dtype).tiny)
        return cls(embedding, share.clamp_max(1.0) * (share > QUIET), size, hop)

    def in_order(self, order: Tensor) -> Segments:
        """With tracks `[R, K, N]` in place of what each track had, in each segment."""
        embedding = self.embedding.gather(1, order[..., None].expand(-1, -1, -1, self.embedding.shape[-1]))
        return replace(self, embedding=embedding, weight=self.weight.gather(1, order))


def consistency(segments: Segments) -> Tensor:
    """Mean cosine within the tracks less that across them, `[R]`: large where each track is one voice.

    Pairs of segments that overlap do not count. NaN where there are no others.
    """
    weight = segments.weight[..., None]
    n_apart = -(-segments.size_samples // segments.hop_samples)
    cosine, total = (_sum_over_pairs(told, n_apart) for told in (segments.embedding * weight, weight))
    own = torch.eye(weight.shape[1], dtype=torch.bool, device=weight.device)

    def mean(pairs: Tensor) -> Tensor:
        return cosine[:, pairs].sum(1) / total[:, pairs].sum(1).clamp_min(torch.finfo(total.dtype).tiny)

    is_compared = total[:, own].sum(1) > 0
    return torch.where(is_compared, mean(own) - mean(~own), math.nan)


def _sum_over_pairs(told: Tensor, n_apart: int) -> Tensor:
    """Sum of `told_i . told_j` over segments `n_apart` or more apart, `[R, S, N, E]` -> `[R, S, S]`.

    By sums over all later segments, without a matrix of all pairs: recordings may be long.
    """
    later = told.flip(2).cumsum(2).flip(2)[:, :, n_apart:]
    forward = torch.einsum("rkie,rlie->rkl", told[:, :, : later.shape[2]], later)
    return forward + forward.mT


def exchanged(segments: Segments, cost: float = 0.0) -> Tensor:
    """Where the voices of two tracks have changed places, bool `[R, N]`, see `turned`.

    Args:
        segments: Of two tracks.
        cost: What a change of places takes, in segments that are beyond doubt; 0 decides each by itself.
    """
    return turned(segments.embedding[:, 0] - segments.embedding[:, 1], segments.weight.amin(1), cost)


def turned(difference: Tensor, weight: Tensor, cost: float = 0.0) -> Tensor:
    """Where differences of two voices have turned round, as the voices have changed places, bool `[R, N]`.

    The longer side stays.

    Args:
        difference: `[R, N, E]`, see `main_direction`.
        weight: `[R, N]`, at least 0.
        cost: See `exchanged`.
    """
    sign = signs(evidence(difference, weight, cost), cost)
    return sign * sign_of((sign * weight).sum(-1))[:, None] < 0


def evidence(difference: Tensor, weight: Tensor, cost: float = 0.0) -> Tensor:
    """Of the order of two voices, above 0 for one of them and below for the other, `[R, N]`.

    The difference of the voices is the main direction of the differences, found by singular vectors and
    refined by signs.
    """
    told = difference * weight[..., None]
    main = torch.linalg.svd(told * weight[..., None].clamp_min(1e-12).rsqrt(), full_matrices=False)[2][:, 0]
    for _ in range(N_ROUNDS):
        main = main / main.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(main.dtype).tiny)
        found = (difference * main[:, None]).sum(-1) * weight
        main = (signs(found, cost)[..., None] * told).sum(1)
    return found


def signs(evidence: Tensor, cost: float) -> Tensor:
    """The signs `[R, N]` that agree best with the evidence where each change costs something (Viterbi)."""
    if cost == 0:
        return sign_of(evidence)
    gain = torch.stack([evidence, -evidence], dim=-1)  # of the sign +1, of -1
    total, changes = gain[:, 0], []
    for piece in gain[:, 1:].unbind(1):
        changes.append(total.flip(-1) - cost > total)
        total = torch.maximum(total, total.flip(-1) - cost) + piece
    state = total.argmax(-1, keepdim=True)
    states = [state]
    for changed in reversed(changes):
        state = torch.where(changed.gather(1, state), 1 - state, state)
        states.append(state)
    return 1.0 - 2.0 * torch.cat(states[::-1], dim=1)


def sign_of(x: Tensor) -> Tensor:
    """1 or -1; 1 for 0."""
    return torch.where(x < 0, -1.0, 1.0)
