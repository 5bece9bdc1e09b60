"""Trials and the equal error rate, against cases worked out by hand and an independent one."""

from __future__ import annotations

import math

import pytest
import torch

from diffsr.speakers.loss import contrast
from diffsr.speakers.verification import Trials, equal_error_rate, interval_of, trials


@pytest.mark.parametrize(
    ("score", "same", "expected"),
    [
        ([0.9, 0.8, 0.2, 0.1], [True, True, False, False], 0.0),
        ([0.1, 0.2, 0.8, 0.9], [True, True, False, False], 1.0),
        ([0.9, 0.6, 0.7, 0.1], [True, True, False, False], 0.5),
        ([0.5] * 6, [True] * 2 + [False] * 4, 0.5),
        ([0.9, 0.8, 0.7, 0.3, 0.4, 0.2, 0.1, 0.0], [True] * 4 + [False] * 4, 0.25),
    ],
)
def test_small_cases(score, same, expected):
    assert equal_error_rate(torch.tensor(score), torch.tensor(same)) == pytest.approx(expected)


def test_two_normal_distributions():
    """Scores N(0, 1) and N(2, 1) cross at 1: the error is that of one standard deviation."""
    rng = torch.Generator().manual_seed(0)
    score = torch.randn(200_000, generator=rng)
    same = torch.arange(200_000) % 4 == 0
    expected = 0.5 * math.erfc(1 / math.sqrt(2))
    assert equal_error_rate(score + 2 * same, same) == pytest.approx(expected, abs=0.003)


def test_weights_count_like_repetitions():
    rng = torch.Generator().manual_seed(0)
    score, same = torch.randn(50, generator=rng), torch.rand(50, generator=rng) < 0.4
    weight = torch.randint(0, 4, (50,), generator=rng)
    repeated = equal_error_rate(score.repeat_interleave(weight), same.repeat_interleave(weight))
    assert equal_error_rate(score, same, weight) == pytest.approx(repeated)


def test_one_kind_of_pairs_has_no_error_rate():
    assert math.isnan(equal_error_rate(torch.rand(3), torch.tensor([True] * 3)))


def test_trials_stay_within_a_corpus():
    embedding = torch.eye(5)
    found = trials(embedding, embedding, ["a", "a", "b", "c", "c"], ["x", "x", "x", "y", "y"])
    assert len(found.score) == 3 + 1
    assert (found.first == found.second).tolist() == [True, False, False, True]


def test_the_interval_holds_the_error():
    rng = torch.Generator().manual_seed(0)
    talkers = [str(number // 4) for number in range(80)]
    voice = torch.randn(20, 8, generator=rng).repeat_interleave(4, 0)
    embedding = torch.nn.functional.normalize(voice + torch.randn(80, 8, generator=rng), dim=-1)
    found = trials(embedding, embedding, talkers, ["x"] * 80)
    low, high = found.interval()
    assert low < found.error < high
    assert 0 < high - low < 0.3


def test_contrast_is_low_where_talkers_are_found():
    embedding = torch.eye(4)
    assert float(contrast(embedding, embedding, torch.arange(4))) < 1e-3
    assert float(contrast(embedding, embedding.roll(1, 0), torch.arange(4))) > 10


def test_contrast_does_not_push_a_talker_from_itself():
    """Two crops of one talker in a batch: their references are no wrong answers."""
    embedding = torch.eye(3)[[0, 0, 1]]
    assert float(contrast(embedding, embedding, torch.tensor([7, 7, 2]))) < 1e-3


def test_trials_of_the_same_talkers_are_drawn_alike():
    """So that two encoders differ on the same talkers: scores in the same order say the same."""
    rng = torch.Generator().manual_seed(0)
    embedding = torch.nn.functional.normalize(torch.randn(40, 4, generator=rng), dim=-1)
    talkers = [str(number // 4) for number in range(40)]
    found = trials(embedding, embedding, talkers, [None] * 40)
    other = Trials(2 * found.score - 1, found.first, found.second)
    assert torch.equal(found.drawn_errors(50), other.drawn_errors(50))
    assert not torch.equal(found.drawn_errors(50), other.drawn_errors(50, seed=1))
    assert found.interval(50) == interval_of(found.drawn_errors(50))
