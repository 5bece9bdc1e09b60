"""Observation models: from sources to the observation, with parameters of their own."""

from diffsr.degradations.mixing import Mixing

__all__ = ["Mixing"]
