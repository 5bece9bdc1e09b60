"""Scores of one item."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeAlias

from diffsr.evaluation.metrics import ALL_METRICS

Parameter: TypeAlias = str | int | float | bool | None
"""A number or word that made an item."""
_SCORES = ("output", "input")
_BY_TALKER = ("output_by_talker", "input_by_talker")


@dataclass(frozen=True)
class Row:
    """Scores of one item.

    Attributes:
        id: Relative path without suffix, or the name of a scene.
        duration_s: What was scored.
        output: Metric name -> score of the estimate, mean over talkers; NaN where it is not defined.
        input: Metric name -> score of the noisy input; empty when none was given.
        notes: What a reader has to know, such as files that were cut.
        parameters: Numbers and words that made the item, columns of the csv file.
        groups: What the item shares with others (its talkers), for intervals.
        assignment: The estimate of each talker, counted from 0.
        output_by_talker: Metric name -> scores in the order of the references.
        input_by_talker: The same for the input.
    """

    id: str
    duration_s: float
    output: Mapping[str, float]
    input: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    assignment: tuple[int, ...] = ()
    output_by_talker: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    input_by_talker: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def improvement(self, metric: str) -> float:
        """By how much the output is better than the input, positive is better; NaN without input."""
        output, before = self.output.get(metric, math.nan), self.input.get(metric, math.nan)
        return ALL_METRICS[metric].improvement(output, before)

    def is_lost(self, metric: str) -> bool:
        """Whether the input has a score and the output has none: a silent or broken estimate."""
        has_input = math.isfinite(self.input.get(metric, math.nan))
        return has_input and metric in self.output and not math.isfinite(self.output[metric])

    def to_dict(self) -> dict[str, Any]:
        """As plain lists and numbers for JSON, None for NaN."""
        row = asdict(self)
        for name in _SCORES:
            row[name] = {key: _none_for_nan(value) for key, value in row[name].items()}
        for name in _BY_TALKER:
            row[name] = {key: [_none_for_nan(value) for value in row[name][key]] for key in row[name]}
        return row

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Row:
        """The row of `to_dict`, also after a trip through JSON.

        Raises:
            TypeError, KeyError: The mapping is of another kind.
        """
        known: dict[str, Any] = {f.name: row[f.name] for f in fields(cls)}
        for name in _SCORES:
            known[name] = {key: _nan_for_none(value) for key, value in known[name].items()}
        for name in _BY_TALKER:
            known[name] = {key: tuple(map(_nan_for_none, values)) for key, values in known[name].items()}
        for name in ("notes", "groups", "assignment"):
            known[name] = tuple(known[name])
        return cls(**known)


def _none_for_nan(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _nan_for_none(value: float | None) -> float:
    return math.nan if value is None else value
