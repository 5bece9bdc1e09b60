"""Crops of speech: drawn at random for training, fixed for validation.

Crop `i` of epoch `e` is a pure function of (seed, e, i). It does not depend on the number of workers or
devices, on what was drawn before, or on whether training was interrupted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from data_modules.corpus import Corpus
from diffsr.signal.levels import active_rms, from_db

PAUSE_S = (0.1, 0.6)
"""Pauses between joined utterances."""
_FADE_S = 0.005
_VALID_STREAM = 2**32 - 1

Crop = dict[str, Tensor]
"""`wave`: float32 [T]; `speaker`: int64 scalar."""
_Start = tuple[int, int]  # utterance, first sample


class CropMaker:
    """Makes crops of one length and level out of a corpus.

    Every second of speech is equally likely. An utterance shorter than the crop is joined with others of
    its talker, each at the same active-speech level, with pauses of 0.1-0.6 s; none comes again before all
    have been used. Without a label, or where the talker has nothing else, it is zero-padded at a random
    offset. Nothing wraps around and talkers are never mixed.
    """

    def __init__(self, corpus: Corpus, rate_hz: int, n_samples: int, level: float) -> None:
        """Index the corpus.

        Args:
            corpus: The speech.
            rate_hz: Its rate.
            n_samples: Length of a crop.
            level: Active-speech RMS of the utterance that a crop is taken from.
        """
        self.corpus, self.rate_hz, self.n_samples, self.level = corpus, rate_hz, n_samples, level
        self.lengths = corpus.lengths.numpy()
        self.talkers = corpus.speakers.numpy()
        self._ends = np.cumsum(self.lengths)

    def draw(self, rng: np.random.Generator, gain_db: float) -> Crop:
        """A random crop with a random gain of at most +-`gain_db`."""
        index = int(np.searchsorted(self._ends, rng.integers(self._ends[-1]), side="right"))
        gain = from_db(float(rng.uniform(-gain_db, gain_db)))
        slack = int(self.lengths[index]) - self.n_samples
        wave = self.cut(index, int(rng.integers(slack + 1))) if slack >= 0 else self.fill(index, rng)
        return self._crop(index, wave * gain)

    def fixed(self, index: int, start: int) -> Crop:
        """The crop of an utterance that starts at sample `start`; the same at every call."""
        if self.lengths[index] >= self.n_samples:
            return self._crop(index, self.cut(index, start))
        return self._crop(index, self.fill(index, np.random.default_rng((_VALID_STREAM, index))))

    def cut(self, index: int, start: int) -> Tensor:
        """Part of an utterance that is long enough, at RMS 1."""
        return self.corpus.speech(index, start, start + self.n_samples)

    def is_speech(self, index: int, start: int) -> bool:
        """Whether the crop that starts there is not mostly a pause: at most 12 dB below its utterance."""
        return float(active_rms(self.cut(index, start), self.rate_hz)) > from_db(-12.0)

    def fill(self, index: int, rng: np.random.Generator) -> Tensor:
        """A crop around an utterance that is too short, at RMS 1."""
        talker = self.talkers[index]
        others = np.flatnonzero(self.talkers == talker) if talker >= 0 else np.array([index])
        others = others[others != index]
        wave = torch.zeros(self.n_samples)
        if len(others) == 0:
            _place(wave, self._piece(index), int(rng.integers(self.n_samples - self.lengths[index] + 1)))
            return wave
        # Up to half of the first utterance lies before the crop: not every crop starts with a beginning.
        position = -int(rng.integers(self.lengths[index] // 2 + 1))
        for piece in _cycle(index, others, rng):
            _place(wave, self._piece(piece), position)
            position += int(self.lengths[piece]) + round(rng.uniform(*PAUSE_S) * self.rate_hz)
            if position >= self.n_samples:
                break
        return wave

    def _piece(self, index: int) -> Tensor:
        """A whole utterance with 5 ms fades, so that a join does not click."""
        speech = self.corpus.speech(index)
        size = min(round(_FADE_S * self.rate_hz), len(speech) // 2)
        ramp = torch.sin(torch.linspace(0, math.pi / 2, size)).square()
        speech[:size] *= ramp
        speech[len(speech) - size :] *= ramp.flip(0)
        return speech

    def _crop(self, index: int, wave: Tensor) -> Crop:
        return {"wave": wave * self.level, "speaker": self.corpus.speakers[index]}


def _place(wave: Tensor, piece: Tensor, position: int) -> None:
    """Copy what of `piece` falls into `wave` when it starts at `position`, which may be negative."""
    first, last = max(0, position), min(len(wave), position + len(piece))
    if first < last:
        wave[first:last] = piece[first - position : last - position]


def _cycle(index: int, others: np.ndarray, rng: np.random.Generator) -> Iterator[int]:
    """`index`, then all others in random order, and again."""
    while True:
        yield index
        yield from (int(other) for other in rng.permutation(others))


class TrainCrops(Dataset[Crop]):
    """Random crops, indexed by (epoch, number); a plain number means epoch 0."""

    def __init__(self, maker: CropMaker, n_crops: int, gain_db: float, seed: int) -> None:
        """Take crops from `maker`, `n_crops` to an epoch, with gains of +-`gain_db`."""
        self.maker, self.n_crops, self.gain_db, self.seed = maker, n_crops, gain_db, seed

    def __len__(self) -> int:
        """Crops per epoch."""
        return self.n_crops

    def __getitem__(self, index: int | tuple[int, int]) -> Crop:
        """The crop of (epoch, number)."""
        epoch, number = index if isinstance(index, tuple) else (0, index)
        return self.maker.draw(np.random.default_rng((self.seed, epoch, number)), self.gain_db)


class ValidCrops(Dataset[Crop]):
    """Fixed crops, dealt evenly to the talkers; unlabelled utterances count as talkers of their own.

    In turn each talker gives the first crop of an utterance not used yet, then second crops, and so on.
    Crops that are mostly a pause are passed over, as a score means nothing there. No crop comes twice: a
    small corpus gives fewer than asked for.
    """

    def __init__(self, maker: CropMaker, n_crops: int) -> None:
        """Choose at most `n_crops` crops."""
        self.maker = maker
        self.items = _deal(_fixed_starts(maker), n_crops)

    def __len__(self) -> int:
        """Number of crops."""
        return len(self.items)

    def __getitem__(self, number: int) -> Crop:
        """A crop of the list."""
        return self.maker.fixed(*self.items[number])


def _fixed_starts(maker: CropMaker) -> list[Iterator[_Start]]:
    """The fixed crops of each talker, the first crops of all utterances first."""
    utterances: dict[int, list[int]] = {}
    for index, talker in enumerate(maker.talkers):
        utterances.setdefault(int(talker) if talker >= 0 else -1 - index, []).append(index)
    return [_starts_of(maker, indices) for indices in utterances.values()]


def _starts_of(maker: CropMaker, indices: list[int]) -> Iterator[_Start]:
    n_parts = [max(1, int(maker.lengths[index]) // maker.n_samples) for index in indices]
    for part in range(max(n_parts)):
        for index, count in zip(indices, n_parts, strict=True):
            if part < count and (count == 1 or maker.is_speech(index, part * maker.n_samples)):
                yield index, part * maker.n_samples


def _deal(queues: list[Iterator[_Start]], n_crops: int) -> list[_Start]:
    """One item of each queue in turn, until there are enough or all are empty."""
    items: list[_Start] = []
    while queues and len(items) < n_crops:
        turn = [(queue, next(queue, None)) for queue in queues]
        items += [start for _, start in turn if start is not None]
        queues = [queue for queue, start in turn if start is not None]
    return items[:n_crops]
