"""SI-SDR and SDR: energy of the target over energy of everything else."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffsr.evaluation.align import align
from diffsr.evaluation.guards import double, undefined, unit_level

SDR_FILTER_SAMPLES = 512
"""Length of the filter that BSSEval allows between reference and estimate."""
SDR_LIMIT_DB = 150.0
"""Where the arithmetic of SDR ends: the score of a perfect estimate."""


def si_sdr_db(est: Tensor, ref: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio in dB, means removed, [..., T] -> float32 [...].

    `10 log10(|a s|^2 / |a s - e|^2)` with `a = <e, s> / |s|^2` for estimate `e` and reference `s`.
    A perfect estimate gives about 200 dB (limited by float64), not infinity.

    Args:
        est: Estimate.
        ref: Reference of the same shape.

    Returns:
        The score; NaN where either signal is silent, constant or not finite.

    Raises:
        ValueError: The shapes differ or there are no samples.

    References:
        Le Roux et al. 2019, "SDR - half-baked or well done?", arXiv:1811.02508, Eq. (2) and (3).
    """
    from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

    skip = undefined(est, ref)
    # Unit level in float64: torchmetrics adds an epsilon to energies, which must not matter for quiet files.
    score = scale_invariant_signal_distortion_ratio(unit_level(est), unit_level(ref), zero_mean=True)
    return score.masked_fill(skip, math.nan).float()


def sdr_db(est: Tensor, ref: Tensor) -> Tensor:
    """Signal-to-distortion ratio of BSSEval v3 in dB, [..., T] -> float32 [...].

    Like SI-SDR, but the target is the reference through the best filter of 512 samples: an error that
    such a filter explains (a short delay, a coloration, the first 32 ms of a room at 16 kHz) costs nothing.

    Args:
        est: Estimate.
        ref: Reference of the same shape.

    Returns:
        The score, at most 150; NaN where either signal is silent, constant or not finite, and below 1024
        samples, where the filter could explain anything.

    Raises:
        ValueError: The shapes differ or there are no samples.

    References:
        Vincent et al. 2006, doi:10.1109/TSA.2005.858005; fast algorithm: Scheibler 2022, arXiv:2110.06440.
    """
    skip = undefined(est, ref)
    scores = torch.full_like(skip, math.nan, dtype=torch.float64)
    if est.shape[-1] >= 2 * SDR_FILTER_SAMPLES and not bool(skip.all()):
        e, r = (double(wave).to(scores.device)[~skip] for wave in (est, ref))
        scores[~skip] = _sdr_db(e, r)
    return scores.float()


def si_sdr_aligned_db(est: Tensor, ref: Tensor, rate_hz: int) -> Tensor:
    """SI-SDR in dB after the delay of the estimate has been undone, [..., T] -> float32 [...].

    For dereverberation, where the delay of an estimate is arbitrary: `diffsr.evaluation.align` finds the
    delay (up to 50 ms, fractions of a sample included), the parts that overlap are scored.

    Returns:
        The score; NaN as for `si_sdr_db`.

    Raises:
        ValueError: The shapes differ or there are no samples.
    """
    skip = undefined(est, ref)
    scores = torch.full(skip.shape, math.nan, device=skip.device)
    for index in (~skip).nonzero().tolist():
        row = tuple(index)
        scores[row] = si_sdr_db(*align(est[row], ref[row], rate_hz).aligned(est[row], ref[row]))
    return scores


def _sdr_db(est: Tensor, ref: Tensor) -> Tensor:
    from torchmetrics.functional.audio import signal_distortion_ratio

    try:
        score = signal_distortion_ratio(est, ref, filter_length=SDR_FILTER_SAMPLES)
    except RuntimeError:  # singular: a reference with a few frequencies only, such as a tone
        score = signal_distortion_ratio(est, ref, filter_length=SDR_FILTER_SAMPLES, load_diag=1e-9)
    # Rounding can make the coherence 1 or larger, which gives inf or NaN: that is a perfect estimate.
    return score.nan_to_num(SDR_LIMIT_DB, SDR_LIMIT_DB).clamp_max(SDR_LIMIT_DB)
