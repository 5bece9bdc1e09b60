"""What an evaluation found: rows, statistics, tables and the csv file."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, field
from pathlib import Path

from diffsr.errors import DataError
from diffsr.evaluation.metrics import METRICS, Metric
from diffsr.evaluation.tables import Summary, markdown_table, number, summarise, text_table
from diffsr.io.atomic import replacing

_N_SHOWN = 10


@dataclass(frozen=True)
class Row:
    """Scores of one item.

    Attributes:
        id: Relative path without suffix.
        duration_s: What was scored.
        output: Metric name -> score of the estimate; NaN where it is not defined.
        input: Metric name -> score of the noisy input; empty when none was given.
        notes: What a reader has to know, such as files that were cut.
    """

    id: str
    duration_s: float
    output: dict[str, float]
    input: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def improvement(self, metric: str) -> float:
        """Output minus input; NaN without input."""
        return self.output[metric] - self.input.get(metric, math.nan)


@dataclass(frozen=True)
class Evaluation:
    """Scores of all items.

    Attributes:
        rows: One per scored item.
        failed: Items that could not be scored, id -> reason.
        unmatched: Files without partner: `est`, `ref`, `input` -> ids.
    """

    rows: list[Row]
    failed: dict[str, str] = field(default_factory=dict)
    unmatched: dict[str, list[str]] = field(default_factory=dict)

    @property
    def has_input(self) -> bool:
        """Whether noisy inputs were scored too."""
        return any(row.input for row in self.rows)

    def summary(self, metric: str, which: str = "output") -> Summary:
        """Statistics of `input`, `output` or `improvement`.

        With inputs all three are taken over the same items, those where both scores exist, so that the
        means can be subtracted.
        """
        values = {
            "output": [row.output[metric] for row in self.rows],
            "input": [row.input.get(metric, math.nan) for row in self.rows],
            "improvement": [row.improvement(metric) for row in self.rows],
        }[which]
        if self.has_input:
            values = [
                value if math.isfinite(row.improvement(metric)) else math.nan
                for value, row in zip(values, self.rows, strict=True)
            ]
        return summarise(values)

    def to_text(self) -> str:
        """Tables for the terminal, then what could not be scored and the notes."""
        parts = [text_table(*_means(self)), text_table(*_spread(self)), *_remarks(self)]
        return "\n\n".join(parts) + "\n"

    def to_markdown(self) -> str:
        """The two tables for documents."""
        return markdown_table(*_means(self)) + "\n\n" + markdown_table(*_spread(self)) + "\n"

    def write_csv(self, path: str | Path) -> None:
        """One line per scored item, written completely or not at all.

        Raises:
            DataError: The file cannot be written.
        """
        path = Path(path)
        lines = [_csv_line(row, self.has_input) for row in self.rows]
        if path.is_dir():
            raise DataError(f"Cannot write {path}: it is a folder, expected the name of a .csv file.")
        try:
            with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, fieldnames=list(lines[0]))
                writer.writeheader()
                writer.writerows(lines)
        except OSError as error:
            reason = error.strerror or error
            raise DataError(
                f"Cannot write {path}: {reason}. Choose a folder that you may write to."
            ) from error


def _means(result: Evaluation) -> tuple[list[str], list[list[str]]]:
    """Means of input, output and improvement."""
    header = ["metric", "input", "output", "improvement", "items", "NaN"]
    return header, [_means_of(result, metric) for metric in METRICS]


def _means_of(result: Evaluation, metric: Metric) -> list[str]:
    parts = {which: result.summary(metric.name, which) for which in ("input", "output", "improvement")}
    means = [number(part.mean, metric.digits, which == "improvement") for which, part in parts.items()]
    return [metric.label, *means, str(parts["output"].n), str(parts["output"].n_nan)]


def _spread(result: Evaluation) -> tuple[list[str], list[list[str]]]:
    """How the scores spread over items: of the improvement with inputs, else of the output."""
    which = "improvement" if result.has_input else "output"
    worse = ["made worse"] if result.has_input else []
    header = [which, "mean", "95 % interval", "median", "worst", *worse]
    return header, [_spread_of(result, metric, which) for metric in METRICS]


def _spread_of(result: Evaluation, metric: Metric, which: str) -> list[str]:
    part, signed = result.summary(metric.name, which), which == "improvement"
    mean, low, high, median, worst = (
        number(value, metric.digits, signed)
        for value in (part.mean, part.low, part.high, part.median, part.worst)
    )
    interval = f"{low} to {high}" if math.isfinite(part.low) else "-"
    worse = f"{part.n_negative} of {part.n} ({part.share_negative:.0%})" if part.n else "-"
    return [metric.label, mean, interval, median, worst, *([worse] if signed else [])]


def _remarks(result: Evaluation) -> list[str]:
    """Paragraphs on undefined scores, failures, unmatched files and notes."""
    names = {"est": "Estimates", "ref": "References", "input": "Inputs"}
    undefined = [f"{row.id}: {missing}" for row in result.rows if (missing := _undefined_scores(row))]
    notes = [f"{row.id}: {', '.join(row.notes)}" for row in result.rows if row.notes]
    blocks = {
        "Items with undefined scores (silent or too short)": undefined,
        "Items that could not be scored": [f"{item}: {reason}" for item, reason in result.failed.items()],
        **{f"{names[role]} without partner": ids for role, ids in result.unmatched.items()},
        "Notes": notes,
    }
    return [_block(title, lines) for title, lines in blocks.items() if lines]


def _undefined_scores(row: Row) -> str:
    sides = {"output": row.output, "input": row.input}
    missing = [
        f"{metric.label} of the {side}"
        for metric in METRICS
        for side, scores in sides.items()
        if not math.isfinite(scores.get(metric.name, 0.0))
    ]
    return ", ".join(missing)


def _block(title: str, lines: list[str]) -> str:
    more = [f"  ... and {len(lines) - _N_SHOWN} more"] if len(lines) > _N_SHOWN else []
    return "\n".join([f"{title} ({len(lines)}):", *(f"  {line}" for line in lines[:_N_SHOWN]), *more])


def _csv_line(row: Row, has_input: bool) -> dict[str, str]:
    line = {"id": row.id, "duration_s": f"{row.duration_s:.4f}"}
    for metric in METRICS:
        if has_input:
            line[f"{metric.name}_input"] = f"{row.input.get(metric.name, math.nan):.6g}"
        line[f"{metric.name}_output"] = f"{row.output[metric.name]:.6g}"
        if has_input:
            line[f"{metric.name}_improvement"] = f"{row.improvement(metric.name):.6g}"
    return line | {"notes": "; ".join(row.notes)}
