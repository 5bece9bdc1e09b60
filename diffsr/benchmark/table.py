"""The tables of a track, several systems side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from diffsr.benchmark.items import ItemList
from diffsr.benchmark.room_scores import RoomErrors, room_errors
from diffsr.benchmark.scorer import SystemScores
from diffsr.benchmark.talker_table import of_speech, only, strata_of, talker_table
from diffsr.benchmark.tracks import TRACKS
from diffsr.evaluation.metrics import Metric
from diffsr.evaluation.results import Evaluation
from diffsr.evaluation.tables import number, text_table

_N_SHOWN = 10


def tables(found: ItemList, scores: Sequence[SystemScores]) -> str:
    """Scores, scores by kind of item, errors of rooms, cost, and what is missing."""
    parts = [_title(found, scores)]
    evaluations = {system.label: Evaluation(system.rows) for system in scores}
    with_rows = {label: evaluation for label, evaluation in evaluations.items() if evaluation.rows}
    strata = strata_of(found, with_rows.values())
    if with_rows:
        parts.append(text_table(*_scores(with_rows)))
    if strata and with_rows:
        parts.append(text_table(*_by_stratum(strata, with_rows)))
    if talkers := talker_table(strata, with_rows):
        parts.append(text_table(*talkers))
    if rooms := _rooms(found, scores):
        parts.append(text_table(*rooms))
    parts.append(text_table(*_cost(scores)))
    parts += [_block(f"{s.label}: no estimate", s.missing) for s in scores if s.missing]
    parts += [_block(f"{s.label}: cannot be scored", s.failed) for s in scores if s.failed]
    return "\n\n".join(parts) + "\n"


def _title(found: ItemList, scores: Sequence[SystemScores]) -> str:
    kind = "own data" if found.own else "list of the benchmark"
    n_asked = max((system.n_items for system in scores), default=0)
    extent = f"{n_asked} items" if n_asked == len(found.items) else f"{n_asked} of {len(found.items)} items"
    lines = [
        f"{found.track}, {found.split}: {TRACKS[found.track].title}; {extent} ({kind}, {found.digest})",
        *found.notes,
        "Intervals: 95 %, bootstrap over talkers. Worse: share of the items whose score fell.",
    ]
    return "\n".join(lines)


def _scores(evaluations: dict[str, Evaluation]) -> tuple[list[str], list[list[str]]]:
    header = [
        "system",
        "score",
        "input",
        "output",
        "improvement",
        "95 % interval",
        "worse",
        "items",
        "NaN",
    ]
    rows = [
        [label, metric.label, *_scores_of(evaluation, metric)]
        for label, evaluation in evaluations.items()
        for metric in of_speech(evaluation)
    ]
    return header, rows


def _scores_of(evaluation: Evaluation, metric: Metric) -> list[str]:
    parts = {kind: evaluation.summary(metric.name, kind) for kind in ("input", "output", "improvement")}
    gain = parts["improvement"]
    worse = f"{gain.share_worse:.0%}" if math.isfinite(gain.share_worse) else "-"
    return [
        number(parts["input"].mean, metric.digits),
        number(parts["output"].mean, metric.digits),
        number(gain.mean, metric.digits, signed=True),
        _interval(gain.low, gain.high, metric),
        worse,
        str(parts["output"].n),
        str(parts["output"].n_nan),
    ]


def _by_stratum(
    strata: Sequence[str], evaluations: dict[str, Evaluation]
) -> tuple[list[str], list[list[str]]]:
    """Improvements of the kinds of items that are reported apart, below the scores of their inputs."""
    first = max(evaluations.values(), key=lambda evaluation: len(evaluation.rows))
    metrics = of_speech(first)
    header = ["improvement", "items", "n", *(metric.label for metric in metrics)]
    rows = []
    for name in strata:
        part = only(first, name)
        inputs = [number(part.summary(metric.name, "input").mean, metric.digits) for metric in metrics]
        rows.append(["(score of the input)", name, str(len(part.rows)), *inputs])
    for label, evaluation in evaluations.items():
        for name in strata:
            part = only(evaluation, name)
            cells = [_gain(part, metric) for metric in metrics]
            rows.append([label, name, str(len(part.rows)), *cells])
    return header, rows


def _gain(evaluation: Evaluation, metric: Metric) -> str:
    gain = evaluation.summary(metric.name, "improvement")
    if not math.isfinite(gain.mean):
        return "-"
    worse = f", {gain.share_worse:.0%} worse" if math.isfinite(gain.share_worse) else ""
    return f"{number(gain.mean, metric.digits, True)} ({_interval(gain.low, gain.high, metric)}{worse})"


def _interval(low: float, high: float, metric: Metric) -> str:
    if not math.isfinite(low):
        return "-"
    return f"{number(low, metric.digits, True)} to {number(high, metric.digits, True)}"


def _rooms(found: ItemList, scores: Sequence[SystemScores]) -> tuple[list[str], list[list[str]]] | None:
    """Errors of the rooms that were estimated, all together and by kind; None where none was."""
    header = ["room", "items", "n", "T60 error (s)", "bias (s)", "n", "DRR error (dB)", "n"]
    kinds = {item.id: item.response for item in found.items}
    names = list(dict.fromkeys(kinds.values()))
    rows = []
    for system in scores:
        facts = {row.id: system.facts.get(row.id, {}) for row in system.rows}
        for kind in (None, *(names if len(names) > 1 else ())):
            errors = room_errors(row for name, row in facts.items() if kind in (None, kinds[name]))
            if errors is not None:
                rows.append([system.label, kind or "all", *_room_cells(errors)])
    return (header, rows) if rows else None


def _room_cells(errors: RoomErrors) -> list[str]:
    return [
        str(errors.n),
        number(errors.rt60_error_s, 3),
        number(errors.rt60_bias_s, 3, signed=True),
        str(errors.n_rt60),
        number(errors.drr_error_db, 2),
        str(errors.n_drr),
    ]


def _cost(scores: Sequence[SystemScores]) -> tuple[list[str], list[list[str]]]:
    header = ["system", "estimates", "missing", "unusable", "real-time factor", "network calls", "memory MiB"]
    return header, [_cost_of(system) for system in scores]


def _cost_of(system: SystemScores) -> list[str]:
    """Median of the real-time factor, means of the calls, largest memory."""
    ids = [row.id for row in system.rows]
    facts = [system.facts[name] for name in ids if name in system.facts]

    def values(name: str) -> list[float]:
        return [float(row[name]) for row in facts if row.get(name) is not None]

    rtf, calls, memory = values("rtf"), values("calls"), values("memory_mib")
    return [
        system.label,
        f"{len(system.rows) + len(system.failed)} of {system.n_items}",
        str(len(system.missing)),
        str(len(system.failed)),
        number(float(np.median(rtf)), 3) if rtf else "-",
        f"{np.mean(calls):.0f}" if calls else "-",
        f"{max(memory):.0f}" if memory else "-",
    ]


def _block(title: str, problems: dict[str, str]) -> str:
    lines = [f"  {name}{f': {reason}' if reason else ''}" for name, reason in problems.items()]
    more = [f"  ... and {len(lines) - _N_SHOWN} more"] if len(lines) > _N_SHOWN else []
    return "\n".join([f"{title} ({len(lines)}):", *lines[:_N_SHOWN], *more])
