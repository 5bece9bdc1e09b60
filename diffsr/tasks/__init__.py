"""LightningModules: training of the prior, and one inference module per task."""

from diffsr.tasks.dereverb import DereverbModule
from diffsr.tasks.enhance import EnhanceModule
from diffsr.tasks.prior import PriorModule
from diffsr.tasks.repair import RepairModule
from diffsr.tasks.restoration import RestorationModule

__all__ = ["DereverbModule", "EnhanceModule", "PriorModule", "RepairModule", "RestorationModule"]
