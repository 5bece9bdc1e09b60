"""The scores by name, and what is known of each: label, direction, need of a reference, cost.

Every score is a function `(est [..., T], ref [..., T], rate_hz) -> [...]` with NaN where it is not
defined; none depends on the level of the recording, but for DNSMOS. Those of several talkers look at all of
them at once: est and ref are [S, T] there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffsr.errors import ConfigError
from diffsr.evaluation.align import delay_ms, gain_db
from diffsr.evaluation.blind import dnsmos, optional_module, srmr
from diffsr.evaluation.distortion import sdr_db, si_sdr_aligned_db, si_sdr_db
from diffsr.evaluation.perceptual import PESQ_PIECE_S, PESQ_RATE_HZ, estoi, pesq_nb, pesq_wb, stoi
from diffsr.evaluation.pieces import PIECES_S, piecewise_scores_db
from diffsr.evaluation.swaps import Swaps, count_swaps
from diffsr.signal.room_acoustics import drr_db, rt60_s

__all__ = [
    "ALL_METRICS",
    "DEFAULT_METRICS",
    "METRICS",
    "RESPONSE_METRICS",
    "TALKER_METRICS",
    "Metric",
    "default_metrics",
    "delay_ms",
    "dnsmos",
    "drr_error_db",
    "estoi",
    "gain_db",
    "pesq_nb",
    "pesq_wb",
    "remarks",
    "rt60_error_s",
    "score_pair",
    "sdr_db",
    "select_metrics",
    "si_sdr_aligned_db",
    "si_sdr_db",
    "srmr",
    "stoi",
]

Score = Callable[[Tensor, Tensor, int], Tensor]


def rt60_error_s(est: Tensor, true: Tensor, rate_hz: int) -> Tensor:
    """Size of the error in reverberation time of estimated responses, [..., T], [..., T'] -> [...].

    NaN where the decay of either does not reach far enough: see `diffsr.signal.room_acoustics.rt60_s`.
    """
    return (rt60_s(est, rate_hz) - rt60_s(true, rate_hz)).abs()


def drr_error_db(est: Tensor, true: Tensor, rate_hz: int) -> Tensor:
    """Size of the error in direct-to-reverberant ratio in dB, [..., T], [..., T'] -> [...].

    NaN for silence and where a response has no reverberation.
    """
    error = (drr_db(est, rate_hz) - drr_db(true, rate_hz)).abs()
    return error.masked_fill(~error.isfinite(), math.nan)


@dataclass(frozen=True)
class Metric:
    """A score with its name.

    Attributes:
        name: Key in results, column name, and name on the command line.
        label: Heading in tables, with the unit.
        digits: Decimals to show.
        score: (est [..., T], ref [..., T], rate_hz) -> [...].
        better: Which values are: `higher`, `lower`, or `neither` for what is reported only.
        needs_reference: False where `score` does not look at `ref`.
        cost_s: Seconds for 4 s of speech at 16 kHz on one core, roughly; the four of DNSMOS share theirs.
        requires: Modules of the optional extra `evaluation`.
        of_input: False for what says nothing of a recording that was not processed.
    """

    name: str
    label: str
    digits: int
    score: Score
    better: str = "higher"
    needs_reference: bool = True
    cost_s: float = 0.01
    requires: tuple[str, ...] = ()
    of_input: bool = True

    def improvement(self, output: float, input: float) -> float:  # noqa: A002
        """By how much the output is better than the input; NaN where neither direction is better."""
        sign = {"higher": 1.0, "lower": -1.0}.get(self.better, math.nan)
        return sign * (output - input)


def _dnsmos(part: str, label: str) -> Metric:
    def score(est: Tensor, ref: Tensor, rate_hz: int) -> Tensor:
        return dnsmos(est, rate_hz, part)

    needs = ("onnxruntime", "speechmos.dnsmos")
    return Metric(f"dnsmos_{part}", label, 2, score, needs_reference=False, cost_s=3.5, requires=needs)


def _pieces(piece_s: float) -> Metric:
    def score(est: Tensor, ref: Tensor, rate_hz: int) -> Tensor:
        return piecewise_scores_db(est, ref, rate_hz, piece_s)

    length = f"{piece_s:g} s" if piece_s >= 1 else f"{1000 * piece_s:g} ms"
    name = f"si_sdr_{1000 * piece_s:.0f}ms_db"
    return Metric(name, f"SI-SDR, pieces of {length} (dB)", 2, score, cost_s=0.05)


def _gap_db(est: Tensor, ref: Tensor, rate_hz: int) -> Tensor:
    """The oracle of the shortest pieces minus the score as separated: what identity errors cost."""
    return piecewise_scores_db(est, ref, rate_hz, min(PIECES_S)) - si_sdr_db(est, ref).cpu()


def _swaps(name: str, label: str, value: Callable[[Swaps], float]) -> Metric:
    def score(est: Tensor, ref: Tensor, rate_hz: int) -> Tensor:
        return torch.full((len(ref),), value(count_swaps(est, ref, rate_hz)))

    return Metric(name, label, 1, score, better="neither", of_input=False)


def _srmr(est: Tensor, ref: Tensor, rate_hz: int) -> Tensor:
    return srmr(est, rate_hz)


def _by_name(*metrics: Metric) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


METRICS: Mapping[str, Metric] = _by_name(
    Metric("si_sdr_db", "SI-SDR (dB)", 2, lambda est, ref, rate_hz: si_sdr_db(est, ref)),
    Metric("sdr_db", "SDR (dB)", 2, lambda est, ref, rate_hz: sdr_db(est, ref), cost_s=0.05),
    Metric("pesq_wb", "PESQ wide band", 2, pesq_wb, cost_s=0.1),
    Metric("pesq_nb", "PESQ narrow band", 2, pesq_nb, cost_s=0.1),
    Metric("estoi", "ESTOI", 3, estoi, cost_s=0.07),
    Metric("stoi", "STOI", 3, stoi, cost_s=0.05),
    Metric("si_sdr_aligned_db", "SI-SDR aligned (dB)", 2, si_sdr_aligned_db),
    Metric("delay_ms", "delay (ms)", 2, delay_ms, better="neither"),
    Metric("gain_db", "gain (dB)", 2, gain_db, better="neither"),
    _dnsmos("ovrl", "DNSMOS overall"),
    _dnsmos("sig", "DNSMOS speech"),
    _dnsmos("bak", "DNSMOS background"),
    _dnsmos("p808", "DNSMOS P.808"),
    Metric("srmr", "SRMR", 2, _srmr, needs_reference=False, cost_s=6.0, requires=("gammatone",)),
)
"""Scores of speech."""

RESPONSE_METRICS: Mapping[str, Metric] = _by_name(
    Metric("rt60_error_s", "T60 error (s)", 3, rt60_error_s, better="lower"),
    Metric("drr_error_db", "DRR error (dB)", 2, drr_error_db, better="lower"),
)
"""Scores of estimated room responses against the true ones."""

TALKER_METRICS: Mapping[str, Metric] = _by_name(
    *(_pieces(piece_s) for piece_s in PIECES_S),
    Metric("piecewise_gap_db", "piecewise gap (dB)", 2, _gap_db, better="neither", of_input=False),
    _swaps("swaps", "swaps", lambda found: float(found.count) if found.n_decided else math.nan),
    _swaps("swaps_per_min", "swaps per minute", lambda found: found.per_minute),
)
"""Scores of all talkers of an item together, est [S, T] in the order of ref [S, T] -> [S]."""

ALL_METRICS: Mapping[str, Metric] = {**METRICS, **TALKER_METRICS, **RESPONSE_METRICS}

DEFAULT_METRICS = ("si_sdr_db", "sdr_db", "pesq_wb", "estoi")


def default_metrics(n_talkers: int = 1) -> tuple[str, ...]:
    """Names of the scores of an item of so many talkers, where none are asked for."""
    return (*DEFAULT_METRICS, *TALKER_METRICS) if n_talkers > 1 else DEFAULT_METRICS


def select_metrics(names: Sequence[str] = DEFAULT_METRICS, n_talkers: int = 1) -> tuple[Metric, ...]:
    """Scores of speech by their names, each once.

    Raises:
        ConfigError: A name is unknown, or of several talkers where there is one; there is no name, or a
            package of an optional score is missing.
    """
    known = {**METRICS, **TALKER_METRICS}
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        found = f"Unknown metric {', '.join(map(repr, unknown))}" if unknown else "No metric is named"
        raise ConfigError(f"{found}; expected some of {', '.join(known)}.")
    if n_talkers == 1 and (of_several := [name for name in names if name in TALKER_METRICS]):
        raise ConfigError(
            f"{', '.join(of_several)} tell{'s' * (len(of_several) == 1)} how several talkers were separated, "
            "and there is one. Leave them out, or give the talkers folders s1, s2 ..."
        )
    chosen = tuple(known[name] for name in dict.fromkeys(names))
    for metric in chosen:
        for module in metric.requires:
            optional_module(module, metric.label)
    return chosen


def score_pair(
    est: Tensor, ref: Tensor, rate_hz: int, metrics: Sequence[str] = DEFAULT_METRICS
) -> dict[str, float]:
    """Scores of one item, `[T]` or `[C, T]`; the mean over channels, NaN if one channel is NaN.

    Raises:
        ConfigError: A metric is unknown or needs a package that is missing.
        ValueError: The shapes differ or there are no samples.
    """
    chosen = select_metrics(metrics)
    return {metric.name: float(metric.score(est, ref, rate_hz).mean()) for metric in chosen}


def remarks(n_samples: int, rate_hz: int, metrics: Sequence[str] = DEFAULT_METRICS) -> list[str]:
    """What a reader of the scores of such a recording has to know."""
    found = []
    if "pesq_wb" in metrics and rate_hz < PESQ_RATE_HZ:
        found.append(f"no wide-band PESQ at {rate_hz} Hz (needs {PESQ_RATE_HZ} Hz, pesq_nb does not)")
    if rate_hz < PESQ_RATE_HZ and any(name.startswith("dnsmos") for name in metrics):
        found.append(f"no DNSMOS at {rate_hz} Hz (needs {PESQ_RATE_HZ} Hz)")
    n_pieces = math.ceil(n_samples / (PESQ_PIECE_S * rate_hz))
    has_pesq = "pesq_nb" in metrics or ("pesq_wb" in metrics and rate_hz >= PESQ_RATE_HZ)
    return [*found, f"PESQ is the mean of {n_pieces} pieces"] if has_pesq and n_pieces > 1 else found
