"""The decays of a room from powers alone: of the dry speech and of the recording."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from diffsr.signal.decays import (
    TINY,
    blocks,
    decay_kernels,
    decayed,
    in_bands,
    n_bands,
    updated_weights,
    weighted_sum,
)
from diffsr.signal.stft import STFT

TIMES_S = (0.1, 0.15, 0.2, 0.28, 0.4, 0.55, 0.75, 1.0, 1.4, 2.0, 2.8)
EARLY_FRAMES = 4
"""Frames with a weight of their own, before the decays: as long as a window."""
FLOOR = 1e-5
"""Of the mean power of the recording, that every bin is taken to have."""
FIT_DB = (-5.0, -15.0)
"""Of the energy decay: further down, what the estimate lacks passes for reverberation."""
SHARED_WEIGHT = 10.0
"""Of what all bands say, where noise hides everything; 1 is the weight of a band without noise."""


class DecayFit:
    """Reverberation times and levels in bands, from an estimate of the dry speech, whatever its phases.

    `|Y_n|^2` is explained by the dry power of the last `EARLY_FRAMES` frames, each with its own weight, and
    by the decays of `signal.decays` behind them, all in bands of eight bins. The time of a band is that of
    the line through the energy decay of these weights. Where noise is louder than the decay, a band says
    little, and takes over what the others say (`shared_times_s`). Without gradient.

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
        early = torch.eye(EARLY_FRAMES, n_frames, device=y.device)
        self.kernels = torch.cat([early, decay_kernels(times_s, n_frames, self.frame_s, EARLY_FRAMES)])
        shape = (len(y), len(self.kernels), n_bands(self.power.shape[-2]))
        self.weights = torch.full(shape, 0.03, device=y.device)
        self.audible = torch.ones(len(y), shape[-1], device=y.device)

    def update(self, x0: Tensor, n_updates: int, noise: Tensor | None = None) -> None:
        """Updates of the weights on dry speech `[rows, S, T]`.

        Args:
            x0: The dry speech.
            n_updates: Updates.
            noise: Power of what is neither speech nor reverberation, of a sample: `[rows, K, M]` for any bins
                K from 0 Hz to half the rate and any frames M; None where there is none.
        """
        dry = self.stft(x0).abs().square().sum(1)
        hidden = torch.zeros_like(self.power)
        if noise is not None:
            size = self.power.shape[-2:]
            hidden = self.stft.window_energy * F.interpolate(noise[:, None], size, mode="nearest")[:, 0]
        for bins, bands in blocks(dry.shape[-2], self.kernels.numel()):
            parts, weights = decayed(dry[:, bins], self.kernels), self.weights[..., bands]
            for _ in range(n_updates):
                power = weighted_sum(weights, parts) + self.floor + hidden[:, bins]
                weights = updated_weights(weights, parts, self.power[:, bins], power)
            late = weighted_sum(weights[:, EARLY_FRAMES:], parts[:, EARLY_FRAMES:])
            heard, masked = in_bands(late.sum(-1)) + TINY, in_bands(hidden[:, bins].sum(-1))
            self.weights[..., bands], self.audible[:, bands] = weights, heard / (heard + masked)

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
        rt60_s = shared_times_s(rt60_s, self.audible)
        slope = -60.0 / rt60_s
        # The energy of a frame is what the line loses in one.
        start_db = mean_db[..., 0] - slope * mean_s[..., 0]
        lost = 1.0 - 10.0 ** (-6.0 * self.frame_s / rt60_s)
        return rt60_s, left[..., 0] * 10.0 ** (start_db / 10.0) * lost


def shared_times_s(rt60_s: Tensor, audible: Tensor) -> Tensor:
    """Times of bands `[rows, bands]`, the less a band's own the less of its decay is audible.

    The logarithms are a mean with that of all bands, which counts the more the more noise there is, as an
    item's room is one and noise errs in both directions by factors (docs/rooms_trials.md, "The T60 in
    noise").

    Args:
        rt60_s: Of each band by itself.
        audible: Share of the late reverberation in what is not direct sound, 0 to 1.
    """
    own = audible**4
    log_s = rt60_s.clamp(TIMES_S[0], TIMES_S[-1]).log()
    shared = (own * log_s).sum(-1, keepdim=True) / own.sum(-1, keepdim=True).clamp_min(1e-9)
    weight = SHARED_WEIGHT * (1 - audible.mean(-1, keepdim=True))
    return ((own * log_s + weight * shared) / (own + weight).clamp_min(1e-9)).exp()


def level_of(energy: Tensor, hop_samples: int) -> Tensor:
    """Logarithm of the amplitude of a sample, where the direct path has 1, from the energy of a frame."""
    return 0.5 * (energy / hop_samples).clamp_min(math.exp(-40.0)).log()
