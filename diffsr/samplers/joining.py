"""Restarts of several talkers joined piece by piece: what most of them agree on is more often right."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor

from diffsr.errors import ConfigError
from diffsr.signal.windows import crossfade, window_starts
from diffsr.typing import Sources

N_ROUNDS = 4
"""Of the power iteration that finds what the restarts share in a piece."""
MOST_SWEEPS = 20
"""Over the pieces; a few are enough until no order changes."""
Array = np.ndarray


class Joiner(ABC):
    """Makes one result of the restarts of a recording."""

    @abstractmethod
    def __call__(self, restarts: Sources, scores: Tensor, rate_hz: int) -> Tensor:
        """The talkers `[S, T]`.

        Args:
            restarts: `[R, S, T]`.
            scores: What a ranker says of them `[R]`; NaN where it says nothing, -inf of lost restarts.
            rate_hz: Their sampling rate.
        """


class Consensus(Joiner):
    """The mean of the restarts after the talkers of each piece were put in the order that most vote for.

    Restarts differ by local errors, and each lets its talkers change places now and then, at times of its
    own. Within a short piece their tracks are compared, which says in which order each has the talkers. A
    restart votes for the order in which the talkers of a piece go on with what its own tracks had shortly
    before and after; votes count by the score of the restart and by how well it agrees with the others
    there. The mean takes the local errors down, the vote the changes of places (docs/separation.md).

    The sum of the talkers stays the mean of the sums.

    Args:
        piece_s: Length of a piece, half of which overlaps with each neighbour's.
        memory_s: Time after which a track counts 1/e as much for what it goes on with.
        floor: Weight of the worst restart, in the unit of the scores; others weigh more by the difference.

    Raises:
        ConfigError: One of them is not above 0.
    """

    def __init__(self, piece_s: float = 0.128, memory_s: float = 1.0, floor: float = 0.1) -> None:
        if not (piece_s > 0 and memory_s > 0 and floor > 0):
            raise ConfigError(
                f"Consensus has pieces of {piece_s:g} s, a memory of {memory_s:g} s and a floor of "
                f"{floor:g}; expected numbers above 0."
            )
        self.piece_s, self.memory_s, self.floor = piece_s, memory_s, floor

    def __call__(self, restarts: Sources, scores: Tensor, rate_hz: int) -> Tensor:
        """See `Joiner`."""
        kept = scores != -torch.inf  # NaN is no score, not the worst
        if not kept.any():
            return restarts[0]
        restarts, weight = restarts[kept], self.weights(scores[kept]).to(restarts)
        size, n_samples = 2 * max(1, round(self.piece_s * rate_hz / 2)), restarts.shape[-1]
        starts = window_starts(n_samples, size, size // 2)
        pieces = torch.stack([restarts[..., start : start + size] for start in starts], dim=1)
        votes = _votes(pieces, weight)
        decay = math.exp(-self.piece_s / 2 / self.memory_s)
        order = torch.as_tensor(_orders(votes.cpu().double().numpy(), decay)).to(votes.device)
        tracks, agreement = _assigned(votes.gather(3, order[None, :, None].expand_as(votes)))
        share = agreement + 1e-6 * agreement.amax() * weight[:, None]  # where none agree
        share = share + torch.finfo(share.dtype).tiny  # where all are silent
        return crossfade(_mean(_in_order(pieces, tracks), share).movedim(0, 1), starts, n_samples)

    def weights(self, scores: Tensor) -> Tensor:
        """Of restarts with scores `[R]`, above 0 and with a sum of 1; equal where there are no scores."""
        known = scores.nan_to_num(0.0)
        weight = known - known.amin() + self.floor
        return weight / weight.sum()


def _votes(pieces: Tensor, weight: Tensor) -> Tensor:
    """How alike each track of a restart and each talker of a piece are, `[R, N, S, S]`.

    The talkers of a piece are what the restarts share in it, in the order of the one that has most of it.

    Args:
        pieces: `[R, N, S, L]`.
        weight: Of the restarts `[R]`.
    """
    apart = pieces - pieces.mean(2, keepdim=True)  # what all talkers share says nothing of their order
    apart = weight[:, None, None, None] * apart * torch.hann_window(pieces.shape[-1]).to(pieces)
    first = apart.square().sum((2, 3)).argmax(0)
    shared = apart[first, torch.arange(pieces.shape[1], device=first.device)]
    for _ in range(N_ROUNDS):
        tracks, agreement = _assigned(torch.einsum("rnil,njl->rnij", apart, shared))
        shared = (agreement[..., None, None] * _in_order(apart, tracks)).sum(0)
        shared = shared / shared.square().sum((1, 2), keepdim=True).sqrt().clamp_min(1e-12)
    return torch.einsum("rnil,njl->rnij", apart, shared)


def _assigned(alike: Tensor) -> tuple[Tensor, Tensor]:
    """The track that is most like each talker of a piece, all together: `[R, N, S, S] -> [R, N, S]`.

    Returns:
        The tracks, and how alike they are in sum `[R, N]`, at least 0.
    """
    flat = alike.cpu().double().numpy().reshape(-1, *alike.shape[-2:])
    tracks = torch.as_tensor(np.stack([_best_order(one.T) for one in flat])).to(alike.device)
    tracks = tracks.reshape(alike.shape[:-1])
    return tracks, alike.gather(2, tracks[:, :, None]).sum((2, 3)).clamp_min(0)


def _mean(pieces: Tensor, share: Tensor) -> Tensor:
    """Of the restarts: `[R, N, S, L]` with shares `[R, N]` -> `[N, S, L]`."""
    return (pieces * (share / share.sum(0))[..., None, None]).sum(0)


def _in_order(pieces: Tensor, tracks: Tensor) -> Tensor:
    """The tracks of pieces `[R, N, S, L]` in an order `[R, N, S]`."""
    return pieces.gather(2, tracks[..., None].expand_as(pieces))


def _best_order(alike: Array) -> Array:
    """The column of each row `[S, S]` with the largest sum."""
    from scipy.optimize import linear_sum_assignment

    order: Array = linear_sum_assignment(alike, maximize=True)[1]
    return order


def _orders(votes: Array, decay: float) -> Array:
    """The talker of each piece that goes into each track of the result, `[N, S]`.

    From the piece that says most on to the end and back to the beginning each piece takes the order that most
    votes are for, given the pieces that have one. Then all are looked at again, both sides known, until
    nothing changes.

    Args:
        votes: `[R, N, S, S]`, see `_votes`.
        decay: By how much a vote loses from piece to piece.
    """
    n_pieces, n_talkers = votes.shape[1:3]
    found = np.tile(np.arange(n_talkers), (n_pieces, 1))

    def heard(piece: int) -> Array:
        """What the tracks of the restarts have of the tracks of the result in a piece, `[R, S, S]`."""
        return votes[:, piece][:, :, found[piece]]

    def best(memory: Array, piece: int) -> Array:
        return _best_order(np.einsum("ria,rij->aj", memory, votes[:, piece]))

    nothing = np.zeros_like(votes[:, 0])
    first = int(np.square(votes).sum((0, 2, 3)).argmax())
    memory = nothing
    for piece in range(first, n_pieces):
        if piece > first:
            found[piece] = best(memory, piece)
        memory = decay * (memory + heard(piece))
    memory = nothing
    for piece in reversed(range(n_pieces)):
        if piece < first:
            found[piece] = best(memory, piece)
        memory = decay * (memory + heard(piece))
    for _ in range(MOST_SWEEPS):
        before = found.copy()
        after = [nothing] * n_pieces
        for piece in reversed(range(1, n_pieces)):
            after[piece - 1] = decay * (after[piece] + heard(piece))
        memory = nothing
        for piece in range(n_pieces):
            found[piece] = best(memory + after[piece], piece)
            memory = decay * (memory + heard(piece))
        if (found == before).all():
            break
    return found
