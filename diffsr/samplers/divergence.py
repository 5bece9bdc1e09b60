"""Samplers that diverge: found out row by row, and told with what was still good."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffsr.errors import DiffsrError
from diffsr.typing import Sources

if TYPE_CHECKING:
    from diffsr.samplers.annealed import Samples
    from diffsr.samplers.problem import Problem

CHECK_EVERY = 8
"""Levels between two looks at whether a row is left; each makes the device wait."""
LOUDEST = 100.0
"""An estimate is worth keeping up to this many times the peak of its recording."""


class DivergedError(DiffsrError):
    """NaN or infinite values came up in some rows; the other rows are as they should be.

    Attributes:
        samples: Of all rows; of those that diverged, the last estimate that was of use.
        rows: Those that diverged.
    """

    def __init__(self, message: str, samples: Samples, rows: Sequence[int]) -> None:
        super().__init__(message)
        self.samples, self.rows = samples, list(rows)


class FiniteRows:
    """Which rows are still finite, and the last estimate of each that was of use.

    Args:
        problem: What is sampled; a row that diverges at once keeps its recording.
        z: First state `[rows, S, T]`.
    """

    def __init__(self, problem: Problem, z: Sources) -> None:
        self.n_levels = 0
        self.finite_levels = torch.zeros(z.shape[0], dtype=torch.long, device=z.device)
        self.last = (problem.y[:, :1] / problem.n_sources).expand_as(z)
        self._limit = LOUDEST * problem.y.abs().amax((1, 2))

    def look(self, x0: Sources, z: Sources) -> bool:
        """Take in one level, estimate and next state `[rows, S, T]`; false when no row is left."""
        finite = x0.isfinite().flatten(1).all(1) & z.isfinite().flatten(1).all(1)
        finite &= self.finite_levels == self.n_levels
        useful = finite & (x0.abs().flatten(1).amax(1) <= self._limit)
        self.last = torch.where(useful[:, None, None], x0, self.last)
        self.finite_levels += finite
        self.n_levels += 1
        return self.n_levels % CHECK_EVERY != 0 or bool(finite.any())

    def result(self, z: Sources) -> tuple[Sources, list[int]]:
        """The states, for rows that diverged their last estimate; and at how many levels each was finite."""
        finite = self.finite_levels == self.n_levels
        return torch.where(finite[:, None, None], z, self.last), self.finite_levels.tolist()


def refuse_diverged(samples: Samples, finite_levels: Sequence[int], n_done: int, sigmas: Tensor) -> None:
    """Tell of rows that were finite at fewer levels than there were.

    Raises:
        DivergedError: There are some; the message names the level where the first one went astray.
    """
    first = min(finite_levels)
    if first == n_done:
        return
    rows = [row for row, count in enumerate(finite_levels) if count < n_done]
    named = ", ".join(map(str, rows[:8])) + ", ..." * (len(rows) > 8)
    raise DivergedError(
        f"The sampler diverged at level {first + 1} of {len(sigmas) - 1} (sigma {float(sigmas[first]):.3g}): "
        f"NaN or infinite values in {len(rows)} of {len(finite_levels)} rows ({named}). Expected finite "
        "audio; check the prior with `diffsr validate`, or use more levels, smaller steps or another preset.",
        samples,
        rows,
    )
