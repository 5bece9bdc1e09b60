"""PESQ, STOI and ESTOI: what a listener makes of an estimate, compared with the clean reference.

torchmetrics does the work (with the packages `pesq` and `pystoi`) and is imported on first use. What
this module adds is safety: signals that are too short give NaN, scores do not depend on numpy's global
random state, and long recordings cannot crash PESQ.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from diffsr.evaluation.guards import all_nan, by_row, undefined, unusable
from diffsr.signal.resampling import resample

PESQ_RATE_HZ = 16000
PESQ_NARROW_RATE_HZ = 8000
PESQ_SHORTEST_S = 0.25
PESQ_PIECE_S = 20.0
"""PESQ scores pieces of at most this length: see `pesq_wb`."""
PESQ_FAINT = 1e-5
"""RMS of the noise that stands for a silent piece of an estimate."""
STOI_SHORTEST_S = 0.384
"""30 frames, 12.8 ms apart; what is left of longer signals without pauses is checked by pystoi."""


def pesq_wb(est: Tensor, ref: Tensor, rate_hz: int) -> Tensor:
    """Wide-band PESQ (ITU-T P.862.2, MOS-LQO about 1.0 to 4.64), [..., T] -> float32 [...].

    Higher rates are converted to 16 kHz. Lower rates give NaN: wide-band scores of speech without its
    upper band cannot be compared with others. The C code behind the score overruns its table of 50
    utterances on long recordings and takes the process with it; more than 50 do not fit into 20 s, so
    longer recordings are cut into equal pieces of at most 20 s (P.862 is made for 8 to 30 s) and the
    score is the mean over the pieces in which PESQ finds speech. A piece that an estimate has lost counts as
    faint noise.

    Args:
        est: Estimate.
        ref: Reference of the same shape.
        rate_hz: Sample rate of both.

    Returns:
        The score; NaN for silence, non-finite samples, less than 0.25 s, a rate below 16 kHz, or when
        PESQ finds no speech in the reference.

    Raises:
        ValueError: The shapes differ or there are no samples.
    """
    return _pesq(est, ref, rate_hz, PESQ_RATE_HZ, "wb")


def pesq_nb(est: Tensor, ref: Tensor, rate_hz: int) -> Tensor:
    """Narrow-band PESQ (ITU-T P.862.1, MOS-LQO about 1.0 to 4.55), [..., T] -> float32 [...].

    For material at 8 kHz; higher rates are converted to it. Its numbers cannot be compared with those of
    the wide-band score. Otherwise as `pesq_wb`, NaN below 8 kHz.

    Raises:
        ValueError: The shapes differ or there are no samples.
    """
    return _pesq(est, ref, rate_hz, PESQ_NARROW_RATE_HZ, "nb")


def estoi(est: Tensor, ref: Tensor, rate_hz: int) -> Tensor:
    """Extended short-time objective intelligibility (about 0 to 1), [..., T] -> float32 [...].

    Computed at 10 kHz, whatever the rate; frames in which the reference is more than 40 dB below its
    loudest frame are left out.

    Args:
        est: Estimate.
        ref: Reference of the same shape.
        rate_hz: Sample rate of both.

    Returns:
        The score; NaN for silence, non-finite samples, or less than about 0.4 s of active reference.

    Raises:
        ValueError: The shapes differ or there are no samples.

    References:
        Jensen and Taal 2016, IEEE/ACM TASLP 24(11).
    """
    return _stoi(est, ref, rate_hz, extended=True)


def stoi(est: Tensor, ref: Tensor, rate_hz: int) -> Tensor:
    """Short-time objective intelligibility (about 0 to 1), [..., T] -> float32 [...]; NaN as for `estoi`.

    Raises:
        ValueError: The shapes differ or there are no samples.

    References:
        Taal et al. 2011, IEEE TASLP 19(7).
    """
    return _stoi(est, ref, rate_hz, extended=False)


def _pesq(est: Tensor, ref: Tensor, rate_hz: int, to_hz: int, mode: str) -> Tensor:
    skip = undefined(est, ref)
    if rate_hz < to_hz or est.shape[-1] < PESQ_SHORTEST_S * rate_hz:
        return all_nan(skip)
    est, ref = (resample(wave.detach().cpu(), rate_hz, to_hz) for wave in (est, ref))
    return by_row(partial(_pesq_of_row, rate_hz=to_hz, mode=mode), (est, ref), skip)


def _pesq_of_row(est: Tensor, ref: Tensor, rate_hz: int, mode: str) -> float:
    n_pieces = math.ceil(est.shape[-1] / (PESQ_PIECE_S * rate_hz))
    pieces = zip(est.tensor_split(n_pieces), ref.tensor_split(n_pieces), strict=True)
    scores = np.array([_pesq_of_piece(e, r, rate_hz, mode) for e, r in pieces])
    return float(scores[np.isfinite(scores)].mean()) if np.isfinite(scores).any() else math.nan


def _pesq_of_piece(est: Tensor, ref: Tensor, rate_hz: int, mode: str) -> float:
    from pesq import PesqError
    from torchmetrics.functional.audio import perceptual_evaluation_speech_quality

    if est.shape[-1] < PESQ_SHORTEST_S * rate_hz or bool(unusable(ref)):
        return math.nan
    if bool(unusable(est)):
        # Lost speech: PESQ fails on zeros, and scores noise that is too faint to be heard.
        est = PESQ_FAINT * torch.randn(est.shape, generator=torch.Generator().manual_seed(0))
    try:
        return float(perceptual_evaluation_speech_quality(est, ref, rate_hz, mode))
    except PesqError:  # no utterance found, in practice
        return math.nan


def _stoi(est: Tensor, ref: Tensor, rate_hz: int, extended: bool) -> Tensor:
    skip = undefined(est, ref)
    if est.shape[-1] < STOI_SHORTEST_S * rate_hz:
        return all_nan(skip)
    return by_row(partial(_stoi_of_row, rate_hz=rate_hz, extended=extended), (est, ref), skip)


def _stoi_of_row(est: Tensor, ref: Tensor, rate_hz: int, extended: bool) -> float:
    from torchmetrics.functional.audio import short_time_objective_intelligibility

    with warnings.catch_warnings(), _fixed_numpy_seed():
        # pystoi warns and returns 1e-5 where too few frames are left.
        warnings.filterwarnings("error", message="Not enough STFT frames", category=RuntimeWarning)
        try:
            return float(short_time_objective_intelligibility(est, ref, rate_hz, extended=extended))
        except RuntimeWarning:
            return math.nan


@contextlib.contextmanager
def _fixed_numpy_seed() -> Iterator[None]:
    """Put pystoi's dither under a fixed seed and give the global generator back as it was.

    The dither decides the score in bands that are exactly zero, and it comes from numpy's global
    generator, on which other code may rely.
    """
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
