"""Diffusion priors: preconditioning, schedules, loss, and the prior itself."""

from diffsr.diffusion.adaptation import Lesson, adapted
from diffsr.diffusion.prior import Prior
from diffsr.diffusion.schedule import LogNormalLevels, RhoUniformLevels, rho_schedule
from diffsr.diffusion.told import AdaptedPrior, PersonalPrior, ToldPrior
from diffsr.diffusion.windowed import WindowedPrior

__all__ = [
    "AdaptedPrior",
    "Lesson",
    "LogNormalLevels",
    "PersonalPrior",
    "Prior",
    "RhoUniformLevels",
    "ToldPrior",
    "WindowedPrior",
    "adapted",
    "rho_schedule",
]
