"""Statistics of scores that may be NaN, and tables for the terminal and for documents."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROUNDING = 1e-4
"""A smaller change of a score is rounding: the same wave read from two files can differ by that much."""


@dataclass(frozen=True)
class Summary:
    """Statistics over the finite values; all NaN when there is none.

    Attributes:
        n: Finite values.
        n_nan: Values that are not finite and enter no statistic.
        mean: Mean.
        median: Median.
        worst: Smallest value, or largest where lower is better.
        low: Lower end of the 95 % bootstrap interval of the mean; NaN for fewer than two values or groups.
        high: Upper end.
        n_worse: Of improvements, the items made worse: values below -1e-4, and `n_lost` items.
        n_compared: Items that could have been made worse: `n` and the lost ones.
    """

    n: int
    n_nan: int
    mean: float
    median: float
    worst: float
    low: float
    high: float
    n_worse: int
    n_compared: int

    @property
    def share_worse(self) -> float:
        """`n_worse / n_compared`, the failure rate; NaN when nothing was compared."""
        return self.n_worse / self.n_compared if self.n_compared else math.nan


def summarise(
    values: Sequence[float],
    groups: Sequence[Sequence[str]] | None = None,
    higher_is_better: bool = True,
    n_lost: int = 0,
) -> Summary:
    """Statistics of scores, NaN left out and counted.

    Args:
        values: One per item.
        groups: What each item shares with others, see `bootstrap_interval`.
        higher_is_better: Which end is the worst.
        n_lost: Items among the NaN that had a score before and have none now.
    """
    array = np.asarray(values, dtype=np.float64)
    is_finite = np.isfinite(array)
    finite = array[is_finite]
    n_nan, nan = len(array) - len(finite), math.nan
    if len(finite) == 0:
        return Summary(0, n_nan, nan, nan, nan, nan, nan, n_lost, n_lost)
    kept = None if groups is None else [group for group, keep in zip(groups, is_finite, strict=True) if keep]
    low, high = bootstrap_interval(finite.tolist(), groups=kept)
    return Summary(
        n=len(finite),
        n_nan=n_nan,
        mean=float(finite.mean()),
        median=float(np.median(finite)),
        worst=float(finite.min() if higher_is_better else finite.max()),
        low=low,
        high=high,
        n_worse=int((finite < -ROUNDING).sum()) + n_lost,
        n_compared=len(finite) + n_lost,
    )


def bootstrap_interval(
    values: Sequence[float],
    coverage: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
    groups: Sequence[Sequence[str]] | None = None,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean.

    Items of one talker are not independent. With `groups` the talkers are drawn instead of the items,
    and an item counts as often as the product of the draws of its talkers (two for a mixture of two).

    Args:
        values: Finite values, one an item.
        coverage: Probability inside the interval.
        n_resamples: Number of resampled means.
        seed: Of the resampling; the same values, groups and seed give the same interval.
        groups: Names of the groups of each item; an item without a name is a group of its own.

    Returns:
        Lower and upper end; NaN for fewer than two values or groups, or where all items have the same ones.

    References:
        Efron 1979, "Bootstrap methods: another look at the jackknife"; for items with several groups
        Davezies et al. 2021, "Empirical process results for exchangeable arrays", arXiv:1906.11293.
    """
    array, rng = np.asarray(values, dtype=np.float64), np.random.default_rng(seed)
    places, n_groups = _places(groups if groups is not None else [()] * len(array))
    alike = len({tuple(sorted(row)) for row in places.tolist()}) < 2  # every draw would weigh them equally
    if len(array) < 2 or n_groups < 2 or alike:
        return math.nan, math.nan
    draws = (rng.integers(n_groups, size=n_groups) for _ in range(n_resamples))
    counts = np.stack([np.bincount(draw, minlength=n_groups + 1) for draw in draws]).astype(np.float64)
    counts[:, n_groups] = 1  # stands for no further group
    weights = np.prod([counts[:, column] for column in places.T], axis=0)
    weights = weights[weights.sum(axis=1) > 0]  # no item has all its talkers in some draws of few talkers
    means = weights @ array / weights.sum(axis=1)
    low, high = np.quantile(means, [(1 - coverage) / 2, (1 + coverage) / 2])
    return float(low), float(high)


def number(value: float, digits: int, signed: bool = False) -> str:
    """A fixed number of decimals; `-` for NaN."""
    if not math.isfinite(value):
        return "-"
    value = round(value, digits) + 0.0  # no negative zero
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


def latex_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same table for papers, in the rules of the package booktabs."""
    lines = [" & ".join(map(_latex, line)) + r" \\" for line in (header, *rows)]
    columns = "l" + "r" * (len(header) - 1)
    begin = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", lines[0], r"\midrule"]
    return "\n".join([*begin, *lines[1:], r"\bottomrule", r"\end{tabular}"])


def _latex(cell: str) -> str:
    """A cell with what means something to LaTeX escaped, and a minus for a hyphen before digits."""
    escaped = re.sub(r"([&%$#_{}])", r"\\\1", cell)
    return re.sub(r"(?<![\w.])-(?=\d)", "$-$", escaped)


def _places(groups: Sequence[Sequence[str]]) -> tuple[NDArray[np.int64], int]:
    """Numbers of the groups of each item, [items, most groups of an item], and how many groups there are.

    An item without a name is a group of its own; rows are filled up with the count of groups.
    """
    names: list[list[str | int]] = [list(dict.fromkeys(group)) or [item] for item, group in enumerate(groups)]
    numbers = {name: i for i, name in enumerate(dict.fromkeys(name for group in names for name in group))}
    width = max((len(group) for group in names), default=1)
    rows = [[numbers[name] for name in group] + [len(numbers)] * (width - len(group)) for group in names]
    return np.array(rows, dtype=np.int64).reshape(len(names), width), len(numbers)


def _padded(line: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = [
        cell.rjust(width) if i else cell.ljust(width)
        for i, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]
    return "  ".join([first, *others]).rstrip()
