"""Noise models: `log p(y | A(x))` with the parameters of the noise."""

from diffsr.likelihoods.base import Likelihood
from diffsr.likelihoods.drifting import DriftingNoise
from diffsr.likelihoods.gaussian import WhiteNoise
from diffsr.likelihoods.known import KnownNoise
from diffsr.likelihoods.late_reverberation import LateReverberation
from diffsr.likelihoods.nmf import NMFNoise
from diffsr.likelihoods.spectral import SpectralCompression

__all__ = [
    "DriftingNoise",
    "KnownNoise",
    "LateReverberation",
    "Likelihood",
    "NMFNoise",
    "SpectralCompression",
    "WhiteNoise",
]
