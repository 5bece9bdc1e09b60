"""A second restoration of one talker, from halfway between the recording and the first."""

from __future__ import annotations

from torch import Tensor

from diffsr.errors import ConfigError
from diffsr.samplers.annealed import AnnealedSampler


class SecondPass:
    """How one talker is restored once more, from what lies between the recording and its first restoration.

    There, room and noise are down by what the first one has found of them, and the second starts at little
    noise, near a result that it cannot lose again. It errs elsewhere, so what is made of the samples of both
    is better than either, and than of as many samples of the recording itself, whose errors are alike
    (docs/rooms_trials.md). Noise and room are found anew; those of the first are reported.

    Args:
        sampler: The loop, on the same models of noise and room.
        share: Of the first restoration in what is restored; the rest is the recording.

    Raises:
        ConfigError: A share that is not above 0, or not below 1.
    """

    def __init__(self, sampler: AnnealedSampler, share: float = 0.5) -> None:
        if not 0 < share < 1:
            raise ConfigError(f"SecondPass has share = {share:g}; expected a number above 0 and below 1.")
        self.sampler, self.share = sampler, share

    def recording(self, y: Tensor, first: Tensor) -> Tensor:
        """What is restored, of recordings and their first restorations `[K, T]`."""
        return self.share * first + (1 - self.share) * y
