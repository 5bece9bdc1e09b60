"""Preconditioning of the denoiser (EDM, arXiv 2206.00364, Table 1 and Eq. 7)."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Precondition(NamedTuple):
    """Scalings of `D(z, sigma) = skip * z + out * F(in * z, noise)`, each of the shape of sigma."""

    c_skip: Tensor
    c_out: Tensor
    c_in: Tensor
    c_noise: Tensor


def precondition(sigma: Tensor, sigma_data: float) -> Precondition:
    """Scalings that keep input, output and target of the network at unit variance for every sigma."""
    total = sigma**2 + sigma_data**2
    return Precondition(
        c_skip=sigma_data**2 / total,
        c_out=sigma * sigma_data / total.sqrt(),
        c_in=1 / total.sqrt(),
        c_noise=sigma.log() / 4,
    )
