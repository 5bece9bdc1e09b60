"""Posterior samplers: schedule x solver x guidance x M-steps, all independent of each other."""

from diffsr.samplers.annealed import AnnealedSampler, Samples
from diffsr.samplers.estimation import UpdateNoise
from diffsr.samplers.guidance import NoisePerturbed, Proximal, Unguided
from diffsr.samplers.problem import Problem
from diffsr.samplers.randomness import RowNoise
from diffsr.samplers.solvers import Euler, Renoise

__all__ = [
    "AnnealedSampler",
    "Euler",
    "NoisePerturbed",
    "Problem",
    "Proximal",
    "Renoise",
    "RowNoise",
    "Samples",
    "Unguided",
    "UpdateNoise",
]
