"""Score one item: estimates of its talkers against their references, beside the mixture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from diffsr.errors import DataError
from diffsr.evaluation.metrics import DEFAULT_METRICS, RESPONSE_METRICS, Metric, remarks, select_metrics
from diffsr.evaluation.permutation import best_assignment
from diffsr.evaluation.row import Parameter, Row


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
    metrics: Sequence[str] = DEFAULT_METRICS,
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
        metrics: Names of `METRICS`.
        item: Its name, parameters, groups and notes.

    Raises:
        ConfigError: A metric is unknown or needs a package that is missing.
        DataError: The number of talkers or the lengths differ.
    """
    item = item or Item()
    chosen = select_metrics(metrics)
    _check_shapes(est, ref, mixture, item.id)
    assignment = best_assignment(est, ref)
    output = _scores(chosen, est[list(assignment)], ref, rate_hz)
    before = {} if mixture is None else _scores_of_mixture(chosen, mixture, ref, rate_hz)
    return Row(
        id=item.id,
        duration_s=ref.shape[-1] / rate_hz,
        output=_means(output),
        input=_means(before),
        notes=(*item.notes, *remarks(ref.shape[-1], rate_hz, metrics)),
        parameters=item.parameters,
        groups=item.groups,
        assignment=assignment,
        output_by_talker=output,
        input_by_talker=before,
    )


def score_response(est: Tensor, true: Tensor, rate_hz: int) -> dict[str, float]:
    """Errors of an estimated room response against the true one, [T] and [T']; lower is better.

    Returns:
        Name of `RESPONSE_METRICS` -> error, NaN where it is not defined.
    """
    return {name: float(metric.score(est, true, rate_hz)) for name, metric in RESPONSE_METRICS.items()}


def _scores(
    metrics: Sequence[Metric], est: Tensor, ref: Tensor, rate_hz: int
) -> dict[str, tuple[float, ...]]:
    """Metric name -> one score a talker."""
    return {metric.name: tuple(metric.score(est, ref, rate_hz).tolist()) for metric in metrics}


def _scores_of_mixture(
    metrics: Sequence[Metric], mixture: Tensor, ref: Tensor, rate_hz: int
) -> dict[str, tuple[float, ...]]:
    """The same for the mixture; what does not look at the references is computed once."""
    scores: dict[str, tuple[float, ...]] = {}
    for metric in metrics:
        rows = mixture.expand_as(ref) if metric.needs_reference else mixture[None]
        values = metric.score(rows, ref[: len(rows)], rate_hz).expand(len(ref))
        scores[metric.name] = tuple(values.tolist())
    return scores


def _means(scores: Mapping[str, tuple[float, ...]]) -> dict[str, float]:
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
