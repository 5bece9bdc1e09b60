"""Samples and rates as callers have them, in any kind of array, as PyTorch computes with them."""

from __future__ import annotations

import numbers

import numpy as np
import torch
from torch import Tensor

from diffsr.errors import AudioError, ConfigError


def as_wave(audio: Tensor | np.ndarray) -> Tensor:
    """Samples as a tensor of floating point, those that are signed integers as float32 of the same values.

    An array is copied: PyTorch takes neither NumPy's reversed views nor its read-only arrays.

    Raises:
        AudioError: It is no array, or not of real numbers whose zero is silence.
    """
    if isinstance(audio, Tensor):
        if audio.is_floating_point():
            return audio.detach()
        if audio.dtype.is_signed and not audio.is_complex():
            return audio.float()
    elif isinstance(audio, np.ndarray):
        if audio.dtype.kind == "f":
            size = min(audio.dtype.itemsize, 8)  # float64 of what is longer
            return torch.from_numpy(np.array(audio, dtype=f"=f{size}"))
        if audio.dtype.kind == "i":
            return torch.from_numpy(np.array(audio, dtype=np.float32))
    else:
        raise AudioError(
            f"The audio is of type {type(audio).__name__}; expected a NumPy array or a PyTorch tensor, "
            "[T] or [channels, T]. Convert it, for example with numpy.asarray(audio, dtype=numpy.float32)."
        )
    raise AudioError(
        f"The samples are of type {audio.dtype}; expected floating point or signed integers, whose 0 is "
        "silence. Convert them; of unsigned ones take half of their range off."
    )


def full_scale_of(audio: Tensor | np.ndarray) -> float:
    """What stands for full scale: 1, or of integers 128 or 32768 (8 or 16 bits).

    Of wider types that of the 16, 24 or 32 bits that hold all of the samples: arrays have often been widened.
    """
    wave = audio if isinstance(audio, Tensor) else np.asarray(audio)
    is_float = wave.is_floating_point() if isinstance(wave, Tensor) else wave.dtype.kind == "f"
    if is_float or 0 in wave.shape:
        return 1.0
    size = wave.element_size() if isinstance(wave, Tensor) else wave.dtype.itemsize
    peak = max(abs(int(wave.min())), abs(int(wave.max())))
    bits = 8 if size == 1 else next((bits for bits in (16, 24, 32) if peak <= 2 ** (bits - 1)), 64)
    return float(2 ** (bits - 1))


def as_rate(rate_hz: object) -> int:
    """A sampling rate in Hz, which may be of any type of number.

    Raises:
        ConfigError: It is no whole number.
    """
    if isinstance(rate_hz, numbers.Real) and not isinstance(rate_hz, bool):
        rate = float(rate_hz)
        if rate.is_integer():
            return int(rate)
    raise ConfigError(f"The sampling rate is {rate_hz!r}; expected a whole number of Hz, such as 16000.")
