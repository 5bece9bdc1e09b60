"""Who speaks in which item."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from diffsr.benchmark.spread import Pick, family, pairs, singles
from diffsr.io.manifest import Utterance


def corpus(name: str | None, talkers: int, files: int) -> list[Utterance]:
    return [
        Utterance(f"{name}/{t}/{n}", Path("x"), speaker=f"{name}-{t}", corpus=name)
        for t in range(talkers)
        for n in range(files)
    ]


def uses_of_files(picks: list[Pick]) -> Counter[str]:
    return Counter(utterance.id for pick in picks for utterance in pick.utterances)


def uses_of_talkers(picks: list[Pick]) -> Counter[str]:
    return Counter(str(utterance.speaker) for pick in picks for utterance in pick.utterances)


def test_a_corpus_goes_by_the_first_word_of_its_name():
    assert family("LibriSpeech train-clean-100") == family("librispeech test-other") == "librispeech"
    assert family("LibriTTS") != family("LibriSpeech")
    assert family(None) == family("") == ""


@pytest.mark.parametrize("seed", range(5))
def test_every_talker_comes_once_before_any_comes_twice(seed):
    picks = singles(corpus("a", 5, 3) + corpus("b", 1, 1), 13, np.random.default_rng(seed))
    assert len({pick.utterances[0].speaker for pick in picks[:6]}) == 6
    talkers = uses_of_talkers(picks)
    assert talkers["b-0"] == 2  # its only file may stand in no more than two items
    assert {talkers[f"a-{t}"] for t in range(5)} == {2, 3}
    assert max(uses_of_files(picks).values()) == 2
    assert all(pick.pair is None for pick in picks)


def test_singles_end_where_the_files_end():
    picks = singles(corpus("a", 2, 2), 50, np.random.default_rng(0))
    assert len(picks) == 8
    assert set(uses_of_files(picks).values()) == {2}


@pytest.mark.parametrize("seed", range(5))
def test_pairs_are_half_within_and_half_across(seed):
    utterances = corpus("a x", 6, 1) + corpus("A y", 2, 4) + corpus("b", 4, 2) + corpus("c", 1, 1)
    picks = pairs(utterances, 20, np.random.default_rng(seed))
    assert Counter(pick.pair for pick in picks) == {"within": 10, "across": 10}
    for pick in picks:
        first, second = pick.utterances
        assert first.speaker != second.speaker
        assert (family(first.corpus) == family(second.corpus)) == (pick.pair == "within")
    assert max(uses_of_files(picks).values()) <= 2
    assert len(uses_of_talkers(picks)) == 13
    assert (
        len({frozenset(u.speaker for u in pick.utterances) for pick in picks}) >= 18
    )  # hardly a pair meets twice


def test_talkers_of_pairs_are_spread():
    picks = pairs(corpus("a", 20, 2) + corpus("b", 20, 2), 20, np.random.default_rng(1))
    assert set(uses_of_talkers(picks).values()) == {1}


def test_either_talker_is_the_first():
    picks = pairs(corpus("a", 30, 1) + corpus("b", 30, 1), 20, np.random.default_rng(1))
    first = [family(pick.utterances[0].corpus) for pick in picks if pick.pair == "across"]
    assert set(first) == {"a", "b"}


def test_where_the_files_do_not_suffice_the_halves_stay():
    # 8 slots in a and 20 in b: across takes n of each, within the rest.
    picks = pairs(corpus("a", 4, 1) + corpus("b", 5, 2), 50, np.random.default_rng(0))
    counts = Counter(pick.pair for pick in picks)
    assert abs(counts["within"] - counts["across"]) <= 1
    assert counts["across"] in (6, 7)
    assert max(uses_of_files(picks).values()) <= 2


@pytest.mark.parametrize(
    ("utterances", "kinds"),
    [
        (corpus("a", 6, 1), {"within"}),
        (corpus(None, 6, 1), {"within"}),
        (corpus("a", 1, 3) + corpus("b", 1, 3), {"across"}),
    ],
)
def test_one_kind_alone_where_the_corpora_give_no_other(utterances, kinds):
    picks = pairs(utterances, 4, np.random.default_rng(0))
    assert len(picks) == 4
    assert {pick.pair for pick in picks} == kinds


def test_no_pairs_without_two_labelled_talkers():
    unlabelled = [Utterance(str(n), Path("x")) for n in range(9)]
    assert pairs(unlabelled, 4, np.random.default_rng(0)) == []
    assert pairs(corpus("a", 1, 9), 4, np.random.default_rng(0)) == []
    assert len(singles(unlabelled, 4, np.random.default_rng(0))) == 4


def test_thousands_of_talkers_can_be_paired():  # all their pairs would take hours
    picks = pairs(corpus("a", 3000, 1) + corpus("b", 3000, 1), 50, np.random.default_rng(0))
    assert len(picks) == 50
