"""Score one item: estimates of its talkers against their references, beside the mixture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from torch import Tensor

from diffsr.errors import DataError
from diffsr.evaluation.metrics import (
    DEFAULT_METRICS,
    RESPONSE_METRICS,
    Metric,
    default_metrics,
    remarks,
    select_metrics,
)
from diffsr.evaluation.permutation import best_assignment
from diffsr.evaluation.row import Parameter, Row

Scores: TypeAlias = dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class Item:
    """What is known of an item besides its audio.

    Attributes:
        id: Its name.
        parameters: Numbers and words that made it (n_talkers, rt60_s, snr_db ...): columns of the csv file.
        groups: Its talkers: items that share one are not independent, which intervals respect.
        notes: What a reader of its scores has to know.
    """

    id: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def score_item(
    est: Tensor,
    ref: Tensor,
    rate_hz: int,
    mixture: Tensor | None = None,
    metrics: Sequence[str] | None = None,
    item: Item | None = None,
) -> Row:
    """Score the estimates of all talkers, each against the reference that suits it best.

    The assignment is the one with the largest mean SI-SDR, for all metrics. The mixture is scored as if
    it were the estimate of every talker. Scores of an item are means over its talkers, NaN if one is NaN:
    a system that returns one talker and silence has no score, and counts as having made the item worse.

    Args:
        est: Estimates [S, T].
        ref: References [S, T].
        rate_hz: Sample rate.
        mixture: The recording [T], to score beside the estimates.
        metrics: Names of `METRICS`, and of `TALKER_METRICS` for S > 1; None for the default ones.
        item: Its name, parameters, groups and notes.

    Raises:
        ConfigError: A metric is unknown or needs a package that is missing.
        DataError: The number of talkers or the lengths differ.
    """
    item = item or Item()
    _check_shapes(est, ref, mixture, item.id)
    assignment = best_assignment(est, ref)
    before = None if mixture is None else mixture[None]
    names = default_metrics(len(ref)) if metrics is None else metrics
    chosen = select_metrics(names, len(ref))
    output, input_ = _both(est[list(assignment)], ref, rate_hz, before, chosen)
    row = _row(output, input_, ref.shape[-1], rate_hz, names, item)
    return replace(row, assignment=assignment, output_by_talker=output, input_by_talker=input_)


def score_waves(
    est: Tensor,
    ref: Tensor,
    rate_hz: int,
    before: Tensor | None = None,
    metrics: Sequence[str] = DEFAULT_METRICS,
    item: Item | None = None,
) -> Row:
    """Score an estimate channel by channel, [C, T] each; the mean over channels, NaN if one is NaN.

    Args:
        est: Estimate.
        ref: Reference of the same shape.
        rate_hz: Sample rate.
        before: The recording, of the same shape, to score beside the estimate.
        metrics: Names of `METRICS`.
        item: Its name, parameters, groups and notes.

    Raises:
        ConfigError: A metric is unknown or needs a package that is missing.
        ValueError: The shapes differ or there are no samples.
    """
    output, input_ = _both(est, ref, rate_hz, before, select_metrics(metrics))
    return _row(output, input_, ref.shape[-1], rate_hz, metrics, item or Item())


def score_response(est: Tensor, true: Tensor, rate_hz: int) -> dict[str, float]:
    """Errors of an estimated room response against the true one, [T] and [T']; lower is better.

    Returns:
        Name of `RESPONSE_METRICS` -> error, NaN where it is not defined.
    """
    return {name: float(metric.score(est, true, rate_hz)) for name, metric in RESPONSE_METRICS.items()}


def _both(
    est: Tensor, ref: Tensor, rate_hz: int, before: Tensor | None, metrics: Sequence[Metric]
) -> tuple[Scores, Scores]:
    output = _scores(metrics, est, ref, rate_hz)
    of_input = [metric for metric in metrics if metric.of_input]
    return output, {} if before is None else _scores(of_input, before, ref, rate_hz)


def _scores(metrics: Sequence[Metric], wave: Tensor, ref: Tensor, rate_hz: int) -> Scores:
    """Metric name -> one score a row of the references; one row of `wave` stands for all of them."""
    scores: Scores = {}
    for metric in metrics:
        rows = wave.expand_as(ref) if metric.needs_reference else wave
        values = metric.score(rows, ref if metric.needs_reference else wave, rate_hz)
        scores[metric.name] = tuple(values.expand(len(ref)).tolist())
    return scores


def _row(
    output: Scores, before: Scores, n_samples: int, rate_hz: int, metrics: Sequence[str], item: Item
) -> Row:
    return Row(
        id=item.id,
        duration_s=n_samples / rate_hz,
        output=_means(output),
        input=_means(before),
        notes=(*item.notes, *remarks(n_samples, rate_hz, metrics)),
        parameters=item.parameters,
        groups=item.groups,
    )


def _means(scores: Scores) -> dict[str, float]:
    return {name: math.fsum(values) / len(values) for name, values in scores.items()}


def _check_shapes(est: Tensor, ref: Tensor, mixture: Tensor | None, name: str) -> None:
    item = f"item {name}" if name else "the item"
    if est.ndim != 2 or ref.ndim != 2 or est.shape[0] != ref.shape[0] or ref.shape[0] == 0:
        raise DataError(
            f"The estimates of {item} have shape {list(est.shape)} and the references {list(ref.shape)}, "
            "expected both [talkers, samples] with the same number of talkers."
        )
    others = {"estimates": est} if mixture is None else {"estimates": est, "mixture": mixture}
    for role, wave in others.items():
        if wave.shape[-1] != ref.shape[-1] or wave.shape[-1] == 0:
            raise DataError(
                f"The {role} of {item} have {wave.shape[-1]} samples and the references {ref.shape[-1]}, "
                "expected the same length. Cut both to the same part of the recording."
            )
    if mixture is not None and mixture.ndim != 1:
        raise DataError(
            f"The mixture of {item} has shape {list(mixture.shape)}, expected one channel [samples]. "
            "Give the channel that the estimates belong to."
        )
