"""How the learning rate of a prior goes over a training."""

from __future__ import annotations

import math
from typing import Literal

from diffsr.errors import ConfigError

Schedule = Literal["cosine", "constant", "decay"]


def check_learning_rate(learning_rate: float, warmup: float) -> None:
    """Refuse what cannot be.

    Raises:
        ConfigError: The peak is not above 0, or the share with a rising rate not from 0 to below 1.
    """
    if not 0 < learning_rate < math.inf:
        raise ConfigError(f"learning_rate is {learning_rate:g}, expected a number above 0, such as 1e-3.")
    if not 0 <= warmup < 1:
        raise ConfigError(f"warmup is {warmup:g}, expected a share of the budget from 0 to below 1.")


def learning_rate_factor(progress: float, warmup: float) -> float:
    """Linear rise over the share `warmup` (below 1), then half a cosine down to zero at progress 1."""
    if progress < warmup:
        return max(progress / warmup, 1e-2)
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def piece_factor(progress: float, step: int, warmup_steps: int, last: bool) -> float:
    """Linear rise over `warmup_steps`, then 1, or `1 - sqrt(progress)` in the last piece of a training.

    Warm-up, stable phase and decay of arXiv 2405.18392, whose decay this is. The rise is counted in steps,
    since it waits for the statistics of the optimizer, but takes a fifth of the budget at most.
    """
    rise = max((step + 1) / max(warmup_steps, 1), 5 * progress)
    return min(rise, 1.0) * (1 - math.sqrt(progress) if last else 1.0)
