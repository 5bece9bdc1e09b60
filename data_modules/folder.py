"""Files to restore."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from data_modules.samplers import NOTHING, Share
from diffsr.errors import ConfigError
from diffsr.io.audio import probe
from diffsr.io.recordings import list_recordings

Item = dict[str, str]
"""`id` and `path` of a `diffsr.io.recordings.Recording`."""


class _Files(Dataset[Item | None]):
    def __init__(self, items: list[Item]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Item | None:
        return None if index == NOTHING else self.items[index]


class Folder(LightningDataModule):
    """The recordings of a folder, or one file, for `predict`.

    A batch is a list of `{"id": str, "path": str}`. Files are listed, not read: the task reads them, so
    that a bad one spoils neither the others nor the start. With several devices each file goes to one.

    Args:
        input: Folder (searched with its sub-folders) or a single recording.
        batch_size: Files handed over at a time.
    """

    def __init__(self, input: str, batch_size: int = 1) -> None:
        super().__init__()
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; expected at least 1.")
        self.input, self.batch_size = input, batch_size
        self._items: list[Item] = []

    def setup(self, stage: str | None = None) -> None:
        """List the files.

        Raises:
            DataError: The folder holds no recording.
            AudioError: The single file is missing or cannot be read.
        """
        recordings = list_recordings(self.input)
        if not Path(self.input).expanduser().is_dir():
            probe(recordings[0].path)
        self._items = [{"id": recording.id, "path": str(recording.path)} for recording in recordings]

    def predict_dataloader(self) -> DataLoader[Item | None]:
        """One item a file, sorted by path."""
        return DataLoader(
            _Files(self._items),
            batch_size=self.batch_size,
            sampler=Share.of(self, len(self._items)),
            collate_fn=_listed,
        )


def _listed(items: Sequence[Item | None]) -> list[Item]:
    return [item for item in items if item is not None]
