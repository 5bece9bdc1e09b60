"""Spectra whose magnitudes are compressed and whose phases stay."""

from __future__ import annotations

from torch import Tensor

_SHARE, _SILENCE = 1e-6, 1e-30


def compress(spectrum: Tensor, exponent: float, floor: Tensor | float) -> Tensor:
    """`|Y|^exponent exp(j arg Y)`, as `Y (|Y|^2 + floor)^((exponent - 1) / 2)`: smooth at 0.

    Args:
        spectrum: Complex, any shape.
        exponent: Of the magnitudes, above 0; 1 changes nothing.
        floor: Power above 0 well below which magnitudes are compressed no further, broadcastable.
    """
    return spectrum * (power(spectrum) + floor) ** ((exponent - 1.0) / 2.0)


def power(spectrum: Tensor) -> Tensor:
    """`|Y|^2` with a gradient at 0, which `abs` has not."""
    return spectrum.real.square() + spectrum.imag.square()


def relative_floor(spectrum: Tensor) -> Tensor:
    """A millionth of the mean power, the floor of `compress` for any level, `[..., F, N] -> [..., 1, 1]`."""
    return _SHARE * power(spectrum).mean((-2, -1), keepdim=True) + _SILENCE
