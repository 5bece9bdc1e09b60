"""LightningModules: training of the prior, and one inference module per task."""

from diffsr.tasks.dereverb import DereverbModule
from diffsr.tasks.enhance import EnhanceModule
from diffsr.tasks.joint import JointModule
from diffsr.tasks.prior import PriorModule
from diffsr.tasks.repair import RepairModule
from diffsr.tasks.restoration import RestorationModule
from diffsr.tasks.separate import SeparateModule

__all__ = [
    "DereverbModule",
    "EnhanceModule",
    "JointModule",
    "PriorModule",
    "RepairModule",
    "RestorationModule",
    "SeparateModule",
]
