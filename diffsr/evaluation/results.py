"""What an evaluation found: statistics and tables over the rows of all items."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from diffsr.evaluation.csv_file import write_rows
from diffsr.evaluation.metrics import ALL_METRICS, Metric
from diffsr.evaluation.row import Row
from diffsr.evaluation.tables import Summary, latex_table, markdown_table, number, summarise, text_table

__all__ = ["Evaluation", "Row"]

Table: TypeAlias = tuple[list[str], list[list[str]]]
_SIDES = ("input", "output", "improvement")
_N_SHOWN = 10


@dataclass(frozen=True)
class Evaluation:
    """Scores of all items.

    Attributes:
        rows: One per scored item.
        failed: Items that could not be scored, id -> reason.
        unmatched: Files without partner: `est`, `ref`, `input` -> ids.
    """

    rows: list[Row]
    failed: Mapping[str, str] = field(default_factory=dict)
    unmatched: Mapping[str, list[str]] = field(default_factory=dict)

    @property
    def has_input(self) -> bool:
        """Whether noisy inputs were scored too."""
        return any(row.input for row in self.rows)

    @property
    def metrics(self) -> list[Metric]:
        """The metrics that any row has, in the order of the registry."""
        names = {name for row in self.rows for name in row.output}
        return [metric for name, metric in ALL_METRICS.items() if name in names]

    def where(self, keep: Callable[[Row], bool]) -> Evaluation:
        """Only some of the rows, without the lists of failures."""
        return Evaluation([row for row in self.rows if keep(row)])

    def summary(self, metric: str, which: str = "output") -> Summary:
        """Statistics of `input`, `output` or `improvement` over the rows that have the metric.

        Where inputs have the metric too, all three are taken over the same items, those where both
        scores exist, so that the means can be subtracted.
        """
        rows = [row for row in self.rows if metric in row.output]
        values = {
            "output": [row.output[metric] for row in rows],
            "input": [row.input.get(metric, math.nan) for row in rows],
            "improvement": [row.improvement(metric) for row in rows],
        }[which]
        if any(metric in row.input for row in rows):
            both = [math.isfinite(row.output[metric] + row.input.get(metric, math.nan)) for row in rows]
            values = [value if keep else math.nan for value, keep in zip(values, both, strict=True)]
        higher = which == "improvement" or ALL_METRICS[metric].better != "lower"
        groups = [row.groups for row in rows] if any(row.groups for row in rows) else None
        n_lost = sum(row.is_lost(metric) for row in rows) if which == "improvement" else 0
        return summarise(values, groups, higher, n_lost)

    def to_text(self) -> str:
        """Tables for the terminal, then what could not be scored and the notes."""
        return "\n\n".join([*(text_table(*table) for table in _tables(self)), *_remarks(self)]) + "\n"

    def to_markdown(self) -> str:
        """The same tables for documents."""
        return "\n\n".join(markdown_table(*table) for table in _tables(self)) + "\n"

    def to_latex(self) -> str:
        """The same tables for papers."""
        return "\n\n".join(latex_table(*table) for table in _tables(self)) + "\n"

    def write_csv(self, path: str | Path) -> None:
        """One line per scored item, written completely or not at all.

        Raises:
            DataError: The file cannot be written.
        """
        write_rows(self.rows, path)


def _tables(result: Evaluation) -> list[Table]:
    """Means of all metrics; how improvements spread over items; how scores without an input spread."""
    compared = [
        metric
        for metric in result.metrics
        if metric.better != "neither" and any(metric.name in row.input for row in result.rows)
    ]
    others = [metric for metric in result.metrics if metric not in compared]
    tables = [_means(result)]
    tables += [_spread(result, compared, "improvement")] if compared else []
    return tables + ([_spread(result, others, "output")] if others else [])


def _means(result: Evaluation) -> Table:
    """Means of input, output and improvement."""
    header = ["metric", *_SIDES, "items", "NaN"]
    return header, [_means_of(result, metric) for metric in result.metrics]


def _means_of(result: Evaluation, metric: Metric) -> list[str]:
    parts = {side: result.summary(metric.name, side) for side in _SIDES}
    means = [number(part.mean, metric.digits, side == "improvement") for side, part in parts.items()]
    return [metric.label, *means, str(parts["output"].n), str(parts["output"].n_nan)]


def _spread(result: Evaluation, metrics: Sequence[Metric], which: str) -> Table:
    """How the scores of one side spread over items."""
    header = [which, "mean", "95 % interval", "median", "worst"]
    header += ["made worse"] if which == "improvement" else []
    return header, [_spread_of(result, metric, which) for metric in metrics]


def _spread_of(result: Evaluation, metric: Metric, which: str) -> list[str]:
    part, signed = result.summary(metric.name, which), which == "improvement"
    mean, low, high, median, worst = (
        number(value, metric.digits, signed)
        for value in (part.mean, part.low, part.high, part.median, part.worst)
    )
    interval = f"{low} to {high}" if math.isfinite(part.low) else "-"
    worse = f"{part.n_worse} of {part.n_compared} ({part.share_worse:.0%})" if part.n_compared else "-"
    worst = worst if metric.better != "neither" else "-"
    return [metric.label, mean, interval, median, worst, *([worse] if signed else [])]


def _remarks(result: Evaluation) -> list[str]:
    """Paragraphs on intervals, undefined scores, failures, unmatched files and notes."""
    names = {"est": "Estimates", "ref": "References", "input": "Inputs"}
    undefined = [f"{row.id}: {missing}" for row in result.rows if (missing := _undefined_scores(row))]
    notes = [f"{row.id}: {', '.join(row.notes)}" for row in result.rows if row.notes]
    blocks = {
        "Items with undefined scores (silent, not finite, too short, or copies of one wave)": undefined,
        "Items that could not be scored": [f"{item}: {reason}" for item, reason in result.failed.items()],
        **{f"{names[role]} without partner": ids for role, ids in result.unmatched.items()},
        "Notes": notes,
    }
    groups = {name for row in result.rows for name in row.groups}
    by_group = [f"Intervals by resampling the {len(groups)} talkers, not the items."] if groups else []
    return by_group + [_block(title, lines) for title, lines in blocks.items() if lines]


def _undefined_scores(row: Row) -> str:
    sides = {"output": row.output, "input": row.input}
    missing = [
        f"{metric.label} of the {side}"
        for name, metric in ALL_METRICS.items()
        for side, scores in sides.items()
        if not math.isfinite(scores.get(name, 0.0))
    ]
    return ", ".join(missing)


def _block(title: str, lines: list[str]) -> str:
    more = [f"  ... and {len(lines) - _N_SHOWN} more"] if len(lines) > _N_SHOWN else []
    return "\n".join([f"{title} ({len(lines)}):", *(f"  {line}" for line in lines[:_N_SHOWN]), *more])
