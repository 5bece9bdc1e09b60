"""Draws plans of crops out of a corpus."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from data_modules.corpus import Corpus
from data_modules.plans import UNCHANGED, Passage, Piece, Plan
from diffsr.signal.levels import from_db
from diffsr.signal.shaping import N_TERMS, SPEEDS, length_at

PAUSE_S = (0.1, 0.6)
"""Pauses between joined utterances."""
_VALID_STREAM = 2**32 - 1
_REFERENCE_STREAM = 1
_CHANGED_SPEEDS = [index for index in range(len(SPEEDS)) if index != UNCHANGED]


@dataclass(frozen=True)
class Augmentation:
    """How training crops are varied.

    Attributes:
        gain_db: Gain of at most this many dB up or down, uniform in dB.
        speed_share: Share of the crops that are played at another of the `SPEEDS`.
        equaliser_db: Bound on the gain of the random equaliser.
        polarity: Whether half of the crops are turned over.
    """

    gain_db: float = 6.0
    speed_share: float = 0.5
    equaliser_db: float = 3.0
    polarity: bool = True


class Planner:
    """Plans crops of one length, each with a reference: another passage of the same talker.

    Every second of speech is equally likely. An utterance shorter than the crop is joined with others of
    its talker, with pauses of 0.1-0.6 s; none comes again before all have been used. Without a label, or
    where the talker has nothing else, it is placed at a random offset. Nothing wraps around and talkers are
    never mixed.

    The reference comes from utterances of a labelled talker that are not in the crop. Where the talker has
    only one utterance, or no label, it is the part before or after the crop, if that has at least half its
    length. Otherwise there is none.
    """

    def __init__(self, corpus: Corpus, rate_hz: int, n_samples: int, n_reference: int = 0) -> None:
        """Index the corpus; lengths of the crop and of the reference are in samples, 0 for no reference."""
        self.rate_hz, self.n_samples, self.n_reference = rate_hz, n_samples, n_reference
        self.lengths = corpus.lengths.numpy()
        self.talkers = corpus.speakers.numpy()
        self._ends = np.cumsum(self.lengths)
        order = np.argsort(self.talkers, kind="stable")
        labels, starts = np.unique(self.talkers[order], return_index=True)
        groups = np.split(order, starts[1:])
        self._of_talker = {int(label): group for label, group in zip(labels, groups, strict=True)}

    def draw(self, key: tuple[int, ...], augmentation: Augmentation) -> Plan:
        """A random plan, a function of the key; augmentation changes nothing but what it names."""
        rng = np.random.default_rng(key)
        index = int(np.searchsorted(self._ends, rng.integers(self._ends[-1]), side="right"))
        faster, which = rng.random(), int(rng.integers(len(_CHANGED_SPEEDS)))
        speed = _CHANGED_SPEEDS[which] if faster < augmentation.speed_share else UNCHANGED
        manner = _manner(rng, augmentation)
        length_samples = length_at(SPEEDS[speed], self.n_samples)
        slack = int(self.lengths[index]) - length_samples
        start = int(rng.integers(slack + 1)) if slack >= 0 else None
        pieces = self._fill(index, self._others(index), length_samples, speed, rng) if start is None else None
        crop = Passage(pieces or self._cut(index, start or 0), pieces is not None, *manner)
        reference = self._reference(
            index, crop, length_samples, speed, (*key, _REFERENCE_STREAM), augmentation
        )
        return Plan(int(self.talkers[index]), speed, crop, reference)

    def fixed(self, index: int, start: int) -> Plan:
        """The plan of the crop of an utterance from sample `start` on, without any augmentation."""
        if self.lengths[index] >= self.n_samples:
            crop = Passage(self._cut(index, start))
        else:
            rng = np.random.default_rng((_VALID_STREAM, index))
            crop = Passage(self._fill(index, self._others(index), self.n_samples, UNCHANGED, rng), True)
        key = (_VALID_STREAM, index, start, _REFERENCE_STREAM)
        reference = self._reference(index, crop, self.n_samples, UNCHANGED, key, None)
        return Plan(int(self.talkers[index]), UNCHANGED, crop, reference)

    def _cut(self, index: int, start: int) -> list[Piece]:
        """Part of an utterance that is long enough."""
        return [Piece(index, 0, int(self.lengths[index]), -start)]

    def _fill(
        self, index: int, others: np.ndarray, length_samples: int, speed: int, rng: np.random.Generator
    ) -> list[Piece]:
        """An utterance that is too short, joined with others."""
        if len(others) == 0:
            return [self._whole(index, int(rng.integers(length_samples - self.lengths[index] + 1)))]
        # Up to half of the first utterance lies before the crop: not every crop starts with a beginning.
        position = -int(rng.integers(self.lengths[index] // 2 + 1))
        pieces = []
        for utterance in _cycle(index, others, rng):
            pieces.append(self._whole(utterance, position))
            pause_s = rng.uniform(*PAUSE_S) * SPEEDS[speed]
            position += int(self.lengths[utterance]) + round(pause_s * self.rate_hz)
            if position >= length_samples:
                break
        return pieces

    def _whole(self, index: int, position: int) -> Piece:
        return Piece(index, 0, int(self.lengths[index]), position)

    def _others(self, index: int) -> np.ndarray:
        """Other utterances of the labelled talker of one."""
        talker = int(self.talkers[index])
        if talker < 0:
            return np.array([], dtype=np.int64)
        group = self._of_talker[talker]
        return group[group != index]

    def _reference(
        self,
        index: int,
        crop: Passage,
        length_samples: int,
        speed: int,
        key: tuple[int, ...],
        augmentation: Augmentation | None,
    ) -> Passage:
        """Another passage of the talker of a crop, drawn from a stream of its own."""
        if self.n_reference == 0:
            return Passage([])
        rng = np.random.default_rng(key)
        gain, tilt = (1.0, None) if augmentation is None else _manner(rng, augmentation)
        wanted = length_at(SPEEDS[speed], self.n_reference)
        others = self._others(index)
        if len(others) == 0:
            pieces = self._rest(index, crop.pieces[0].position, length_samples, wanted, rng)
        else:
            unused = others[~np.isin(others, [piece.utterance for piece in crop.pieces])]
            pieces = self._any_of(unused, wanted, speed, rng)
        return Passage(pieces, True, gain, tilt)

    def _any_of(
        self, utterances: np.ndarray, length_samples: int, speed: int, rng: np.random.Generator
    ) -> list[Piece]:
        """A passage of some utterances of one talker, every second of them equally likely."""
        if len(utterances) == 0:
            return []
        ends = np.cumsum(self.lengths[utterances])
        index = int(utterances[np.searchsorted(ends, rng.integers(ends[-1]), side="right")])
        slack = int(self.lengths[index]) - length_samples
        if slack >= 0:
            return self._cut(index, int(rng.integers(slack + 1)))
        return self._fill(index, utterances[utterances != index], length_samples, speed, rng)

    def _rest(
        self, index: int, position: int, length_samples: int, wanted: int, rng: np.random.Generator
    ) -> list[Piece]:
        """What an utterance holds before or after a crop that begins `-position` samples into it."""
        total = int(self.lengths[index])
        sides = [(0, -position), (min(total, length_samples - position), total)]
        sides = [(first, stop) for first, stop in sides if 2 * (stop - first) >= wanted]
        if not sides:
            return []
        sizes = np.array([stop - first for first, stop in sides])
        first, stop = sides[int(np.searchsorted(sizes.cumsum(), rng.integers(sizes.sum()), side="right"))]
        slack = stop - first - wanted
        offset = int(rng.integers(abs(slack) + 1))
        return [Piece(index, first, stop, offset if slack < 0 else -offset)]


def _manner(rng: np.random.Generator, augmentation: Augmentation) -> tuple[float, np.ndarray | None]:
    """Gain with polarity, and equaliser; as many draws whatever is switched on."""
    gain = from_db(augmentation.gain_db * float(rng.uniform(-1.0, 1.0)))
    turned = bool(rng.random() < 0.5) and augmentation.polarity
    shape = rng.uniform(-1.0, 1.0, N_TERMS)
    # The sum of the magnitudes bounds the curve; the root favours audible ones.
    size = augmentation.equaliser_db * math.sqrt(rng.random()) / max(float(np.abs(shape).sum()), 1e-9)
    return -gain if turned else gain, shape * size if augmentation.equaliser_db > 0 else None


def _cycle(index: int, others: np.ndarray, rng: np.random.Generator) -> Iterator[int]:
    """`index`, then all others in random order, and again."""
    while True:
        yield index
        yield from (int(other) for other in rng.permutation(others))
