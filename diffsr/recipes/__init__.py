"""Tasks and presets: which parts of the physics are switched on, and how many calls are spent."""

from diffsr.recipes.budget import PRESETS
from diffsr.recipes.by_name import (
    DEFAULT_TALKERS,
    MAX_TALKERS,
    MIN_TALKERS,
    REPAIRS,
    TALKER_TASKS,
    TASKS,
    check_choice,
    check_talkers,
    check_task,
    make_recipe,
)
from diffsr.recipes.one_talker import denoise_dereverb, dereverb, enhance, informed_dereverb
from diffsr.recipes.recipe import Recipe
from diffsr.recipes.repair import declip, fill_gaps, widen
from diffsr.recipes.talkers import joint, separate

__all__ = [
    "DEFAULT_TALKERS",
    "MAX_TALKERS",
    "MIN_TALKERS",
    "PRESETS",
    "REPAIRS",
    "TALKER_TASKS",
    "TASKS",
    "Recipe",
    "check_choice",
    "check_talkers",
    "check_task",
    "declip",
    "denoise_dereverb",
    "dereverb",
    "enhance",
    "fill_gaps",
    "informed_dereverb",
    "joint",
    "make_recipe",
    "separate",
    "widen",
]
