"""What a noise listener is to learn, and how far off it is."""

from __future__ import annotations

from torch import Tensor

from diffsr.signal.smoothing import mean_around

FINE, SLOW = (5, 3), (101, 3)
"""Frames and bins: as fast as noise is told from speckle, and as `likelihoods.DriftingNoise` has it."""
TINY = 1e-9
"""Of the power of noise in a bin of speech of RMS 0.05, which has about 0.5."""
MOST = 8.0
"""Logarithm of a ratio beyond which one bin counts no more."""


def listening_loss(log_power: Tensor, noise: Tensor) -> Tensor:
    """Itakura-Saito divergence of what is heard from the power of noise, which is least at its expectation.

    That is the likelihood of `N ~ CN(0, v)` but for a constant. Errors of logarithms as a loss give a lower
    level, which takes away less of the noise (docs/enhancement_trials.md).

    Args:
        log_power: As the listener has it, natural logarithm, `[B, F, N]`.
        noise: True noise power `[B, F, N]`.
    """
    ratio = (mean_around(noise, *FINE) + TINY).log() - log_power
    return (ratio.clamp_max(MOST).exp() - ratio - 1).mean()


def slow_error(log_power: Tensor, noise: Tensor) -> Tensor:
    """By what the drifting level is too high, natural logarithm of powers, `[B, F, N]`."""
    found, true = (mean_around(power, *SLOW) + TINY for power in (log_power.exp(), noise))
    return (found / true).log()
