"""The decays of a room from powers alone: of the dry speech and of the recording."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from diffsr.signal.decays import decay_kernels, decayed, n_bands, updated_weights, weighted_sum
from diffsr.signal.stft import STFT

TIMES_S = (0.1, 0.15, 0.2, 0.28, 0.4, 0.55, 0.75, 1.0, 1.4, 2.0, 2.8)
EARLY_FRAMES = 4
"""Frames with a weight of their own, before the decays: as long as a window."""
FLOOR = 1e-5
"""Of the mean power of the recording, that every bin is taken to have."""
FIT_DB = (-5.0, -15.0)
"""Of the energy decay: further down, what the estimate lacks passes for reverberation."""


class DecayFit:
    """Reverberation times and levels in bands, from an estimate of the dry speech, whatever its phases.

    `|Y_n|^2` is explained by the dry power of the last `EARLY_FRAMES` frames, each with its own weight, and
    by the decays of `signal.decays` behind them, all in bands of eight bins. The time of a band is that of
    the line through the energy decay of these weights. Without gradient.

    Args:
        y: Observation `[rows, T]`.
        stft: With windows of four hops.
        rate_hz: Sample rate.
    """

    def __init__(self, y: Tensor, stft: STFT, rate_hz: int) -> None:
        self.stft, self.frame_s, self.hop_samples = stft, stft.hop_samples / rate_hz, stft.hop_samples
        self.power = stft(y).abs().square()
        self.floor = FLOOR * self.power.mean((-2, -1), keepdim=True) + 1e-30
        n_frames = self.power.shape[-1]
        times_s = torch.tensor(TIMES_S, device=y.device)
        early = torch.eye(n_frames, device=y.device)[:EARLY_FRAMES]
        self.kernels = torch.cat([early, decay_kernels(times_s, n_frames, self.frame_s, EARLY_FRAMES)])
        shape = (len(y), len(self.kernels), n_bands(self.power.shape[-2]))
        self.weights = torch.full(shape, 0.03, device=y.device)

    def update(self, x0: Tensor, n_updates: int, noise: Tensor | None = None) -> None:
        """Updates of the weights on dry speech `[rows, S, T]`.

        Args:
            x0: The dry speech.
            n_updates: Updates.
            noise: Power of what is neither speech nor reverberation, of a sample: `[rows, K, M]` for any bins
                K from 0 Hz to half the rate and any frames M; None where there is none.
        """
        parts = decayed(self.stft(x0).abs().square().sum(1), self.kernels)
        floor = self.floor
        if noise is not None:
            size = self.power.shape[-2:]
            floor = (
                floor + self.stft.window_energy * F.interpolate(noise[:, None], size, mode="nearest")[:, 0]
            )
        for _ in range(n_updates):
            power = weighted_sum(self.weights, parts) + floor
            self.weights = updated_weights(self.weights, parts, self.power, power)

    def of_bands(self) -> tuple[Tensor, Tensor]:
        """Reverberation times in seconds and energies of a frame at time 0, `[rows, bands]` each."""
        return self._line(self.weights[..., None] * self.kernels[:, None])

    def _line(self, energies: Tensor) -> tuple[Tensor, Tensor]:
        """The line through the energy decay: `[rows, parts, bands, N]`, the parts add up."""
        energy = energies.sum(1)
        left = energy.flip(-1).cumsum(-1).flip(-1)
        level_db = 10.0 * (left / left[..., :1]).clamp_min(1e-20).log10()
        inside = ((level_db <= FIT_DB[0]) & (level_db >= FIT_DB[1])).to(level_db)
        # Too few frames for a line: the decay is shorter than a window.
        count = inside.sum(-1, keepdim=True).clamp_min(1.0)
        time_s = torch.arange(energy.shape[-1], device=energy.device) * self.frame_s
        mean_s = (inside * time_s).sum(-1, keepdim=True) / count
        mean_db = (inside * level_db).sum(-1, keepdim=True) / count
        spread = (inside * (time_s - mean_s).square()).sum(-1)
        slope = (inside * (time_s - mean_s) * (level_db - mean_db)).sum(-1) / spread.clamp_min(1e-9)
        rt60_s = torch.where(slope < 0, -60.0 / slope.clamp_max(-1e-3), self.frame_s)
        # The energy of a frame is what the line loses in one.
        start_db = mean_db[..., 0] - slope * mean_s[..., 0]
        lost = 1.0 - 10.0 ** (-6.0 * self.frame_s / rt60_s)
        return rt60_s, left[..., 0] * 10.0 ** (start_db / 10.0) * lost


def level_of(energy: Tensor, hop_samples: int) -> Tensor:
    """Logarithm of the amplitude of a sample, where the direct path has 1, from the energy of a frame."""
    return 0.5 * (energy / hop_samples).clamp_min(math.exp(-40.0)).log()
