"""How often the talkers of a separation change tracks.

The recording is cut into pieces, and the order of a piece (which estimate is which talker) is the one with
the smallest squared error, with one gain for each estimate as in `pieces`. It is *decided* where every
reference is active (within 20 dB of its level in speech) and every other order has at least twice the error.
A swap is a change of order from one decided piece to the next decided one, whatever lies between.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from diffsr.evaluation.guards import undefined
from diffsr.evaluation.pieces import Array, Pieces, cheapest, cut, of_orders, piece_samples
from diffsr.signal.levels import active_rms

PIECE_S = 0.25
ACTIVE_DB = -20.0
"""Level of a piece that counts as active, re the RMS of the active frames of the talker."""
MARGIN_DB = 3.0
"""By how much the error of every other order is larger: tracks that differ by 17 % of what they should."""


@dataclass(frozen=True)
class Swaps:
    """Changes of order in a recording.

    Attributes:
        count: Pairs of successive decided pieces of different order.
        n_decided: Pieces whose order is decided.
        n_pieces: All pieces.
        duration_s: Length of the recording.
    """

    count: int
    n_decided: int
    n_pieces: int
    duration_s: float

    @property
    def per_minute(self) -> float:
        """Swaps per minute of the recording; NaN where no piece is decided."""
        return 60.0 * self.count / self.duration_s if self.n_decided else math.nan


def count_swaps(est: Tensor, ref: Tensor, rate_hz: int, piece_s: float = PIECE_S) -> Swaps:
    """Count the changes of order.

    Args:
        est: Estimates [S, T], in any order and at any level.
        ref: References [S, T] at their levels in the mixture.
        rate_hz: Sample rate.
        piece_s: Length of a piece.

    Returns:
        The swaps; none of the pieces is decided where an estimate or a reference is silent, constant or not
        finite, and where the estimates are copies of one wave.

    Raises:
        DataError: The shapes are not [S, T] each, or a piece is shorter than a sample.
    """
    n_piece = piece_samples(est, ref, rate_hz, piece_s)
    duration_s, n_pieces = est.shape[-1] / rate_hz, math.ceil(est.shape[-1] / n_piece)
    if bool(undefined(est, ref).any()):
        return Swaps(0, 0, n_pieces, duration_s)
    pieces = cut(est, ref, n_piece)
    errors = pieces.errors()
    orders = cheapest(errors)
    orders = orders[_is_active(pieces, ref, rate_hz, n_piece) & _has_margin(errors, orders)]
    changes = (orders[1:] != orders[:-1]).any(-1)
    return Swaps(int(changes.sum()), len(orders), n_pieces, duration_s)


def _is_active(pieces: Pieces, ref: Tensor, rate_hz: int, n_piece: int) -> NDArray[np.bool_]:
    """Pieces in which every talker speaks, [P]."""
    speech = n_piece * active_rms(ref.detach().cpu().double(), rate_hz).square().numpy()
    return np.logical_and.reduce(pieces.ref_energy >= 10.0 ** (ACTIVE_DB / 10.0) * speech, axis=-1)


def _has_margin(errors: Array, orders: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Pieces in which the second-best order is worse by the margin, [P]; all where there is one talker.

    The second-best order differs from the best in at least one talker: the best without each in turn.
    """
    best = of_orders(errors, orders).sum(-1)
    second = np.full_like(best, math.inf)
    n_talkers = errors.shape[-1]
    forbidden = 4.0 * np.abs(errors).sum((1, 2)) + 1.0  # more than any order costs
    for talker in range(n_talkers if n_talkers > 1 else 0):
        others = errors.copy()
        others[np.arange(len(errors)), talker, orders[:, talker]] += forbidden
        second = np.minimum(second, of_orders(others, cheapest(others)).sum(-1))
    return np.asarray(second >= 10.0 ** (MARGIN_DB / 10.0) * best) & (second > best)
