import math

import numpy as np
import pytest

from diffsr.evaluation.tables import (
    bootstrap_interval,
    latex_table,
    markdown_table,
    number,
    summarise,
    text_table,
)


def test_summary_leaves_nan_out_and_counts_it():
    found = summarise([1.0, math.nan, -2.0, 4.0, math.inf])
    assert (found.n, found.n_nan) == (3, 2)
    assert (found.mean, found.median, found.worst) == (1.0, 1.0, -2.0)
    assert (found.n_worse, found.share_worse) == (1, pytest.approx(1 / 3))
    assert found.low < found.mean < found.high


@pytest.mark.parametrize("values", [[], [math.nan, math.nan]])
def test_summary_of_nothing(values):
    found = summarise(values)
    assert (found.n, found.n_nan) == (0, len(values))
    assert all(math.isnan(x) for x in (found.mean, found.median, found.worst, found.low, found.share_worse))


def test_interval_is_repeatable_and_near_the_normal_one():
    values = np.random.default_rng(3).normal(2.0, 1.5, 100)
    low, high = bootstrap_interval(values)
    assert (low, high) == bootstrap_interval(values)
    half = 1.96 * values.std(ddof=1) / 10
    assert low == pytest.approx(values.mean() - half, abs=0.06)
    assert high == pytest.approx(values.mean() + half, abs=0.06)


def test_interval_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        low, high = bootstrap_interval(rng.normal(size=30), n_resamples=200)
        hits += low <= 0 <= high
    assert 0.87 <= hits / 200 <= 0.99


def test_interval_of_one_value_is_undefined():
    assert all(math.isnan(end) for end in bootstrap_interval([3.0]))
    assert math.isnan(summarise([3.0]).low)


def test_numbers_and_tables():
    assert (number(1.234, 2), number(1.234, 1, signed=True), number(math.nan, 2)) == ("1.23", "+1.2", "-")
    lines = text_table(["name", "x"], [["a", "1.00"], ["longer", "-"]]).splitlines()
    assert lines == ["name       x", "a       1.00", "longer     -"]
    assert markdown_table(["a|b", "x"], [["c", "1"]]).splitlines() == [
        "| a\\|b | x |",
        "| --- | ---: |",
        "| c | 1 |",
    ]


def test_interval_over_groups_is_that_of_the_group_means():
    """Four equal items of each talker carry no more than one: the interval must not shrink."""
    rng = np.random.default_rng(1)
    talkers = rng.normal(size=25)
    values, groups = np.repeat(talkers, 4), [(f"p{k}",) for k in range(25) for _ in range(4)]
    assert bootstrap_interval(values, groups=groups) == pytest.approx(bootstrap_interval(talkers), abs=1e-12)
    by_item = bootstrap_interval(values)
    by_talker = bootstrap_interval(values, groups=groups)
    assert by_talker[1] - by_talker[0] > 1.6 * (by_item[1] - by_item[0])
    assert bootstrap_interval(talkers, groups=[()] * 25) == bootstrap_interval(talkers)


def test_interval_over_pairs_of_talkers_covers_the_true_mean():
    """Items that are the sum of two talkers' effects, every talker in several items."""
    rng = np.random.default_rng(2)
    hits = {"items": 0, "talkers": 0}
    for _ in range(150):
        effects = rng.normal(size=20)
        pairs = [tuple(rng.choice(20, size=2, replace=False)) for _ in range(60)]
        values = [effects[a] + effects[b] + 0.2 * rng.normal() for a, b in pairs]
        for name, groups in (("items", None), ("talkers", [(f"p{a}", f"p{b}") for a, b in pairs])):
            low, high = bootstrap_interval(values, n_resamples=200, groups=groups)
            hits[name] += low <= 0 <= high
    assert 0.87 <= hits["talkers"] / 150 <= 1
    assert hits["items"] / 150 < 0.8  # what resampling of items would claim to be 95 %


def test_interval_of_one_talker_is_undefined():
    assert all(math.isnan(end) for end in bootstrap_interval([1.0, 2.0, 3.0], groups=[("p",)] * 3))


@pytest.mark.parametrize("groups", [[("p", "q")] * 3, [("p", "q"), ("q", "p"), ("p", "q")]])
def test_interval_of_one_pair_of_talkers_is_undefined(groups):
    assert all(math.isnan(end) for end in bootstrap_interval([1.0, 5.0, 9.0], groups=groups))
    low, high = bootstrap_interval([1.0, 5.0, 9.0], groups=[*groups[:2], ("p", "r")])
    assert low < 5 < high


def test_summary_where_lower_is_better_and_with_lost_items():
    found = summarise([0.1, math.nan, 0.4], higher_is_better=False)
    assert (found.worst, found.n_worse, found.n_compared) == (0.4, 0, 2)
    lost = summarise([1.0, math.nan, -1.0], n_lost=1)
    assert (lost.n_worse, lost.n_compared, lost.n) == (2, 3, 2)
    assert summarise([math.nan], n_lost=1).share_worse == 1.0


def test_rounding_makes_nothing_worse_and_there_is_no_negative_zero():
    assert summarise([-2e-5, -4e-7, 0.0, 1.0, -0.01]).n_worse == 1
    assert number(-0.0004, 2) == "0.00"
    assert number(-0.0004, 2, signed=True) == "+0.00"
    assert number(-0.006, 2, signed=True) == "-0.01"


def test_interval_is_its_definition():
    """Talkers are drawn one by one; an item counts as often as all of its talkers together."""
    values, groups = [1.0, 2.0, 4.0, 7.0], [("a",), ("a", "b"), ("b", "c"), ("c",)]
    rng, means = np.random.default_rng(5), []
    for _ in range(50):
        drawn = np.array(["a", "b", "c"])[rng.integers(3, size=3)]
        weight = np.array([np.prod([(drawn == name).sum() for name in names]) for names in groups])
        means += [(weight * values).sum() / weight.sum()] if weight.sum() else []
    found = bootstrap_interval(values, groups=groups, n_resamples=50, seed=5)
    assert found == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=1e-12)


def test_a_table_for_papers_compiles_as_it_stands():
    lines = latex_table(
        ["metric", "mean_db"], [["SI-SDR (dB)", "-1.5"], ["worse & more", "+2 (5%)"]]
    ).splitlines()
    assert lines == [
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"metric & mean\_db \\",
        r"\midrule",
        r"SI-SDR (dB) & $-$1.5 \\",
        r"worse \& more & +2 (5\%) \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]
