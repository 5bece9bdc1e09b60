"""Samples cut off at a level that the device could not exceed."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from diffsr.degradations.base import Degradation, per_row, refuse_resampled
from diffsr.errors import ConfigError, DataError
from diffsr.signal.damage import TOLERANCE, estimate_threshold


class Clipping(Degradation):
    """`max(-c, min(c, x))` with one threshold c for each row.

    Not linear. Without gradient where x is beyond the threshold: any value there explains y as well.

    Args:
        threshold: Known levels of items `[B]`, or one for all, in the units of the recordings (full scale is
            1); None to estimate them (`estimate_threshold`).

    Raises:
        ConfigError: A threshold is not positive or not finite.
    """

    linear = False
    has_projection = True
    raises_peaks = True
    keeps_samples = True
    nothing_found = "is not clipped, or was filtered or coded since: samples pile up at no level"

    def __init__(self, threshold: Tensor | float | None = None) -> None:
        super().__init__()
        self.known = (
            None if threshold is None else torch.as_tensor(threshold, dtype=torch.float32).reshape(-1)
        )
        if self.known is not None and not bool(((self.known > 0) & self.known.isfinite()).all()):
            raise ConfigError(
                f"The threshold of clipping is {self.known.tolist()}, expected levels above 0. Leave it out "
                "to have it estimated."
            )
        self.threshold = torch.ones(1)
        """Levels of this batch `[rows]`."""

    def reset(self, y: Tensor, n_sources: int) -> None:
        """Known thresholds, or those found in y.

        Raises:
            DataError: Rows never reach the threshold or exceed it, or no level is found at which samples
                pile up.
        """
        super().reset(y, n_sources)
        if self.known is None:
            self.threshold = estimate_threshold(y)
            lacks = self.threshold.isnan()
            reason = (
                "have no level at which samples pile up: they are not clipped, or were filtered or coded "
                "since. Give the threshold, or restore them without clipping"
            )
        else:
            self.threshold = per_row(self.known, y, "thresholds").to(y.dtype)
            peak = y.abs().amax((1, 2))
            lacks = ~((peak - self.threshold).abs() <= 10 * TOLERANCE * self.threshold)
            reason = (
                f"have their peaks at {_some(peak[lacks] / self.threshold[lacks])} of their "
                "thresholds: what was clipped has its peak there. Correct the threshold (in the units of the "
                "recording), or leave it out to have it estimated"
            )
        if rows := lacks.nonzero()[:, 0].tolist():
            raise DataError(f"Rows {', '.join(map(str, rows))} of the batch {reason}.")

    def at_scale(self, scale: Tensor) -> Self:
        """See base: with the levels that the recordings have there."""
        return self if self.known is None else self._knowing(per_row(self.known, scale, "thresholds") * scale)

    def damaged(self, y: Tensor) -> Tensor:
        """Where a level is found, if it is not known."""
        return super().damaged(y) if self.known is not None else ~estimate_threshold(y).isnan()

    def check_rates(self, recorded_hz: int, rate_hz: int) -> None:
        """See base: resampled, clipped samples lie on both sides of the level."""
        super().check_rates(recorded_hz, rate_hz)
        refuse_resampled(recorded_hz, rate_hz, "clipping")

    def forward(self, x: Tensor) -> Tensor:
        """`[rows, C, T] -> [rows, C, T]`."""
        level = self.threshold[:, None, None]
        return torch.maximum(torch.minimum(x, level), -level)

    def consistent(self, x0: Tensor, y: Tensor) -> Tensor:
        """The recording below the threshold; at it, at least the threshold with the sign of the recording."""
        level = self.threshold[:, None, None]
        beyond = torch.maximum(x0 * y.sign(), level) * y.sign()
        return torch.where(self.clipped(y), beyond, y)

    def clipped(self, y: Tensor) -> Tensor:
        """Which samples are at the threshold, bool of the shape of y."""
        return y.abs() >= (1.0 - TOLERANCE) * self.threshold[:, None, None]

    def describe(self) -> dict[str, Tensor]:
        """`clipping_threshold [rows]`."""
        return {"clipping_threshold": self.threshold.detach()}


def _some(levels: Tensor) -> str:
    return ", ".join(f"{level:.4g}" for level in levels.tolist()[:4])
