"""Crops of speech: drawn at random for training, fixed for validation.

Crop `i` of epoch `e` is a pure function of (seed, e, i). It does not depend on the number of workers or
devices, on what was drawn before, or on whether training was interrupted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor
from torch.utils.data import Dataset

from data_modules.corpus import Corpus
from data_modules.planner import Augmentation, Planner
from data_modules.plans import Plan, Plans
from data_modules.rendering import Renderer
from diffsr.signal.levels import active_rms, from_db

Crop = dict[str, Tensor]
"""`wave`: float32 [T]; `speaker`: int64 scalar; `reference`: float32 [T'] where one was asked for."""
_Start = tuple[int, int]  # utterance, first sample


class CropMaker:
    """Makes crops of one length and level out of a corpus: plans them and renders them.

    What a crop is made of: `Planner`. Joined utterances have the same active-speech level.

    Attributes:
        planner: Draws plans.
        lengths: Samples of each utterance, int64 [U].
        talkers: Index of the talker of each utterance, -1 without a label, int64 [U].
    """

    def __init__(
        self, corpus: Corpus, rate_hz: int, n_samples: int, level: float, n_reference: int = 0
    ) -> None:
        """Index the corpus.

        Args:
            corpus: The speech.
            rate_hz: Its rate.
            n_samples: Length of a crop.
            level: Active-speech RMS of the utterance that a crop is taken from.
            n_reference: Length of the reference that comes with each crop; 0 for none.
        """
        self.corpus, self.rate_hz, self.n_samples, self.level = corpus, rate_hz, n_samples, level
        self.n_reference = n_reference
        self.planner = Planner(corpus, rate_hz, n_samples, n_reference)
        self.lengths, self.talkers = self.planner.lengths, self.planner.talkers
        self._renderer = Renderer(corpus, rate_hz, level)

    def collate(self, plans: Sequence[Plan]) -> Plans:
        """One batch of plans."""
        return Plans.of(plans, with_references=self.n_reference > 0)

    def render(self, plans: Plans) -> dict[str, Tensor]:
        """The batch that was planned, on the device of the plans.

        Returns:
            `wave` float32 [B, n_samples], `speaker` int64 [B], and `reference` float32 [B, n_reference] where
            a length of it is set, all zeros for those that have none.
        """
        return self._renderer.render(plans, self.n_samples, self.n_reference)

    def crop(self, plan: Plan) -> Crop:
        """One crop."""
        return {name: values[0] for name, values in self.render(self.collate([plan])).items()}

    def is_speech(self, index: int, start: int) -> bool:
        """Whether the crop that starts there is not mostly a pause: at most 12 dB below its utterance."""
        return self.loudness(index, start) > from_db(-12.0)

    def loudness(self, index: int, start: int) -> float:
        """Active-speech RMS of the crop that starts there, that of its utterance is 1."""
        wave = self.corpus.speech(index, start, start + self.n_samples)
        return float(active_rms(wave, self.rate_hz))


class TrainCrops(Dataset[Plan]):
    """Plans of random crops, indexed by (epoch, number); a plain number means epoch 0."""

    def __init__(self, maker: CropMaker, n_crops: int, augmentation: Augmentation, seed: int) -> None:
        """Take crops from `maker`, `n_crops` to an epoch."""
        self.maker, self.n_crops, self.augmentation, self.seed = maker, n_crops, augmentation, seed

    def __len__(self) -> int:
        """Crops per epoch."""
        return self.n_crops

    def __getitem__(self, index: int | tuple[int, int]) -> Plan:
        """The plan of (epoch, number)."""
        epoch, number = index if isinstance(index, tuple) else (0, index)
        return self.maker.planner.draw((self.seed, epoch, number), self.augmentation)


class ValidCrops(Dataset[Crop]):
    """Fixed crops, dealt evenly to the talkers; unlabelled utterances count as talkers of their own.

    In turn each talker gives the first crop of an utterance not used yet, then second crops, and so on.
    Crops that are mostly a pause are passed over, as a score means nothing there; where all are, the loudest
    is taken. No crop comes twice: a small corpus gives fewer than asked for.
    """

    def __init__(self, maker: CropMaker, n_crops: int) -> None:
        """Choose at most `n_crops` crops."""
        self.maker = maker
        self.items = _deal(_fixed_starts(maker), n_crops) or [_loudest(maker)]

    def __len__(self) -> int:
        """Number of crops."""
        return len(self.items)

    def __getitem__(self, number: int) -> Crop:
        """A crop of the list."""
        return self.maker.crop(self.maker.planner.fixed(*self.items[number]))

    def padding(self, number: int) -> float:
        """Share of a crop, before its first and after its last sound, that fills up shorter speech."""
        if self.maker.lengths[self.items[number][0]] >= self.maker.n_samples:
            return 0.0  # what is silent there was recorded so
        wave = self[number]["wave"]
        sound = wave.nonzero()
        return 1.0 if not len(sound) else 1 - float(sound[-1] - sound[0] + 1) / len(wave)


def _fixed_starts(maker: CropMaker) -> list[Iterator[_Start]]:
    """The fixed crops of each talker, the first crops of all utterances first."""
    utterances: dict[int, list[int]] = {}
    for index, talker in enumerate(maker.talkers):
        utterances.setdefault(int(talker) if talker >= 0 else -1 - index, []).append(index)
    return [_starts_of(maker, indices) for indices in utterances.values()]


def _loudest(maker: CropMaker) -> _Start:
    parts = [(index, part) for index in range(len(maker.lengths)) for part in range(_n_parts(maker, index))]
    starts = [(index, part * maker.n_samples) for index, part in parts]
    return max(starts, key=lambda start: maker.loudness(*start))


def _n_parts(maker: CropMaker, index: int) -> int:
    return max(1, int(maker.lengths[index]) // maker.n_samples)


def _starts_of(maker: CropMaker, indices: list[int]) -> Iterator[_Start]:
    n_parts = [_n_parts(maker, index) for index in indices]
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
