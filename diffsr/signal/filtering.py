"""Linear convolution with long responses, its adjoint, and responses of minimum phase.

`convolve` renders: by overlap-add on the CPU, without gradient. `fft_convolve` is the operator of an
observation model: many responses at once, on any device, differentiable, every row as if it were alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

SPECTRAL_FLOOR = 1e-10
"""Power below which `minimum_phase` does not follow a spectrum, where a large one has the order of 1."""


def convolve(wave: Tensor, response: Tensor, n_samples: int, start: int = 0) -> Tensor:
    """Samples `start` to `start + n_samples` of the full linear convolution, [T] * [..., L] -> [..., n].

    Behind the end of the convolution stand zeros. By overlap-add on the CPU, without gradient.
    """
    from scipy.signal import oaconvolve

    rows = wave.detach().numpy().reshape((1,) * (response.ndim - 1) + (-1,))
    out = torch.from_numpy(oaconvolve(rows, response.detach().numpy(), axes=-1))
    out = out[..., start : start + n_samples]
    return torch.nn.functional.pad(out, (0, n_samples - out.shape[-1]))


def fft_convolve(wave: Tensor, response: Tensor, start: int = 0) -> Tensor:
    """Samples `start` to `start + T` of the full linear convolution, [..., T] * [..., L] -> [..., T].

    Leading dimensions broadcast; zeros stand behind the end of the convolution.
    """
    return convolution_of(wave, response.shape[-1], start)(response)


def convolution_of(wave: Tensor, n_response: int, start: int = 0) -> Callable[[Tensor], Tensor]:
    """`fft_convolve` of one wave with many responses `[..., n_response]`, one after the other."""
    n_samples, n_fft = wave.shape[-1], _linear_length(wave.shape[-1], n_response, start)
    spectrum = rfft(wave, n_fft)

    def convolved(response: Tensor) -> Tensor:
        return irfft(spectrum * rfft(response, n_fft), n_fft)[..., start : start + n_samples]

    return convolved


def fft_correlate(wave: Tensor, response: Tensor, start: int = 0) -> Tensor:
    """The adjoint of `fft_convolve` in its wave, [..., T], [..., L] -> [..., T]."""
    n_samples, n_fft = wave.shape[-1], _linear_length(wave.shape[-1], response.shape[-1], start)
    later = torch.nn.functional.pad(wave, (start, 0))
    return irfft(rfft(later, n_fft) * rfft(response, n_fft).conj(), n_fft)[..., :n_samples]


def minimum_phase(response: Tensor, n_fft: int) -> Tensor:
    """The causal response with the same magnitude and the earliest energy, [..., L] -> [..., L].

    By the real cepstrum: what it holds at negative times is added to the positive ones (Oppenheim and
    Schafer, Discrete-Time Signal Processing, ch. 13). Differentiable.

    Args:
        response: Responses, L at most n_fft. What the result holds behind L samples is cut.
        n_fft: Length of the transforms, even; twice L keeps aliasing of the cepstrum low.
    """
    spectrum = rfft(response, n_fft)
    power = spectrum.real.square() + spectrum.imag.square()
    cepstrum = irfft(0.5 * (power + SPECTRAL_FLOOR).log(), n_fft)
    half = n_fft // 2
    folded = torch.cat(
        [cepstrum[..., :1], 2.0 * cepstrum[..., 1:half], cepstrum[..., half : half + 1]], dim=-1
    )
    return irfft(rfft(folded, n_fft).exp(), n_fft)[..., : response.shape[-1]]


def fast_length(n_samples: int) -> int:
    """The next even length that transforms fast."""
    from scipy.fft import next_fast_len

    return 2 * int(next_fast_len((n_samples + 1) // 2, real=True))


def rfft(wave: Tensor, n_fft: int) -> Tensor:
    """`torch.fft.rfft`, zero-padded to n_fft, rounded alike for one row and for many."""
    if wave[..., 0].numel() == 1:
        # Long transforms of a single row take another algorithm on CPUs, which rounds differently.
        return torch.fft.rfft(_twice(wave), n_fft)[:1].reshape(*wave.shape[:-1], -1)
    return torch.fft.rfft(wave, n_fft)


def irfft(spectrum: Tensor, n_fft: int) -> Tensor:
    """`torch.fft.irfft`, rounded alike for one row and for many."""
    if spectrum[..., 0].numel() == 1:
        return torch.fft.irfft(_twice(spectrum), n_fft)[:1].reshape(*spectrum.shape[:-1], -1)
    return torch.fft.irfft(spectrum, n_fft)


def _twice(rows: Tensor) -> Tensor:
    return rows.reshape(1, -1).expand(2, -1)


def _linear_length(n_wave: int, n_response: int, start: int) -> int:
    """Long enough that no sample that is kept wraps around."""
    return fast_length(max(n_wave + n_response - 1, n_wave + start))
