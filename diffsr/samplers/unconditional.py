"""Speech out of nothing: what the prior believes."""

from __future__ import annotations

import torch
from torch import Tensor

from diffsr.degradations.mixing import Mixing
from diffsr.likelihoods.nmf import NMFNoise
from diffsr.samplers.annealed import AnnealedSampler, OnStep
from diffsr.samplers.guidance import Unguided
from diffsr.samplers.problem import Problem
from diffsr.samplers.randomness import RowNoise
from diffsr.typing import Denoiser


def draw_speech(
    prior: Denoiser,
    n_items: int,
    duration_s: float,
    n_steps: int = 60,
    sigma_max: float = 4.0,
    seed: int = 0,
    first: int = 0,
    device: str | torch.device = "cpu",
    on_step: OnStep | None = None,
) -> Tensor:
    """Draw from the prior: `[n_items, T]` on `device` with `T = duration_s * rate_hz`.

    The random numbers of a draw depend on `seed` and its own number alone.

    Args:
        prior: On `device`.
        n_items: Number of draws.
        duration_s: Length of each.
        n_steps: Network calls for each.
        sigma_max: Noise level to start from.
        seed: Of all draws.
        first: Number of the first draw.
        device: Where to compute.
        on_step: Called with (finished, total) steps.
    """
    noise = RowNoise(seed, [f"draw-{first + index}" for index in range(n_items)])
    nothing = torch.zeros(n_items, 1, round(duration_s * prior.rate_hz), device=device)
    rows = torch.arange(n_items, device=device)
    problem = Problem(nothing, prior, Mixing(), NMFNoise(), noise, rows)
    sampler = AnnealedSampler(Unguided(), estimators=[], n_steps=n_steps, sigma_max=sigma_max)
    return sampler.sample(problem, sigma_max * noise.normal_like(nothing), on_step).x[:, 0]
