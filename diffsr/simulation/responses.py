"""Where the rooms of scenes come from, and what a room does to sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from diffsr.errors import DataError
from diffsr.signal.resampling import resample
from diffsr.simulation.plan import RoomPlan

_RINGING_SAMPLES = 256
"""Zeros after a direct path for the resampling filter to ring in."""


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


def unit_direct(responses: Responses) -> Responses:
    """Scale the responses of each talker so that its direct path at the first microphone has the energy 1."""
    scale = responses.direct[:, 0].square().sum(-1).rsqrt()[:, None, None]
    return Responses(responses.full * scale, responses.direct * scale, responses.onset_samples)


def at_rate(responses: Responses, exact_onsets: Sequence[float], from_hz: int, to_hz: int) -> Responses:
    """Responses at another rate, where the direct path at the first microphone again has the energy 1.

    Args:
        responses: At the rate `from_hz`.
        exact_onsets: Where the direct paths arrive at the first microphone, in samples and fractions.
        from_hz: Rate of the responses.
        to_hz: Rate of the result.

    Raises:
        DataError: The responses have the lower rate: the upper band of the direct path would be silent.
    """
    if from_hz == to_hz:
        return responses
    if from_hz < to_hz:
        raise DataError(
            f"The responses of the room have {from_hz} Hz, expected at least the {to_hz} Hz of the scenes. "
            f"Use rate_hz={from_hz}, or rooms of a higher rate: diffsr prepare rooms FOLDER --rate_hz {to_hz}"
        )

    def convert(response: Tensor) -> Tensor:
        return resample(F.pad(response, (0, _RINGING_SAMPLES)), from_hz, to_hz)

    onsets = tuple(round(onset * to_hz / from_hz) for onset in exact_onsets)
    return unit_direct(Responses(convert(responses.full), convert(responses.direct), onsets))


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

    def owns(self, room: RoomPlan) -> bool:
        """Whether this source could have drawn a room; several sources are told apart by it."""
        ...
