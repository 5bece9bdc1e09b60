"""SI-SDR, wide-band PESQ and ESTOI of waveforms, NaN where a score is not defined.

torchmetrics does the work (with the packages `pesq` and `pystoi`) and is imported on first use. What
this module adds is safety: silence, non-finite samples and signals that are too short give NaN, scores
do not depend on the level of the recording or on numpy's global random state, and long recordings
cannot crash PESQ.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diffsr.signal.levels import SILENCE_DB, from_db, rms
from diffsr.signal.resampling import resample

PESQ_RATE_HZ = 16000
PESQ_SHORTEST_S = 0.25
PESQ_PIECE_S = 20.0
"""PESQ scores pieces of at most this length: see `pesq_wb`."""
ESTOI_SHORTEST_S = 0.384
"""30 frames, 12.8 ms apart; what is left of longer signals without pauses is checked by pystoi."""


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

    undefined = _undefined(est, ref)
    # Unit level in float64: torchmetrics adds an epsilon to energies, which must not matter for quiet files.
    est, ref = _unit_level(est), _unit_level(ref)
    score = scale_invariant_signal_distortion_ratio(est, ref, zero_mean=True)
    return score.masked_fill(undefined, math.nan).float()


def pesq_wb(est: Tensor, ref: Tensor, rate_hz: int) -> Tensor:
    """Wide-band PESQ (ITU-T P.862.2, MOS-LQO about 1.0 to 4.64), [..., T] -> float32 [...].

    Higher rates are converted to 16 kHz. Lower rates give NaN: wide-band scores of speech without its
    upper band cannot be compared with others. The C code behind the score overruns its table of 50
    utterances on long recordings and takes the process with it; more than 50 do not fit into 20 s, so
    longer recordings are cut into equal pieces of at most 20 s (P.862 is made for 8 to 30 s) and the
    score is the mean over the pieces in which PESQ finds speech.

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
    undefined = _undefined(est, ref)
    if rate_hz < PESQ_RATE_HZ:
        return torch.full_like(undefined, math.nan, dtype=torch.float32)
    est, ref = (resample(x.detach(), rate_hz, PESQ_RATE_HZ) for x in (est, ref))
    return _by_row(_pesq_of_row, est, ref, undefined)


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
    undefined = _undefined(est, ref)
    if est.shape[-1] < ESTOI_SHORTEST_S * rate_hz:
        return torch.full_like(undefined, math.nan, dtype=torch.float32)
    return _by_row(lambda e, r: _estoi_of_row(e, r, rate_hz), est, ref, undefined)


@dataclass(frozen=True)
class Metric:
    """A score with its name. Higher is better for every one of them.

    Attributes:
        name: Key in results and column name.
        label: Heading in tables, with the unit.
        digits: Decimals to show.
        score: (est [..., T], ref [..., T], rate_hz) -> [...].
    """

    name: str
    label: str
    digits: int
    score: Callable[[Tensor, Tensor, int], Tensor]


METRICS: tuple[Metric, ...] = (
    Metric("si_sdr_db", "SI-SDR (dB)", 2, lambda est, ref, rate_hz: si_sdr_db(est, ref)),
    Metric("pesq_wb", "PESQ wide band", 2, pesq_wb),
    Metric("estoi", "ESTOI", 3, estoi),
)


def score_pair(est: Tensor, ref: Tensor, rate_hz: int) -> dict[str, float]:
    """Every metric of one item, `[T]` or `[C, T]`; the mean over channels, NaN if one channel is NaN.

    Raises:
        ValueError: The shapes differ or there are no samples.
    """
    return {metric.name: float(metric.score(est, ref, rate_hz).mean()) for metric in METRICS}


def remarks(n_samples: int, rate_hz: int) -> list[str]:
    """What a reader of the scores of such a recording has to know."""
    if rate_hz < PESQ_RATE_HZ:
        return [f"no wide-band PESQ at {rate_hz} Hz (needs {PESQ_RATE_HZ} Hz)"]
    n_pieces = math.ceil(n_samples / (PESQ_PIECE_S * rate_hz))
    return [f"PESQ is the mean of {n_pieces} pieces"] if n_pieces > 1 else []


def _undefined(est: Tensor, ref: Tensor) -> Tensor:
    """Which rows have no score, [..., T] -> bool [...]."""
    if est.shape != ref.shape or est.numel() == 0 or est.ndim == 0:
        raise ValueError(
            f"The estimate has shape {list(est.shape)} and the reference {list(ref.shape)}; "
            "expected the same [..., T] with T > 0."
        )
    return _unusable(est) | _unusable(ref)


def _unusable(wave: Tensor) -> Tensor:
    wave = _double(wave)
    finite = wave.isfinite().all(-1)
    centred = wave - wave.mean(-1, keepdim=True)
    return ~finite | ~(rms(centred) > from_db(SILENCE_DB))


def _unit_level(wave: Tensor) -> Tensor:
    wave = _double(wave)
    wave = wave - wave.mean(-1, keepdim=True)
    return wave / rms(wave).clamp_min(torch.finfo(torch.float64).tiny)[..., None]


def _double(wave: Tensor) -> Tensor:
    """In float64, which MPS does not have: on the CPU there."""
    wave = wave.detach()
    return (wave.cpu() if wave.device.type == "mps" else wave).double()


def _by_row(score: Callable[[Tensor, Tensor], float], est: Tensor, ref: Tensor, undefined: Tensor) -> Tensor:
    """Score each row alone, so that one bad row does not take the others with it."""
    rows = zip(_rows(est), _rows(ref), undefined.reshape(-1).tolist(), strict=True)
    scores = [math.nan if skip else score(e, r) for e, r, skip in rows]
    return torch.tensor(scores, dtype=torch.float32, device=undefined.device).reshape(undefined.shape)


def _rows(wave: Tensor) -> Tensor:
    return wave.detach().reshape(-1, wave.shape[-1]).to("cpu", torch.float32)


def _pesq_of_row(est: Tensor, ref: Tensor) -> float:
    n_pieces = math.ceil(est.shape[-1] / (PESQ_PIECE_S * PESQ_RATE_HZ))
    pieces = zip(est.tensor_split(n_pieces), ref.tensor_split(n_pieces), strict=True)
    scores = np.array([_pesq_of_piece(e, r) for e, r in pieces])
    return float(scores[np.isfinite(scores)].mean()) if np.isfinite(scores).any() else math.nan


def _pesq_of_piece(est: Tensor, ref: Tensor) -> float:
    from pesq import PesqError
    from torchmetrics.functional.audio import perceptual_evaluation_speech_quality

    if est.shape[-1] < PESQ_SHORTEST_S * PESQ_RATE_HZ or bool(_undefined(est, ref)):
        return math.nan
    try:
        return float(perceptual_evaluation_speech_quality(est, ref, PESQ_RATE_HZ, "wb"))
    except PesqError:  # no utterance found, in practice
        return math.nan


def _estoi_of_row(est: Tensor, ref: Tensor, rate_hz: int) -> float:
    from torchmetrics.functional.audio import short_time_objective_intelligibility

    with warnings.catch_warnings(), _fixed_numpy_seed():
        # pystoi warns and returns 1e-5 where too few frames are left.
        warnings.filterwarnings("error", message="Not enough STFT frames", category=RuntimeWarning)
        try:
            return float(short_time_objective_intelligibility(est, ref, rate_hz, extended=True))
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
