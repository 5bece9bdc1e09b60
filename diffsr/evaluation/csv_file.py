"""Results as a tidy csv file: one row an item, with its parameters, scores and notes."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from diffsr.errors import DataError
from diffsr.evaluation.metrics import ALL_METRICS
from diffsr.evaluation.row import Row
from diffsr.io.atomic import replacing, unwritable


def write_rows(rows: Sequence[Row], path: str | Path) -> None:
    """Write rows, completely or not at all.

    Columns: `id`, `duration_s`, the parameters, then of every metric `_input`, `_output` and
    `_improvement` (the first and last only with inputs), with several talkers `_s1`, `_s2` ... of the
    estimates too, in the order of the references, `assignment` (the estimate of each talker), `groups`
    and `notes`.

    Raises:
        DataError: The file cannot be written, or a parameter has the name of another column.
    """
    path = Path(path)
    lines = [_line(row) for row in rows]
    columns = _columns(rows)
    if path.is_dir():
        raise DataError(f"Cannot write {path}: it is a folder, expected the name of a .csv file.")
    try:
        escaped = "backslashreplace"  # what of a file name is no text
        with replacing(path) as temporary, temporary.open("w", -1, "utf-8", escaped, "") as file:
            writer = csv.DictWriter(file, fieldnames=columns, restval="")
            writer.writeheader()
            writer.writerows(lines)
    except OSError as error:
        raise unwritable(path, error) from error


def _columns(rows: Sequence[Row]) -> list[str]:
    scores = [column for name in ALL_METRICS for column in _columns_of(name, rows)]
    talkers = ["assignment"] if any(len(row.assignment) > 1 for row in rows) else []
    groups = ["groups"] if any(row.groups for row in rows) else []
    parameters = list(dict.fromkeys(name for row in rows for name in row.parameters))
    others = ["id", "duration_s", *scores, *talkers, *groups, "notes"]
    if clash := sorted(set(parameters) & set(others)):
        raise DataError(
            f"Parameters of items are called {', '.join(clash)}, like columns of the scores. "
            "Give them other names."
        )
    return [*others[:2], *parameters, *others[2:]]


def _columns_of(metric: str, rows: Sequence[Row]) -> list[str]:
    if not any(metric in row.output for row in rows):
        return []
    has_input = any(metric in row.input for row in rows)
    n_talkers = max((len(row.output_by_talker.get(metric, ())) for row in rows), default=0)
    talkers = [f"{metric}_s{k + 1}" for k in range(n_talkers)] if n_talkers > 1 else []
    sides = ["input", "output", "improvement"] if has_input else ["output"]
    return [*(f"{metric}_{side}" for side in sides), *talkers]


def _line(row: Row) -> dict[str, str]:
    line = {"id": row.id, "duration_s": f"{row.duration_s:.4f}"}
    line |= {name: "" if value is None else str(value) for name, value in row.parameters.items()}
    for name, output in row.output.items():
        line[f"{name}_output"] = f"{output:.6g}"
        if name in row.input:
            line[f"{name}_input"] = f"{row.input[name]:.6g}"
            line[f"{name}_improvement"] = f"{row.improvement(name):.6g}"
        by_talker = row.output_by_talker.get(name, ())
        if len(by_talker) > 1:
            line |= {f"{name}_s{k + 1}": f"{score:.6g}" for k, score in enumerate(by_talker)}
    if len(row.assignment) > 1:
        line["assignment"] = " ".join(str(k + 1) for k in row.assignment)
    if row.groups:
        line["groups"] = ";".join(row.groups)
    return line | {"notes": "; ".join(row.notes)}
