"""Noise models: `log p(y | A(x))` with the parameters of the noise."""

from diffsr.likelihoods.base import Likelihood
from diffsr.likelihoods.gaussian import WhiteNoise
from diffsr.likelihoods.nmf import NMFNoise

__all__ = ["Likelihood", "NMFNoise", "WhiteNoise"]
