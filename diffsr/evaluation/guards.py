"""What every score has to be safe from: silence, constants, samples that are not finite, other shapes."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from diffsr.signal.levels import SILENCE_DB, from_db, rms


def unusable(wave: Tensor) -> Tensor:
    """Which rows are silent, constant or not finite, [..., T] -> bool [...]."""
    wave = double(wave)
    centred = wave - wave.mean(-1, keepdim=True)
    return ~wave.isfinite().all(-1) | ~(rms(centred) > from_db(SILENCE_DB))


def undefined(est: Tensor, ref: Tensor) -> Tensor:
    """Which rows have no score, [..., T] -> bool [...].

    Raises:
        ValueError: The shapes differ or there are no samples.
    """
    if est.shape != ref.shape or est.numel() == 0 or est.ndim == 0:
        raise ValueError(
            f"The estimate has shape {list(est.shape)} and the reference {list(ref.shape)}; "
            "expected the same [..., T] with T > 0."
        )
    return unusable(est) | unusable(ref)


def unit_level(wave: Tensor) -> Tensor:
    """Mean removed, RMS 1, in float64, [..., T] -> [..., T]; silence stays silence."""
    wave = double(wave)
    wave = wave - wave.mean(-1, keepdim=True)
    return wave / rms(wave).clamp_min(torch.finfo(torch.float64).tiny)[..., None]


def double(wave: Tensor) -> Tensor:
    """In float64, which MPS does not have: on the CPU there."""
    wave = wave.detach()
    return (wave.cpu() if wave.device.type == "mps" else wave).double()


def all_nan(undefined: Tensor) -> Tensor:
    """NaN for every row."""
    return torch.full_like(undefined, math.nan, dtype=torch.float32)


def by_row(score: Callable[..., float], waves: tuple[Tensor, ...], undefined: Tensor) -> Tensor:
    """Score each row alone, so that one bad row does not take the others with it, [..., T] -> [...].

    Args:
        score: Gets one float32 row [T] of each wave on the CPU.
        waves: Of one shape [..., T].
        undefined: Rows that are NaN without being scored, [...].
    """
    rows = zip(undefined.reshape(-1).tolist(), *(_rows(wave) for wave in waves), strict=True)
    scores = [math.nan if skip else score(*row) for skip, *row in rows]
    return torch.tensor(scores, dtype=torch.float32, device=undefined.device).reshape(undefined.shape)


def _rows(wave: Tensor) -> Tensor:
    return wave.detach().reshape(-1, wave.shape[-1]).to("cpu", torch.float32)
