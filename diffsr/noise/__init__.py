"""Noise as a network hears it: the listener, and the imagined noise that it is trained on."""

from diffsr.noise.imagined import ImaginedNoise
from diffsr.noise.listener import NoiseListener
from diffsr.noise.listening import Listening

__all__ = ["ImaginedNoise", "Listening", "NoiseListener"]
