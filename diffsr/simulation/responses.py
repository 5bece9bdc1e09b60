"""Where the rooms of scenes come from, and what a room does to sound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from diffsr.simulation.plan import RoomPlan


@dataclass(frozen=True)
class Responses:
    """Room impulse responses from every talker to every microphone.

    Attributes:
        full: float32 [S, C, T].
        direct: Direct path alone on the same time axis, float32 [S, C, T'] with T' <= T.
        onset_samples: Where the direct path arrives at the first microphone, one number a talker.
    """

    full: Tensor
    direct: Tensor
    onset_samples: tuple[int, ...]


class RoomSource(Protocol):
    """Draws rooms as numbers and knows their responses."""

    fingerprint: str
    """Changes when the source would draw or render differently; part of the identity of scenes."""

    def draw(self, rng: np.random.Generator, n_talkers: int, n_microphones: int) -> RoomPlan:
        """A room with one position for each talker; reads no audio."""
        ...

    def responses(self, room: RoomPlan, rate_hz: int) -> Responses:
        """Responses of a room that this source has drawn, at any rate."""
        ...
