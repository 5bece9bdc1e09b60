"""Linear convolution by FFT."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def convolve(wave: Tensor, response: Tensor, n_samples: int, start: int = 0) -> Tensor:
    """Samples `start` to `start + n_samples` of the full linear convolution, [..., T] * [..., L] -> [..., n].

    Leading dimensions broadcast; behind the end of the convolution stand zeros.
    """
    # Samples from start + n_samples on may wrap around into those before start, which are cut off.
    needed = max(wave.shape[-1], response.shape[-1], start + n_samples, 1)
    full = wave.shape[-1] + response.shape[-1] - 1
    size = fast_length(min(full, max(needed, full - start)))
    spectrum = torch.fft.rfft(wave, size) * torch.fft.rfft(response, size)
    out = torch.fft.irfft(spectrum, size)[..., start : start + n_samples]
    return torch.nn.functional.pad(out, (0, n_samples - out.shape[-1]))


def fast_length(n: int) -> int:
    """The smallest 2^a 3^b 5^c of at least `n`: FFTs of such lengths are fast.

    Example:
        >>> fast_length(7), fast_length(64001)
        (8, 64800)
    """
    best = 2 ** math.ceil(math.log2(max(n, 1)))
    power5 = 1
    while power5 < best:
        power3 = power5
        while power3 < best:
            best = min(best, power3 * 2 ** max(0, math.ceil(math.log2(n / power3))))
            power3 *= 3
        power5 *= 5
    return best
