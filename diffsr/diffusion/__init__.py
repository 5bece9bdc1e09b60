"""Diffusion priors: preconditioning, schedules, loss, and the prior itself."""

from diffsr.diffusion.prior import Prior
from diffsr.diffusion.schedule import LogNormalLevels, RhoUniformLevels, rho_schedule
from diffsr.diffusion.told import ToldPrior
from diffsr.diffusion.windowed import WindowedPrior

__all__ = ["LogNormalLevels", "Prior", "RhoUniformLevels", "ToldPrior", "WindowedPrior", "rho_schedule"]
