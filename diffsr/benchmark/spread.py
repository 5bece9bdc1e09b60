"""Who speaks in which item: talkers and files used as evenly as the rules allow."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from diffsr.benchmark.tracks import MAX_USES
from diffsr.io.manifest import Utterance

_T = TypeVar("_T")
_ATTEMPTS = 20
WITHIN, ACROSS = "within", "across"


@dataclass(frozen=True)
class Pick:
    """Utterances of one item, one a talker, and whether a pair is `within` or `across` corpora."""

    utterances: tuple[Utterance, ...]
    pair: str | None = None


def family(corpus: str | None) -> str:
    """What counts as one corpus: the first word of its name, whatever its case.

    `LibriSpeech train-clean-100` and `LibriSpeech test-other` are one. Rows without a corpus are one too.
    """
    words = (corpus or "").split()
    return words[0].casefold() if words else ""


def singles(utterances: Sequence[Utterance], n_items: int, rng: np.random.Generator) -> list[Pick]:
    """One talker an item: every talker comes once before any comes twice, then every file."""
    talkers = _talkers(utterances)
    picks = []
    for _ in range(n_items):
        free = [talker for talker in talkers if talker.n_left]
        if not free:
            break
        least = min(talker.n_used for talker in free)
        talker = _one_of([talker for talker in free if talker.n_used == least], rng)
        picks.append(Pick((talker.take(rng),)))
    return picks


def pairs(utterances: Sequence[Utterance], n_items: int, rng: np.random.Generator) -> list[Pick]:
    """Two talkers an item, half of the pairs from within one corpus, half across corpora.

    No pair meets twice where that is possible. With one corpus alone all pairs are within; where each
    corpus has one talker, all are across. Where the files do not suffice for `n_items`, as many as they
    allow. Utterances without a talker are left out: nobody knows whether two of them are of one person.
    """
    utterances = [utterance for utterance in utterances if utterance.speaker is not None]
    for n in range(min(n_items, len(utterances) * MAX_USES // 2), 0, -1):
        best: list[Pick] | None = None
        for _ in range(_ATTEMPTS):
            talkers = _enough(_talkers(utterances), 2 * n, rng)
            kinds = _kinds(talkers, n)
            if not _suffices(talkers, kinds):
                break
            picks = _fill(talkers, kinds, rng)
            if picks is not None and (best is None or _n_repeated(picks) < _n_repeated(best)):
                best = picks
            if best is not None and _n_repeated(best) == 0:
                break
        if best is not None:
            return best
    return []


def _n_repeated(picks: Sequence[Pick]) -> int:
    """Pairs of talkers that have met before."""
    return len(picks) - len({frozenset(item.speaker for item in pick.utterances) for pick in picks})


@dataclass(eq=False)
class _Talker:
    """How often each file of a talker was used."""

    name: str
    family: str
    files: list[Utterance]
    uses: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.uses = [0] * len(self.files)

    @property
    def n_used(self) -> int:
        return sum(self.uses)

    @property
    def n_left(self) -> int:
        return MAX_USES * len(self.files) - self.n_used

    @property
    def share_used(self) -> float:
        return self.n_used / (MAX_USES * len(self.files))

    def take(self, rng: np.random.Generator) -> Utterance:
        """One of the files that were used least."""
        least = min(self.uses)
        number = _one_of([i for i, uses in enumerate(self.uses) if uses == least], rng)
        self.uses[number] += 1
        return self.files[number]


def _talkers(utterances: Iterable[Utterance]) -> list[_Talker]:
    """Talkers in the order of their names; an utterance without a label is a talker of its own."""
    files: dict[tuple[str, str], list[Utterance]] = {}
    for utterance in sorted(utterances, key=lambda item: item.id):
        key = (utterance.speaker or utterance.id, family(utterance.corpus))
        files.setdefault(key, []).append(utterance)
    return [_Talker(name, corpus, found) for (name, corpus), found in sorted(files.items())]


def _enough(talkers: Sequence[_Talker], n_most: int, rng: np.random.Generator) -> list[_Talker]:
    """At most so many talkers, from the corpora in turn: thousands of talkers have millions of pairs."""
    turn: Counter[str] = Counter()
    order: list[tuple[int, int, int]] = []
    for number in rng.permutation(len(talkers)):
        turn[talkers[number].family] += 1
        order.append((turn[talkers[number].family], len(order), int(number)))
    return [talkers[number] for number in sorted(number for *_, number in sorted(order)[:n_most])]


def _kinds(talkers: Sequence[_Talker], n_items: int) -> list[str]:
    """Kinds of the pairs in turn, those that the corpora can give."""
    counts = Counter(talker.family for talker in talkers)
    kinds = [ACROSS] if len(counts) > 1 else []
    kinds += [WITHIN] if max(counts.values()) > 1 else []
    return list(itertools.islice(itertools.cycle(kinds), n_items)) if kinds else []


def _fill(talkers: Sequence[_Talker], kinds: Sequence[str], rng: np.random.Generator) -> list[Pick] | None:
    """A pair of each kind in turn; None when it ends in a corner."""
    picks = []
    met: Counter[tuple[str, str]] = Counter()
    for number, kind in enumerate(kinds):
        for pair in _ranked(talkers, kind, met, rng):
            if _suffices(talkers, kinds[number + 1 :], pair):
                break
        else:
            return None
        met[pair[0].name, pair[1].name] += 1
        chosen = [talker.take(rng) for talker in pair]
        first = int(rng.integers(2))  # talker 1 is the louder one
        picks.append(Pick((chosen[first], chosen[1 - first]), kind))
    return picks


def _ranked(
    talkers: Sequence[_Talker], kind: str, met: Counter[tuple[str, str]], rng: np.random.Generator
) -> Iterator[tuple[_Talker, _Talker]]:
    """Pairs of a kind: those that have not met, then who have not spoken, with most left, by chance.

    With the last rule talkers with many files meet others from the start, and not one another at the end.
    """
    found = [
        (a, b)
        for a, b in itertools.combinations([talker for talker in talkers if talker.n_left], 2)
        if (a.family == b.family) == (kind == WITHIN) and a.name != b.name
    ]
    order = rng.permutation(len(found))

    def rank(number: int) -> tuple[int, int, float, int]:
        a, b = found[number]
        n_spoken = (a.n_used > 0) + (b.n_used > 0)
        return met[a.name, b.name], n_spoken, a.share_used + b.share_used, int(order[number])

    return (found[number] for number in sorted(range(len(found)), key=rank))


def _suffices(talkers: Sequence[_Talker], kinds: Sequence[str], taken: Sequence[_Talker] = ()) -> bool:
    """Whether what is left of the corpora, without one file of each in `taken`, can give these pairs."""
    left: Counter[str] = Counter()
    for talker in talkers:
        left[talker.family] += talker.n_left
    left.subtract(talker.family for talker in taken)
    for _ in range(kinds.count(ACROSS)):
        largest = left.most_common(2)
        if len(largest) < 2 or largest[1][1] < 1:
            return False
        left.subtract(name for name, _ in largest)
    n_talkers = Counter(talker.family for talker in talkers)
    return sum(n // 2 for name, n in left.items() if n_talkers[name] > 1) >= kinds.count(WITHIN)


def _one_of(choices: Sequence[_T], rng: np.random.Generator) -> _T:
    return choices[int(rng.integers(len(choices)))]
