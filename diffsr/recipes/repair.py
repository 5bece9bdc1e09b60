"""One talker and one known kind of damage, no noise: `declip`, `packet_loss`, `bandwidth`."""

from __future__ import annotations

from collections.abc import Sequence

from diffsr.degradations import Clipping, Degradation, PacketLoss
from diffsr.likelihoods import WhiteNoise
from diffsr.recipes.budget import split
from diffsr.recipes.recipe import Recipe
from diffsr.samplers import AnnealedSampler, Euler, LogSpectralMean, Projection, Renoise
from diffsr.samplers.estimation import Estimator

REPAIR_LEVELS = 60
"""Of clipping and of a lost band, beyond which calls are better spent on more samples (docs/repair.md)."""


def declip(n_calls: int, degradation: Degradation | None = None) -> Recipe:
    """Clipped peaks, no noise: the other samples are kept, the prior raises them. See docs/repair.md."""
    n_steps, n_samples = split(n_calls, REPAIR_LEVELS)
    # Opposite noise from level to level, and more of it than the prior is told, the less the more levels.
    solver = Renoise(sampled=False, share=1 + 6 / n_steps, kept=-0.9)
    sampler = AnnealedSampler(
        Projection(), solver, [], n_steps, sigma_max=0.2, sigma_min=1e-3, rho=5.0, churn=0.0
    )
    return Recipe(sampler, WhiteNoise(level=1e-5), degradation or Clipping(), n_samples)


def fill_gaps(n_steps: int, rate_hz: int = 16000) -> Recipe:
    """Lost packets, no noise: what was received is kept, the prior fills in the rest. See docs/repair.md."""
    solver = Renoise(sampled=False)
    sampler = AnnealedSampler(
        Projection(), solver, [], n_steps, sigma_max=0.2, sigma_min=1e-4, rho=7.0, churn=0.0
    )
    return Recipe(sampler, WhiteNoise(level=1e-5), PacketLoss(rate_hz=rate_hz))


def widen(degradation: Degradation, n_calls: int, estimators: Sequence[Estimator] = ()) -> Recipe:
    """A lost band, no noise: the other is kept, the prior fills in the rest. See docs/repair.md."""
    n_steps, n_samples = split(n_calls, REPAIR_LEVELS)
    sampler = AnnealedSampler(
        Projection(),
        Euler(),
        estimators,
        n_steps,
        sigma_max=0.5,
        sigma_min=5e-4,
        rho=8.0,
        churn=2.0,
        churn_above=0.01,  # further down fresh noise takes the upper band of speech away
    )
    return Recipe(sampler, WhiteNoise(level=1e-5), degradation, n_samples, joiner=LogSpectralMean())
