"""A recording as the prior sees it, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffsr.signal.resampling import resample


@dataclass(frozen=True)
class Posed:
    """A recording, or a section of a long one, ready to be explained.

    Attributes:
        id: Its identity, which the random numbers depend on.
        rate_hz: Its sampling rate.
        prior_hz: That of the prior.
        n_samples: Its length at its own rate.
        wave: The chosen channels as they were recorded `[C, T]`.
        y: The chosen channels at the rate of the prior `[C, T]`, without the early reflections that were
            found; silent ones are zero.
        channels: Their numbers in the recording, or `mean`.
        rows: Those of them that are to be restored, K of C.
        scale: What they are multiplied by to be at the level that the prior expects, `[K, 1]`.
        start_s: Where it begins, of a section of a longer recording.
        seconds: Wall time of getting ready.
        early: Cepstrum of the early reflections that `y` is without, of each of the K `[K, Q]`; None where
            none were looked for.
        like: The first channel that each one is the same as, itself where there is none before.
    """

    id: str
    rate_hz: int
    prior_hz: int
    n_samples: int
    wave: Tensor
    y: Tensor
    channels: Sequence[int | str]
    rows: Tensor
    scale: Tensor
    start_s: float = 0.0
    seconds: float = 0.0
    early: Tensor | None = None
    like: Sequence[int] = ()

    @property
    def waves(self) -> Tensor:
        """The channels to restore at the level that the prior expects, `[K, T]`."""
        return self.y[self.rows] * self.scale

    @property
    def end_s(self) -> float:
        """Where it ends, from the beginning of the recording that it is a section of."""
        return self.start_s + self.n_samples / self.rate_hz

    @property
    def row_ids(self) -> list[str]:
        """The identity of each channel to restore; the mean has that of channel 0."""
        chosen = [self.channels[row] for row in self.rows.tolist()]
        return [f"{self.id}/{0 if channel == 'mean' else channel}" for channel in chosen]

    def put_back(self, found: Tensor, extends_band: bool) -> tuple[Tensor, int]:
        """Posterior samples `[K, R, T]` at the prior's level -> `[R, C, T]` at that of the recording.

        Channels that were not restored come back as they were recorded, silent ones as zeros.

        Returns:
            The samples, and their sampling rate.
        """
        samples = self.y.repeat(found.shape[1], 1, 1)
        is_kept = self.y.any(-1).cpu()
        is_kept[self.rows.cpu()] = False
        # What was kept comes back bit by bit: scaling there and back would round.
        kept, scale = self.y[self.rows], self.scale[:, None]
        restored = torch.where(found == self.waves[:, None], kept[:, None], found / scale)
        samples[:, self.rows] = restored.swapaxes(0, 1)
        out_hz = max(self.rate_hz, self.prior_hz) if extends_band else self.rate_hz
        n_samples = self.n_samples if out_hz == self.rate_hz else None
        out = resample(samples.cpu(), self.prior_hz, out_hz, n_samples)
        if bool(is_kept.any()):  # also above the band of the prior
            out[:, is_kept] = resample(self.wave[is_kept], self.rate_hz, out_hz, out.shape[-1])
        return out[:, list(self.like)], out_hz

    def put_back_talkers(self, found: Tensor, n_sources: int) -> Tensor:
        """Restarts `[K, R, S, T]` at the prior's level -> `[R, S, T]` at level and rate of the recording.

        Where there was nothing to restore (K = 0) the talkers are silent.
        """
        if not len(self.rows):
            return torch.zeros(found.shape[1], n_sources, self.n_samples)
        restarts = found[0] / self.scale[0]
        return resample(restarts.cpu(), self.prior_hz, self.rate_hz, self.n_samples)
