"""Speech out of nothing: what the prior believes."""

from __future__ import annotations

import torch
from torch import Tensor

from diffsr.degradations.mixing import Mixing
from diffsr.likelihoods.nmf import NMFNoise
from diffsr.samplers.annealed import AnnealedSampler
from diffsr.samplers.guidance import Unguided
from diffsr.samplers.problem import Problem
from diffsr.samplers.randomness import RowNoise
from diffsr.typing import Denoiser


def draw_speech(
    prior: Denoiser, n_items: int, duration_s: float, n_steps: int = 60, sigma_max: float = 4.0, seed: int = 0
) -> Tensor:
    """Draw from the prior, on the CPU, `[n_items, T]` with `T = duration_s * rate_hz`."""
    noise = RowNoise(seed, [f"draw-{index}" for index in range(n_items)])
    nothing = torch.zeros(n_items, 1, round(duration_s * prior.rate_hz))
    problem = Problem(nothing, prior, Mixing(), NMFNoise(), noise, torch.arange(n_items))
    sampler = AnnealedSampler(Unguided(), estimators=[], n_steps=n_steps, sigma_max=sigma_max)
    return sampler.sample(problem, sigma_max * noise.normal_like(nothing)).x[:, 0]
