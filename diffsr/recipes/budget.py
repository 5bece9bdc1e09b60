"""How many calls of the network a preset has, and how they are shared by levels and samples."""

from __future__ import annotations

PRESETS = {"fast": 30, "default": 60, "quality": 200}
"""Name of a preset -> calls of the network for each recording."""

LEVELS = 30
"""Noise levels of a sample; more calls are better spent on a second one (docs/enhancement_trials.md)."""
MOST_SAMPLES = 6
"""Beyond which they are level, and calls go into more levels."""
RESTARTS, RESTART_LEVELS = 4, 60
"""Of several talkers, and the noise levels of one beyond which calls are better spent on more restarts."""


def split(n_calls: int, n_levels: int = LEVELS) -> tuple[int, int]:
    """Calls -> noise levels, from `n_levels` on where there are as many calls, and posterior samples."""
    n_samples = min(max(n_calls // n_levels, 1), MOST_SAMPLES)
    return n_calls // n_samples, n_samples


def restarts(n_calls: int) -> tuple[int, int]:
    """Calls -> noise levels and restarts of several talkers: 13 of 60 levels for 4 times 200 calls."""
    n_steps = min(n_calls, RESTART_LEVELS)
    return n_steps, RESTARTS * n_calls // n_steps
