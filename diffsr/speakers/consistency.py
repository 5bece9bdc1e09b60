"""Whether each track holds one voice, and where two tracks have exchanged theirs, by embeddings of segments.

Nothing here sees a reference: the tracks of one recording are compared with each other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from diffsr.speakers.embedding import SpeakerEncoder

QUIET = 0.05
"""Share of a track's mean power below which a segment says nothing of a voice (13 dB)."""
N_ROUNDS = 10


@dataclass(frozen=True)
class Segments:
    """Overlapping segments of tracks, embedded.

    Attributes:
        embedding: `[R, S, N, E]`, unit norm; zeros for digital silence.
        weight: `[R, S, N]`, 1 where a segment is as loud as its track on average, 0 where it is quiet.
        size: Length in samples.
        hop: Distance in samples.
    """

    embedding: Tensor
    weight: Tensor
    size: int
    hop: int

    @classmethod
    def of(cls, encoder: SpeakerEncoder, x: Tensor, segment_s: float, hop_s: float) -> Segments:
        """Of tracks `x [R, S, T]`; shorter tracks are one segment."""
        size = min(round(segment_s * encoder.rate_hz), x.shape[-1])
        hop = max(1, round(hop_s * encoder.rate_hz))
        pieces = x.unfold(-1, size, hop)
        embedding = encoder(pieces.reshape(-1, size)).unflatten(0, pieces.shape[:3])
        power = pieces.square().mean(-1)
        share = power / power.mean(-1, keepdim=True).clamp_min(torch.finfo(power.dtype).tiny)
        return cls(embedding, share.clamp_max(1.0) * (share > QUIET), size, hop)

    def of_tracks(self, tracks: list[int]) -> Segments:
        """Some of the tracks."""
        return replace(self, embedding=self.embedding[:, tracks], weight=self.weight[:, tracks])


def consistency(segments: Segments) -> Tensor:
    """Mean cosine within the tracks less that across them, `[R]`: large where each track is one voice.

    Pairs of segments that overlap do not count. 0 where there is nothing to compare.
    """
    n_tracks, n = segments.weight.shape[1:]
    place = torch.arange(n, device=segments.weight.device) * segments.hop
    apart = (place[:, None] - place[None]).abs() >= segments.size
    told = segments.embedding * segments.weight[..., None]
    cosine = torch.einsum("rkie,rlje->rklij", told, told) * apart
    weight = torch.einsum("rki,rlj->rklij", segments.weight, segments.weight) * apart
    own = torch.eye(n_tracks, dtype=torch.bool, device=apart.device)

    def mean(pairs: Tensor) -> Tensor:
        total = weight[:, pairs].sum((1, 2, 3))
        return cosine[:, pairs].sum((1, 2, 3)) / total.clamp_min(torch.finfo(total.dtype).tiny)

    return mean(own) - mean(~own)


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
