"""Measuring the table of a prior's uncertainty on clean speech, and how well it predicts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from diffsr.diffusion.calibration import (
    SIGMA_ENDS,
    Calibration,
    band_position,
    level_position,
    local_power,
    local_uncertainty,
    white_uncertainty,
)
from diffsr.diffusion.prior import Prior
from diffsr.signal.stft import STFT

SHAPE = (16, 16, 21)
"""Noise levels (three a decade), frequencies, local powers (5 dB) of a table."""

_N_FOLDS = 2
_TRUST_BINS = 20.0
"""A cell with so many bins counts as much as the mean of its level over all frequencies."""
_FEW_BINS = 50
"""Levels with fewer bins over all frequencies take the value of the nearest level that has more."""
_LEAST = 1e-6
"""Least error, in units of the white uncertainty, whose logarithm is taken."""


@dataclass(frozen=True)
class Agreement:
    """How well predictions of `E|X - X0|^2` agree with the truth, one value for each noise level.

    Attributes:
        sigmas: Noise levels.
        ratio: Prediction -> true over predicted error, all bins; 1 is perfect.
        score: Prediction -> mean of `ln(r^2/u) + |X - X0|^2 / r^2`, u the white Gaussian uncertainty: the
            negative log-likelihood of complex Gaussian errors up to a constant; lower is better.
    """

    sigmas: list[float]
    ratio: dict[str, list[float]]
    score: dict[str, list[float]]


class ErrorSums:
    """Sums of squared errors in the cells of the table, over as many crops as are added.

    Args:
        shape: Noise levels, frequencies and local powers.
        stft: Whose bins are counted; the table serves others too.
    """

    def __init__(self, shape: tuple[int, int, int] = SHAPE, stft: STFT | None = None) -> None:
        self.stft = stft or STFT()
        low, high = (math.log(end) for end in SIGMA_ENDS)
        self.sigmas = torch.linspace(low, high, shape[0], dtype=torch.float64).exp()
        self.count = torch.zeros(_N_FOLDS, *shape, dtype=torch.float64)
        self.error = torch.zeros_like(self.count)
        self.local = torch.zeros(3, shape[0], dtype=torch.float64)  # prediction, ln of it, error over it
        self.n_crops = 0

    @torch.no_grad()
    def add(self, prior: Prior, wave: Tensor) -> None:
        """Denoise a crop `[T]` at each noise level; its noise depends on how many crops came before only."""
        device = next(prior.parameters()).device
        stft = self.stft.to(device)
        rng = torch.Generator().manual_seed(self.n_crops)
        wave = wave.to(device)[None]
        for index, level in enumerate(self.sigmas):
            sigma = level.float().to(device)[None]
            x0 = prior.denoise(wave + sigma * torch.randn(wave.shape, generator=rng).to(device), sigma)
            white = stft.bin_variance(white_uncertainty(sigma, prior.sigma_data))
            error = _whole_frames(stft(wave - x0).abs().square() / white, stft)
            power = _whole_frames(local_power(x0, stft) / white, stft)
            local = _whole_frames(local_uncertainty(x0, sigma, stft) / white, stft).clamp_min(_LEAST)
            self._count(index, error, power, prior.rate_hz)
            self.local[:, index] += torch.stack([local.sum(), local.log().sum(), (error / local).sum()]).cpu()
        self.n_crops += 1

    def table(self, rate_hz: int, sigma_data: float, source: str = "") -> Calibration:
        """The table from all crops; empty cells are filled, and no error falls where the power rises."""
        ratio = _fill(self.count.sum(0), self.error.sum(0)).clamp_min(_LEAST)
        return Calibration(ratio.log(), rate_hz, sigma_data, source)

    def agreement(self) -> Agreement:
        """Of the table, each half of the crops predicted by the other half; and of the formulas."""
        count, error = self.count.sum((0, 2, 3)), self.error.sum((0, 2, 3))
        table = torch.zeros_like(self.local)
        for fold in range(_N_FOLDS):
            n, e = self.count[fold], self.error[fold]
            others = [k for k in range(_N_FOLDS) if k != fold]
            ratio = _fill(self.count[others].sum(0), self.error[others].sum(0)).clamp_min(_LEAST)
            table += torch.stack([n * ratio, n * ratio.log(), e / ratio]).sum((2, 3))
        white = torch.stack([count, torch.zeros_like(count), error])
        sums = {"white": white, "local": self.local, "table": table}
        return Agreement(
            sigmas=self.sigmas.tolist(),
            ratio={name: (error / part[0]).tolist() for name, part in sums.items()},
            score={name: ((part[1] + part[2]) / count).tolist() for name, part in sums.items()},
        )

    def _count(self, index: int, error: Tensor, power: Tensor, rate_hz: int) -> None:
        """Add `[F, N]` errors to the nearest nodes, on the CPU, where sums do not depend on chance."""
        _, _, n_bands, n_levels = self.count.shape
        band = band_position(self.stft, rate_hz, n_bands).round().long().clamp(0, n_bands - 1)
        level = level_position(power, n_levels).round().long().clamp(0, n_levels - 1)
        cell = (band[:, None] * n_levels + level).flatten().cpu()
        fold, size = self.n_crops % _N_FOLDS, n_bands * n_levels
        self.count[fold, index] += torch.bincount(cell, minlength=size).reshape(n_bands, n_levels)
        weights = error.flatten().double().cpu()
        self.error[fold, index] += torch.bincount(cell, weights, size).reshape(n_bands, n_levels)


def _whole_frames(bins: Tensor, stft: STFT) -> Tensor:
    """`[1, F, N] -> [F, n]`, double, without the frames that reach beyond the signal."""
    n_edge = -(-(stft.n_fft // 2) // stft.hop_samples)
    return bins[0, :, n_edge:-n_edge].double()


def _fill(count: Tensor, error: Tensor) -> Tensor:
    """Mean error of each cell, `[S, K, L] -> [S, K, L]`, none empty, rising along the last axis."""
    bins = count.sum(1)
    enough = bins >= bins.amax(-1, keepdim=True).clamp_max(_FEW_BINS)
    of_level = _from_nearest(error.sum(1) / bins, enough)[:, None]
    weight = count + _TRUST_BINS
    return _rising((error + _TRUST_BINS * of_level) / weight, weight)


def _from_nearest(values: Tensor, known: Tensor) -> Tensor:
    """`[S, L]`: values that are not known become those of the nearest that are."""
    place = torch.arange(values.shape[-1])
    distance = (place[:, None] - place).abs().double()
    distance = distance.masked_fill(~known[:, None, :], torch.inf)
    return values.gather(-1, distance.argmin(-1))


def _rising(values: Tensor, weight: Tensor) -> Tensor:
    """Isotonic regression along the last axis: `max_(j<=i) min_(k>=i)` of the weighted means from j to k."""
    n = values.shape[-1]
    total, mass = (F.pad(part.cumsum(-1), (1, 0)) for part in (values * weight, weight))
    place = torch.arange(n)
    mean = (total[..., None, 1:] - total[..., :-1, None]) / (mass[..., None, 1:] - mass[..., :-1, None])
    mean = mean.masked_fill(place[:, None] > place, torch.inf)  # [..., j, k]
    least = mean.flip(-1).cummin(-1).values.flip(-1)  # over k >= i
    return least.masked_fill(place[:, None] > place, -torch.inf).amax(-2)
