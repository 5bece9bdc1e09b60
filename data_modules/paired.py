"""Test corpora that exist: mixtures with references."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from data_modules.batches import Item, Reporting, collate, nothing
from data_modules.layouts import Choice, Files, Layout, find_items
from data_modules.samplers import NOTHING, Share
from data_modules.splits import corpus_name
from diffsr.errors import AudioError, ConfigError
from diffsr.evaluation.pairing import LENGTH_TOLERANCE_S
from diffsr.io.audio import read_audio
from diffsr.signal.resampling import resample

_CHOICE = Choice()


class Paired(Reporting):
    """Mixtures and references of an existing corpus, for `test`.

    A batch is a dict of `id` (B relative paths without suffix), `observation` float32 [B, C, T], `target`
    [B, S, T] (the first channel of each reference), `n_samples` int64 [B], `rate_hz` (B numbers) and
    `problems`, padded with zeros to the longest item and the most channels. Over all devices no item comes
    twice and none is lost. Items that cannot be used (files missing, damaged or of different lengths) are
    left out, counted and reported at the end.

    Args:
        root: Folder of the corpus.
        layout: `folders`: a folder of mixtures and one or more of references; `whamr`: the tree that the
            scripts of WHAMR! write; `voicebank`: VoiceBank-DEMAND.
        choice: What to take of it.
        rate_hz: Sample rate of the items; files at higher rates are converted.
        batch_size: Items in a batch on each device.
        num_workers: Processes that read files, for each device; 0 for none.

    Example:
        >>> from data_modules import Paired
        >>> Paired("VoiceBank-DEMAND", layout="voicebank").rate_hz
        16000
    """

    def __init__(
        self,
        root: str,
        layout: Layout = "folders",
        choice: Choice = _CHOICE,
        rate_hz: int = 16000,
        batch_size: int = 1,
        num_workers: int = 1,
    ) -> None:
        super().__init__()
        if rate_hz < 1 or batch_size < 1 or num_workers < 0:
            raise ConfigError(
                f"data.rate_hz is {rate_hz}, data.batch_size {batch_size} and data.num_workers "
                f"{num_workers}, expected numbers above 0 (num_workers: at least 0)."
            )
        self.root, self.layout, self.choice, self.rate_hz = root, layout, choice, rate_hz
        self.batch_size, self.num_workers = batch_size, num_workers
        self.items: list[Files] = []

    def setup(self, stage: str | None = None) -> None:
        """List the items.

        Raises:
            DataError: The tree is not what the layout says, or nothing matches.
            ConfigError: The corpus does not come at this rate.
        """
        if not self.items:
            self.items, unmatched = find_items(self.root, self.layout, self.choice, self.rate_hz)
            self.problems.update(dict.fromkeys(unmatched.values()))

    @property
    def summary(self) -> str:
        """What the corpus is, for cards; set-up comes first."""
        talkers = len(self.items[0].references)
        return (
            f"{corpus_name(self.root)} ({self.layout}): {len(self.items)} items, talkers: {talkers}, "
            f"{self.rate_hz} Hz"
        )

    def test_dataloader(self) -> DataLoader[Item]:
        """One item a mixture, sorted by id."""
        return DataLoader(
            _Pairs(self.items, self.rate_hz),
            batch_size=self.batch_size,
            sampler=Share.of(self, len(self.items)),
            collate_fn=collate,
            num_workers=self.num_workers,
        )

    def predict_dataloader(self) -> DataLoader[Item]:
        """The same."""
        return self.test_dataloader()


class _Pairs(Dataset[Item]):
    """Reads the files of an item when asked for."""

    def __init__(self, items: Sequence[Files], rate_hz: int) -> None:
        self.items, self.rate_hz = items, rate_hz

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Item:
        if index == NOTHING:
            return nothing()
        try:
            return self._read(self.items[index])
        except AudioError as error:
            return nothing(str(error))

    def _read(self, files: Files) -> Item:
        observation = _read(files.mixture, self.rate_hz)
        targets = [_read(path, self.rate_hz)[0] for path in files.references]
        lengths = [observation.shape[-1], *(len(target) for target in targets)]
        shortest, longest = min(lengths), max(lengths)
        if longest - shortest >= LENGTH_TOLERANCE_S * self.rate_hz:
            names = " and ".join(str(path) for path in (files.mixture, *files.references))
            lengths_s = " and ".join(f"{length / self.rate_hz:.3f}" for length in lengths)
            raise AudioError(
                f"{names} last {lengths_s} s, expected the same length (up to {LENGTH_TOLERANCE_S} s). "
                "Cut them to the same part."
            )
        return {
            "id": files.id,
            "observation": observation[:, :shortest],
            "target": torch.stack([target[:shortest] for target in targets]),
            "rate_hz": self.rate_hz,
            "problems": [],
        }


def _read(path: Path, rate_hz: int) -> Tensor:
    """A file at the rate of the items, [C, T]."""
    wave, info = read_audio(path)
    if info.rate_hz < rate_hz:
        raise AudioError(
            f"{path} has {info.rate_hz} Hz, expected at least {rate_hz}. Use data.rate_hz={info.rate_hz}."
        )
    return resample(wave, info.rate_hz, rate_hz)
