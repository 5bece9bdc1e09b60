"""The recording itself: what doing nothing scores."""

from __future__ import annotations

from torch import Tensor

from diffsr.baselines.base import as_recording, for_every_talker


class Unprocessed:
    """The first microphone, for every talker."""

    name = "unprocessed"

    def __call__(self, observation: Tensor, rate_hz: int, n_talkers: int) -> Tensor:
        """See `System`."""
        return for_every_talker(as_recording(observation, n_talkers)[0], n_talkers)

    def describe(self) -> dict[str, str]:
        """See `System`."""
        return {"system": self.name, "output": "microphone 1"}
