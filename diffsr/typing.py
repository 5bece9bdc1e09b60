"""Shapes of the arrays that cross module borders, and what counts as a whole number.

Letters, always in this order: B items, R restarts, S sources, C microphones, F frequency bins,
N frames, T samples. Restarts are folded into rows, B*R, wherever a posterior is sampled.
"""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Protocol, TypeAlias

from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from diffsr.signal.stft import STFT

Observation: TypeAlias = Float[Tensor, "rows C T"]
Sources: TypeAlias = Float[Tensor, "rows S T"]


def is_whole(number: object) -> bool:
    """Whether something is an integer, of Python or NumPy, and no truth value."""
    return isinstance(number, numbers.Integral) and not isinstance(number, bool)


class Denoiser(Protocol):
    """All that a sampler knows of a prior: `E[x | z, sigma]` and how uncertain that estimate is.

    `diffsr.diffusion.Prior`, its windowed form for long recordings and the analytic priors of the
    tests all satisfy it.
    """

    rate_hz: int
    sigma_data: float

    def denoise(self, z: Tensor, sigma: Tensor) -> Tensor:
        """Posterior mean of clean speech, `[..., T]` given `z = x + sigma * noise`; sigma is `[...]`."""
        ...

    def uncertainty(self, x0: Tensor, sigma: Tensor, stft: STFT) -> Tensor:
        """Variance `E|X - X0|^2` per STFT bin, broadcastable to `[..., F, N]`."""
        ...
