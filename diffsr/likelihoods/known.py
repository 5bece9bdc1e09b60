"""The true noise of a recording, where somebody mixed it: an upper bound, not a method."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from diffsr.errors import ConfigError, DataError
from diffsr.likelihoods.base import FLOOR, Likelihood

TINY = 1e-30
MISMATCH = 1e-3
"""Share of the energy by which an observation may differ from the recording, for rounding and resampling."""


class KnownNoise(Likelihood):
    """`Y - A(X) ~ CN(0, |N|^2)` with the power of the noise that was really added, bin by bin.

    What a perfect noise model would give (an oracle): the phases of the noise stay unknown. The recording in
    which the noise was added tells at which level the sampler sees both.

    Args:
        noise: Noise of each item `[B, T]`, at the rate of the prior.
        recording: What was recorded, noise and all, `[B, T]`.
        smooth_frames: Odd number of frames that the power is averaged over; 1 is the power itself, more is
            what a slowly varying noise model could know at best.
        n_fft: STFT window in samples.
        hop_samples: STFT hop in samples.

    Raises:
        ConfigError: `smooth_frames` is even or below 1.
        DataError: Noise and recording have different shapes.
    """

    def __init__(
        self,
        noise: Tensor,
        recording: Tensor,
        smooth_frames: int = 1,
        n_fft: int = 512,
        hop_samples: int = 128,
    ) -> None:
        super().__init__(n_fft, hop_samples)
        if smooth_frames < 1 or smooth_frames % 2 == 0:
            raise ConfigError(f"smooth_frames is {smooth_frames}; expected an odd number from 1 on.")
        if noise.shape != recording.shape or noise.ndim != 2:
            raise DataError(
                f"The noise has the shape {list(noise.shape)} and the recording {list(recording.shape)}; "
                "expected [items, samples] of both."
            )
        self.noise, self.recording, self.smooth_frames = noise, recording, smooth_frames
        self._variance = torch.empty(0)

    def reset(self, y: Tensor, item_of_row: Tensor) -> None:
        """Bring the noise to the level of `y [rows, 1, T]`; row r belongs to item `item_of_row[r]`.

        Restarts that are items of their own share the noise of their recording.

        Raises:
            DataError: The observations are not those that the noise was added to.
        """
        n_items, n_recordings = int(item_of_row.max()) + 1, len(self.recording)
        if n_items % n_recordings or y.shape[-1] != self.recording.shape[-1]:
            raise DataError(
                f"There is known noise for recordings of the shape {list(self.recording.shape)}, found "
                f"{[n_items, y.shape[-1]]}; expected the recording that the noise is part of."
            )
        place = item_of_row.div(n_items // n_recordings, rounding_mode="floor")
        noise, recording = (wave.to(y)[place] for wave in (self.noise, self.recording))
        gain = (y[:, 0] * recording).sum(-1) / recording.square().sum(-1).clamp_min(TINY)
        other = (y[:, 0] - gain[:, None] * recording).square().sum(-1) > MISMATCH * y[:, 0].square().sum(-1)
        if bool(other.any()):
            raise DataError(
                "The noise is known of another recording than the observation, which differs by more than "
                "its level. Give the recording that the noise is part of."
            )
        power = self.stft(gain[:, None] * noise).abs().square()
        half = self.smooth_frames // 2
        smooth = F.avg_pool1d(power, self.smooth_frames, 1, half, count_include_pad=False)
        self._variance = smooth.clamp_min(FLOOR)

    @property
    def variance(self) -> Tensor:
        """Noise power v of each row, `[rows, F, N]`."""
        return self._variance

    def update(self, residual: Tensor, extra_variance: Tensor) -> None:
        """Nothing to estimate."""
