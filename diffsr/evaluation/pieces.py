"""How good a separation would be if its pieces were in the right order: local and identity errors apart.

A separation fails in two ways: a moment of a track holds what belongs to no talker or to both (local), or it
holds the wrong talker (identity). The *piecewise oracle* cuts the estimates into pieces of one length, gives
those of each piece to the talkers in the order that suits best, joins them, and scores the joined tracks:
what is left are local errors. The difference from the score as separated is what identity errors cost.

For references s and estimates e, with a gain g_i for each estimate and a_k for each joined track over the
whole recording, the order pi_p of the pieces p is the one with the smallest

    sum_k log E_k,    E_k = min_a_k sum_p | s_k^p - a_k g_i e_i^p |^2    with i = pi_p(k),

found piece by piece, E_k and a_k from the orders before, from 1 on. The score is a mean of logarithms, so a
quiet talker counts like a loud one, and a_k is the scale that SI-SDR leaves free. A gain for each piece would
praise a track that fits at no single level. The g_i are the least-squares fit of the *sum* of the references,
which no swap changes: 1 for estimates that add up to the mixture, whatever the levels of the tracks.

References: Yu et al. 2017, arXiv:1607.00325 (optimal against default assignment of short segments); Liu and
Wang 2019, arXiv:1904.11148 (frames in their optimal order). Both order spectra, not waves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffsr.errors import DataError
from diffsr.evaluation.distortion import si_sdr_db
from diffsr.evaluation.guards import double, undefined
from diffsr.evaluation.permutation import best_assignment

PIECES_S = (1.0, 0.25, 0.064)
"""Lengths of the pieces that are reported."""
_MAX_ROUNDS = 20
_ALIKE = 0.01
"""Estimates that are copies of one wave (of two: correlation above 0.98) get equal parts of the sum."""

Array = NDArray[np.float64]


def piecewise_si_sdr_db(est: Tensor, ref: Tensor, rate_hz: int, piece_s: float) -> float:
    """SI-SDR in dB after the best order of pieces, the mean over talkers.

    Args:
        est: Estimates [S, T], in any order and at any level.
        ref: References [S, T] at their levels in the mixture.
        rate_hz: Sample rate.
        piece_s: Length of a piece.

    Returns:
        The score, never below that of the best order of whole tracks, which is one of the orders; NaN
        where an estimate or a reference is silent, constant or not finite.

    Raises:
        DataError: The shapes are not [S, T] each, or a piece is shorter than a sample.
    """
    return float(piecewise_scores_db(est, ref, rate_hz, piece_s).mean())


def piecewise_scores_db(est: Tensor, ref: Tensor, rate_hz: int, piece_s: float) -> Tensor:
    """The same talker by talker, [S, T] each -> float32 [S]; all NaN if one track is.

    Raises:
        DataError: As `piecewise_si_sdr_db`.
    """
    n_piece = piece_samples(est, ref, rate_hz, piece_s)
    if bool(undefined(est, ref).any()):
        return torch.full((len(ref),), math.nan)
    whole = si_sdr_db(est[list(best_assignment(est, ref))], ref)
    joined = si_sdr_db(_joined(est, ref, n_piece), ref)
    return (joined if float(joined.mean()) > float(whole.mean()) else whole).cpu()


@dataclass(frozen=True)
class Pieces:
    """Estimates with their gains, cut beside the references.

    Attributes:
        est: [S, P, N] float64, zeros after the end.
        products: Inner products of talkers and estimates, [P, S, S].
        est_energy: [P, S].
        ref_energy: [P, S].
    """

    est: Tensor
    products: Array
    est_energy: Array
    ref_energy: Array

    def errors(self, scales: Array | float = 1.0) -> Array:
        """Squared error of each estimate times the scale [S] of each talker, [P, S, S]."""
        scales = np.broadcast_to(scales, self.products.shape[1])[:, None]
        cross = 2.0 * scales * self.products
        return np.asarray(self.ref_energy[:, :, None] - cross + scales**2 * self.est_energy[:, None])


def cut(est: Tensor, ref: Tensor, n_piece: int) -> Pieces:
    """Pieces of `n_piece` samples of tracks [S, T] that are not silent, means removed."""
    r = _centred(ref)
    e, r = (_cut(wave, n_piece) for wave in (_with_gains(_centred(est), r), r))
    products = r.transpose(0, 1) @ e.permute(1, 2, 0)
    energies = (wave.square().sum(-1).T.cpu().numpy() for wave in (e, r))
    return Pieces(e, products.cpu().numpy(), *energies)


def cheapest(costs: Array) -> NDArray[np.int64]:
    """The assignment with the smallest sum, piece by piece, [P, S, S] of talkers and estimates -> [P, S]."""
    from scipy.optimize import linear_sum_assignment

    return np.stack([linear_sum_assignment(piece)[1] for piece in costs])


def of_orders(values: Array, orders: NDArray[np.int64]) -> Array:
    """Values [P, S, S] of the estimates that orders [P, S] give to the talkers, [P, S]."""
    return np.asarray(np.take_along_axis(values, orders[..., None], -1)[..., 0])


def piece_samples(est: Tensor, ref: Tensor, rate_hz: int, piece_s: float) -> int:
    """Samples of a piece.

    Raises:
        DataError: The shapes are not [S, T] each, or a piece is shorter than a sample.
    """
    if est.ndim != 2 or est.shape != ref.shape or est.numel() == 0:
        raise DataError(
            f"The estimates have shape {list(est.shape)} and the references {list(ref.shape)}, expected "
            "both [talkers, samples] alike. Give as many estimates as references, of the same length."
        )
    if not (math.isfinite(piece_s) and round(piece_s * rate_hz) >= 1):
        raise DataError(
            f"Pieces of {piece_s} s at {rate_hz} Hz hold no sample, expected at least 1 / rate_hz. "
            "Give the length of a piece in seconds, such as 0.064."
        )
    return round(piece_s * rate_hz)


def _joined(est: Tensor, ref: Tensor, n_piece: int) -> Tensor:
    """Estimates with gains, their pieces in the best order, [S, T] float64."""
    pieces = cut(est, ref, n_piece)
    orders = torch.from_numpy(_best_orders(pieces)).to(pieces.est.device)
    chosen = pieces.est[orders, torch.arange(len(orders), device=orders.device)[:, None]]
    return chosen.transpose(0, 1).reshape(len(est), -1)[:, : est.shape[-1]]


def _best_orders(pieces: Pieces) -> NDArray[np.int64]:
    """Orders [P, S] with the smallest sum over talkers of log E_k.

    The logarithm lies below its tangent: with 1 / E_k of the last orders as weights the sum cannot rise.
    """
    orders = cheapest(pieces.errors())
    energy = pieces.ref_energy.sum(0)
    copies = np.broadcast_to(pieces.est_energy[:, None], pieces.products.shape)
    for _ in range(_MAX_ROUNDS):
        product, copy = (of_orders(values, orders).sum(0) for values in (pieces.products, copies))
        scales = product / np.maximum(copy, np.finfo(np.float64).tiny)
        errors = np.maximum(
            energy - scales * product, 1e-12 * energy
        )  # a perfect track is no ground for 1 / 0
        before, orders = orders, cheapest(pieces.errors(scales) / errors[:, None])
        if np.array_equal(before, orders):
            break
    return orders


def _with_gains(est: Tensor, ref: Tensor) -> Tensor:
    """Estimates [S, T] times the gains with which their sum fits the sum of the references best."""
    unit = (est / est.square().mean(-1, keepdim=True).sqrt()).cpu().numpy()
    gains = np.linalg.lstsq(unit @ unit.T, unit @ ref.sum(0).cpu().numpy(), rcond=_ALIKE)[0]
    return torch.from_numpy(unit * gains[:, None]).to(est)


def _cut(wave: Tensor, n_piece: int) -> Tensor:
    """[S, T] -> [S, P, N], zeros after the end."""
    n_missing = -wave.shape[-1] % n_piece
    return torch.nn.functional.pad(wave, (0, n_missing)).unflatten(-1, (-1, n_piece))


def _centred(wave: Tensor) -> Tensor:
    wave = double(wave)
    return wave - wave.mean(-1, keepdim=True)
