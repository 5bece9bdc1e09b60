"""Statistics of scores that may be NaN, and tables for the terminal and for documents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Summary:
    """Statistics over the finite values; all NaN when there is none.

    Attributes:
        n: Finite values.
        n_nan: Values that are not finite and enter no statistic.
        mean: Mean.
        median: Median.
        worst: Smallest value (higher is better for every score here).
        low: Lower end of the 95 % bootstrap interval of the mean; NaN for fewer than two values.
        high: Upper end.
        n_negative: Values below zero: for improvements, the items made worse.
    """

    n: int
    n_nan: int
    mean: float
    median: float
    worst: float
    low: float
    high: float
    n_negative: int

    @property
    def share_negative(self) -> float:
        """`n_negative / n`; NaN when there is no value."""
        return self.n_negative / self.n if self.n else math.nan


def summarise(values: Sequence[float]) -> Summary:
    """Statistics of scores, NaN left out and counted."""
    array = np.asarray(values, dtype=np.float64)
    finite = array[np.isfinite(array)]
    n_nan = len(array) - len(finite)
    if len(finite) == 0:
        return Summary(0, n_nan, math.nan, math.nan, math.nan, math.nan, math.nan, 0)
    low, high = bootstrap_interval(finite.tolist())
    return Summary(
        n=len(finite),
        n_nan=n_nan,
        mean=float(finite.mean()),
        median=float(np.median(finite)),
        worst=float(finite.min()),
        low=low,
        high=high,
        n_negative=int((finite < 0).sum()),
    )


def bootstrap_interval(
    values: Sequence[float], coverage: float = 0.95, n_resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean.

    Args:
        values: Finite values, one per independent item.
        coverage: Probability inside the interval.
        n_resamples: Number of resampled means.
        seed: Of the resampling; the same values and seed give the same interval.

    Returns:
        Lower and upper end; NaN for fewer than two values.

    References:
        Efron 1979, "Bootstrap methods: another look at the jackknife".
    """
    if len(values) < 2:
        return math.nan, math.nan
    array, rng = np.asarray(values, dtype=np.float64), np.random.default_rng(seed)
    means = [array[rng.integers(len(array), size=len(array))].mean() for _ in range(n_resamples)]
    low, high = np.quantile(means, [(1 - coverage) / 2, (1 + coverage) / 2])
    return float(low), float(high)


def number(value: float, digits: int, signed: bool = False) -> str:
    """A fixed number of decimals; `-` for NaN."""
    if not math.isfinite(value):
        return "-"
    return f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns padded to one width: the first flush left, the others flush right."""
    widths = [max(len(line[i]) for line in (header, *rows)) for i in range(len(header))]
    return "\n".join(_padded(line, widths) for line in (header, *rows))


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same table for documents."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in (header, rule, *rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


def _padded(line: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = [
        cell.rjust(width) if i else cell.ljust(width)
        for i, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]
    return "  ".join([first, *others]).rstrip()
