"""Which scores and kinds of items stand in which table, and the table of how talkers were separated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from diffsr.benchmark.items import ItemList, count_strata
from diffsr.evaluation.metrics import ALL_METRICS, TALKER_METRICS, Metric
from diffsr.evaluation.results import Evaluation
from diffsr.evaluation.tables import number

_KINDS = ("pair", "response", "sexes")
_COLUMNS = {
    "si_sdr_db": "as separated",
    "si_sdr_1000ms_db": "pieces of 1 s",
    "si_sdr_250ms_db": "250 ms",
    "si_sdr_64ms_db": "64 ms",
    "piecewise_gap_db": "gap",
    "swaps_per_min": "swaps per minute",
}


def strata_of(found: ItemList, evaluations: Iterable[Evaluation]) -> list[str]:
    """Kinds of items that are reported apart: pairs, rooms, and the sexes of several talkers where known."""
    sexes = {str(row.parameters.get("sexes") or "") for part in evaluations for row in part.rows}
    return [*count_strata(found), *(sorted(sexes - {""}) if len(sexes) > 1 else [])]


def only(evaluation: Evaluation, stratum: str) -> Evaluation:
    """The items of a kind."""
    return evaluation.where(lambda row: stratum in [row.parameters.get(kind) for kind in _KINDS])


def of_speech(evaluation: Evaluation) -> list[Metric]:
    """The scores that are about each talker alone."""
    return [metric for metric in evaluation.metrics if metric.name not in TALKER_METRICS]


def talker_table(
    strata: Sequence[str], evaluations: Mapping[str, Evaluation]
) -> tuple[list[str], list[list[str]]] | None:
    """Local errors apart from identity errors; None where no item was scored so.

    Mean improvements of SI-SDR over the mixture, as separated and with pieces in the best order, what the
    order costs (gap), and how often it changes.
    """
    names = {metric.name for evaluation in evaluations.values() for metric in evaluation.metrics}
    columns = {name: label for name, label in _COLUMNS.items() if name in names}
    if not names & set(TALKER_METRICS):
        return None
    header = ["SI-SDR improvement (dB)", "items", "n", *columns.values()]
    rows = []
    for label, evaluation in evaluations.items():
        for kind in (None, *strata):
            part = evaluation if kind is None else only(evaluation, kind)
            cells = [_cell(part, name) for name in columns]
            rows.append([label, kind or "all", str(len(part.rows)), *cells])
    return header, rows


def _cell(evaluation: Evaluation, name: str) -> str:
    metric = ALL_METRICS[name]
    is_gain = metric.better == "higher"
    mean = evaluation.summary(name, "improvement" if is_gain else "output").mean
    return number(mean, metric.digits, signed=is_gain)
