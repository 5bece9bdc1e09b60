"""Plans of crops: which speech stands where in a crop and how it is changed, as small arrays.

A plan costs microseconds and holds no samples; `rendering.py` turns a batch of plans into waveforms on the
device that trains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from diffsr.signal.shaping import N_TERMS, SPEEDS

UNCHANGED = SPEEDS.index(1.0)
_NEVER = 2**40
"""Position of a piece that fills up the batch: after the end of every crop."""


class Piece(NamedTuple):
    """Samples `first` to `stop` of an utterance, from sample `position` of the crop on (may be negative).

    Positions count samples of the corpus: where a crop is played faster, more of them fit into it.
    """

    utterance: int
    first: int
    stop: int
    position: int


@dataclass(frozen=True)
class Passage:
    """What one waveform is made of.

    Attributes:
        pieces: In the order of time and without overlap; none for silence.
        fade: Whether the ends of the pieces fade, so that joins do not click.
        gain: Factor on the level; negative turns the polarity.
        tilt: Coefficients of the equaliser in dB, float64 [N_TERMS]; zeros for none.
    """

    pieces: Sequence[Piece]
    fade: bool = False
    gain: float = 1.0
    tilt: np.ndarray | None = None


@dataclass(frozen=True)
class Plan:
    """A crop, and another one of the same talker to know the talker by.

    Attributes:
        speaker: Index of the talker, -1 without a label.
        speed: Index into `SPEEDS`, of both.
        crop: The crop.
        reference: The other one; without pieces where there is none.
    """

    speaker: int
    speed: int
    crop: Passage
    reference: Passage


@dataclass(frozen=True)
class Passages:
    """A batch of passages: `pieces` int64 [B, P, 4], `fade` bool [B], `gain` [B], `tilt` [B, N_TERMS]."""

    pieces: Tensor
    fade: Tensor
    gain: Tensor
    tilt: Tensor

    @classmethod
    def of(cls, passages: Sequence[Passage]) -> Passages:
        """Stack passages, filled up to as many pieces as the longest has."""
        n_pieces = max(1, *(len(passage.pieces) for passage in passages))
        pieces = np.tile(np.array([0, 0, 0, _NEVER]), (len(passages), n_pieces, 1))
        tilt = np.zeros((len(passages), N_TERMS), np.float32)
        for row, passage in enumerate(passages):
            if passage.pieces:
                pieces[row, : len(passage.pieces)] = passage.pieces
            if passage.tilt is not None:
                tilt[row] = passage.tilt
        return cls(
            torch.from_numpy(pieces),
            torch.tensor([passage.fade for passage in passages]),
            torch.tensor([passage.gain for passage in passages], dtype=torch.float32),
            torch.from_numpy(tilt),
        )

    def to(self, device: torch.device | str) -> Passages:
        """The same on a device."""
        return Passages(
            self.pieces.to(device), self.fade.to(device), self.gain.to(device), self.tilt.to(device)
        )

    def __getitem__(self, rows: Tensor) -> Passages:
        """Some of them, int64 [b]."""
        return Passages(self.pieces[rows], self.fade[rows], self.gain[rows], self.tilt[rows])


@dataclass(frozen=True)
class Plans:
    """A batch of plans. Lightning moves it to the device by its method `to`.

    Attributes:
        speaker: int64 [B].
        crop: The crops.
        reference: The references, None where none were asked for.
        groups: Rows with one treatment, int64 [b], by their index into `SPEEDS`; None for those that are
            taken as they are, with neither a change of speed nor an equaliser. The last row may come again:
            sizes of groups are multiples of an eighth of the batch, because a GPU prepares Fourier
            transforms for each size anew.
    """

    speaker: Tensor
    crop: Passages
    reference: Passages | None
    groups: Sequence[tuple[int | None, Tensor]]

    @classmethod
    def of(cls, plans: Sequence[Plan], with_references: bool = False) -> Plans:
        """Stack plans."""
        rows: dict[int | None, list[int]] = {}
        for row, plan in enumerate(plans):
            plain = plan.speed == UNCHANGED and plan.crop.tilt is None
            rows.setdefault(None if plain else plan.speed, []).append(row)
        return cls(
            torch.tensor([plan.speaker for plan in plans], dtype=torch.int64),
            Passages.of([plan.crop for plan in plans]),
            Passages.of([plan.reference for plan in plans]) if with_references else None,
            [(speed, _rounded_up(members, len(plans))) for speed, members in rows.items()],
        )

    def to(self, device: torch.device | str) -> Plans:
        """The same on a device."""
        reference = None if self.reference is None else self.reference.to(device)
        groups = [(speed, rows.to(device)) for speed, rows in self.groups]
        return Plans(self.speaker.to(device), self.crop.to(device), reference, groups)


def _rounded_up(rows: list[int], batch_size: int) -> Tensor:
    """Rows of a group, the last one repeated up to a multiple of an eighth of the batch."""
    missing = -len(rows) % max(1, batch_size // 8)
    return torch.tensor(rows + rows[-1:] * missing)
