"""What every noise model offers."""

from __future__ import annotations

import math

from torch import Tensor, nn

from diffsr.errors import ConfigError
from diffsr.signal.stft import STFT

FLOOR = 1e-10
"""Least variance of a bin, about 120 dB below full scale, so that digital silence divides safely."""


class Likelihood(nn.Module):
    """`Y - A(X) ~ CN(0, v)` in STFT bins, with parameters of each recording in v.

    Args:
        n_fft: STFT window in samples.
        hop_samples: STFT hop in samples, at most half the window.

    Raises:
        ConfigError: The hop is below 1 or above half the window.
    """

    def __init__(self, n_fft: int = 512, hop_samples: int = 128) -> None:
        super().__init__()
        if not 0 < 2 * hop_samples <= n_fft:
            raise ConfigError(
                f"{type(self).__name__}: n_fft is {n_fft} and hop_samples {hop_samples}; expected a hop of 1 "
                "sample or more, and at most half the window."
            )
        self.stft = STFT(n_fft, hop_samples)

    @property
    def variance(self) -> Tensor:
        """Noise power v, broadcastable to `[rows, F, N]`."""
        raise NotImplementedError

    def reset(self, y: Tensor, item_of_row: Tensor) -> None:
        """Start from observations `[rows, 1, T]`; row r belongs to item `item_of_row[r]`.

        Rows of one item are neighbours, as many for each item.
        """
        raise NotImplementedError

    def update(self, residual: Tensor, extra_variance: Tensor) -> None:
        """One M-step on the residual `[rows, 1, T]` of an estimate whose own variance is `extra_variance`."""
        raise NotImplementedError

    def describe(self) -> dict[str, Tensor]:
        """The noise of each row for the user: `noise_power [rows, F, N]` in bins, or 1 for what is shared."""
        return {"noise_power": self.variance.detach()}

    def log_prob(self, y: Tensor, y_hat: Tensor, extra_variance: Tensor | float = 0.0) -> Tensor:
        """`log p(y | A x)` up to a constant, `[rows]`, for observations `[rows, 1, T]`."""
        variance = self.variance + extra_variance
        residual = self.stft((y - y_hat)[:, 0]).abs().square()
        return -(residual / variance + variance.log()).sum((-2, -1))


def check_start(model: Likelihood, quantile: float, bias: float) -> None:
    """Refuse a start that is no part of the power of a recording, see `signal.noise_floor`.

    Raises:
        ConfigError: The quantile is outside 0..1, or the bias not above 0.
    """
    if not 0 <= quantile <= 1 or not 0 < bias < math.inf:
        raise ConfigError(
            f"{type(model).__name__}: quantile is {quantile:g} and bias {bias:g}; expected a quantile from 0 "
            "to 1 and a bias above 0."
        )


def noise_posterior_power(residual: Tensor, variance: Tensor, extra_variance: Tensor) -> Tensor:
    """`E|N|^2` in each bin, given what an estimate leaves over (explicit noise posterior, arXiv 2601.09931).

    Args:
        residual: `Y - A(X0)` of the uncorrected estimate, complex `[rows, F, N]`.
        variance: Noise power v before `[rows, F, N]`.
        extra_variance: Variance of `A(x0)` in bins, broadcastable to `[rows, F, N]`.
    """
    share = variance / (variance + extra_variance)
    return (share * residual.abs()).square() + share * extra_variance


def mean_over_restarts(per_row: Tensor, item_of_row: Tensor) -> Tensor:
    """Average rows of the same item, neighbours and as many of each: `[rows, ...] -> [B, ...]`."""
    n_items = int(item_of_row[-1]) + 1
    return per_row.unflatten(0, (n_items, -1)).mean(1)  # without atomic sums, whose order is by chance
