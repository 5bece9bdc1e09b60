"""Sample-rate conversion with soxr: linear phase, so no delay, and an exact length."""

from __future__ import annotations

import soxr  # type: ignore[import-untyped]
import torch
from torch import Tensor


def resample(wave: Tensor, from_hz: int, to_hz: int, n_samples: int | None = None) -> Tensor:
    """Convert the sample rate, [..., T] -> [..., T'].

    Args:
        wave: Floating-point waveforms, any leading dimensions.
        from_hz: Rate of `wave`.
        to_hz: Rate of the result.
        n_samples: Length of the result; None for T * to_hz / from_hz, rounded. The way back to the
            original rate needs it, because that rounding loses the exact length.

    Returns:
        The same signal from time zero on, cut or zero-padded at the end by the few samples that
        rounding makes, on the device and in the dtype of `wave`.
    """
    length = wave.shape[-1]
    target = round(length * to_hz / from_hz) if n_samples is None else n_samples
    if from_hz == to_hz or wave.numel() == 0:
        return _fit(wave, target)
    rows = wave.detach().reshape(-1, length)
    work = rows.double() if rows.dtype == torch.float64 else rows.float()
    out = soxr.resample(work.T.contiguous().cpu().numpy(), from_hz, to_hz, quality="VHQ")
    converted = torch.from_numpy(out).T.to(device=wave.device, dtype=wave.dtype)
    return _fit(converted.reshape(*wave.shape[:-1], -1), target)


def _fit(wave: Tensor, n_samples: int) -> Tensor:
    """Cut or zero-pad the end."""
    missing = n_samples - wave.shape[-1]
    if missing > 0:
        return torch.nn.functional.pad(wave, (0, missing))
    return wave[..., :n_samples].contiguous()
