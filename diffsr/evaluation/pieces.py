"""How good a separation would be if its pieces were in the right order: local and identity errors apart.

A separation fails in two ways: a moment of a track holds what belongs to no talker or to both (local), or it
holds the wrong talker (identity). The *piecewise oracle* cuts the estimates into pieces of one length, gives
those of each piece to the talkers in the order that suits best, joins them, and scores the joined tracks:
what is left are local errors. The difference from the score as separated is what identity errors cost.

For references s at their own levels, and estimates e with one gain g_i each for the whole recording, the
order of piece p is

    pi_p = argmin sum_k | s_k^p - g_pi(k) e_pi(k)^p |^2 / E_k,    E_k = sum_p | s_k^p - g_pi(k) e_pi(k)^p |^2

which is the order with the smallest sum of log E_k, as the mean of SI-SDR is one of logarithms: a quiet
talker counts like a loud one. It is found by repetition, from E_k = 1. A gain for each piece would praise a
track that fits at no single level. The gains are the least-squares fit of the *sum* of the references, which
no swap changes: 1 for estimates that add up to the mixture, at any level of the tracks.

References: Yu et al. 2017, arXiv:1607.00325 (optimal against default assignment of short segments); Liu and
Wang 2019, arXiv:1904.11148 (frames in their optimal order). Both order spectra, not waves.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffsr.errors import DataError
from diffsr.evaluation.distortion import si_sdr_db
from diffsr.evaluation.guards import double, undefined
from diffsr.evaluation.permutation import best_assignment

_MAX_ROUNDS = 20
_ALIKE = 0.01
"""Estimates that are copies of one wave (of two: correlation above 0.98) get equal parts of the sum."""


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
    """The same talker by talker, [S, T] each -> float32 [S]; the whole item is NaN if one track is.

    Raises:
        DataError: As `piecewise_si_sdr_db`.
    """
    n_piece = _piece_samples(est, ref, rate_hz, piece_s)
    if bool(undefined(est, ref).any()):
        return torch.full((len(ref),), math.nan)
    whole = si_sdr_db(est[list(best_assignment(est, ref))], ref)
    joined = si_sdr_db(_joined(est, ref, n_piece), ref)
    return joined if float(joined.mean()) > float(whole.mean()) else whole


def _joined(est: Tensor, ref: Tensor, n_piece: int) -> Tensor:
    """Estimates with gains, their pieces in the best order, [S, T] float64."""
    r = _centred(ref)
    e = _with_gains(_centred(est), r)
    orders = torch.from_numpy(_best_orders(_errors(e, r, n_piece))).to(e.device)
    pieces = _pieces(e, n_piece)
    chosen = pieces[orders, torch.arange(pieces.shape[1], device=e.device)[:, None]]
    return chosen.transpose(0, 1).reshape(len(e), -1)[:, : e.shape[-1]]


def _best_orders(errors: NDArray[np.float64]) -> NDArray[np.int64]:
    """Orders [P, S] with the smallest sum over talkers of log E_k, from errors [P, S, S].

    The tangent of the logarithm is above it: with the weights 1 / E_k of the last orders it cannot rise.
    """
    orders = _orders(errors)
    for _ in range(_MAX_ROUNDS):
        totals = np.take_along_axis(errors, orders[..., None], -1)[..., 0].sum(0)
        weights = 1.0 / np.maximum(totals, np.finfo(np.float64).tiny)
        before, orders = orders, _orders(errors * (weights / weights.max())[:, None])
        if np.array_equal(before, orders):
            break
    return orders


def _orders(costs: NDArray[np.float64]) -> NDArray[np.int64]:
    """The cheapest assignment of each piece, [P, S, S] of talkers and estimates -> [P, S]."""
    from scipy.optimize import linear_sum_assignment

    return np.stack([linear_sum_assignment(piece)[1] for piece in costs])


def _errors(est: Tensor, ref: Tensor, n_piece: int) -> NDArray[np.float64]:
    """Squared error of each estimate as each talker in each piece, [S, T] each -> [P, S, S]."""
    e, r = (_pieces(wave, n_piece).transpose(0, 1) for wave in (est, ref))
    energies = r.square().sum(-1)[:, :, None] + e.square().sum(-1)[:, None]
    return np.asarray((energies - 2.0 * r @ e.mT).clamp_min(0.0).cpu().numpy())


def _with_gains(est: Tensor, ref: Tensor) -> Tensor:
    """Estimates [S, T] times the gains with which their sum fits the sum of the references best."""
    unit = (est / est.square().mean(-1, keepdim=True).sqrt()).cpu().numpy()
    gains = np.linalg.lstsq(unit @ unit.T, unit @ ref.sum(0).cpu().numpy(), rcond=_ALIKE)[0]
    return torch.from_numpy(unit * gains[:, None]).to(est)


def _pieces(wave: Tensor, n_piece: int) -> Tensor:
    """Cut [S, T] into [S, P, n_piece], zeros after the end."""
    n_pieces = math.ceil(wave.shape[-1] / n_piece)
    padded = torch.nn.functional.pad(wave, (0, n_pieces * n_piece - wave.shape[-1]))
    return padded.reshape(len(wave), n_pieces, n_piece)


def _centred(wave: Tensor) -> Tensor:
    wave = double(wave)
    return wave - wave.mean(-1, keepdim=True)


def _piece_samples(est: Tensor, ref: Tensor, rate_hz: int, piece_s: float) -> int:
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
