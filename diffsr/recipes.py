"""Tasks and presets: which parts of the physics are switched on, and how many calls are spent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from diffsr.degradations import Mixing
from diffsr.errors import ConfigError
from diffsr.likelihoods import Likelihood, NMFNoise
from diffsr.samplers import AnnealedSampler, NoisePerturbed
from diffsr.samplers.problem import Degradation

PRESETS = {"fast": 30, "default": 60, "quality": 200}
"""Name of a preset -> noise levels, which is also calls of the network."""


@dataclass
class Recipe:
    """Everything a restoration needs but the prior and the recording.

    Attributes:
        sampler: The loop with its schedule, guidance, solver and M-steps.
        likelihood: Noise model.
        degradation: From sources to observation.
    """

    sampler: AnnealedSampler = field(default_factory=AnnealedSampler)
    likelihood: Likelihood = field(default_factory=NMFNoise)
    degradation: Degradation = field(default_factory=Mixing)


def enhance(n_steps: int) -> Recipe:
    """One talker in noise, no room. Guidance, solver and churn chosen in docs/results.md."""
    return Recipe(sampler=AnnealedSampler(NoisePerturbed(), n_steps=n_steps, churn=2.0))


TASKS: dict[str, Callable[[int], Recipe]] = {"enhance": enhance}
"""Name of a task -> its recipe for a number of calls."""


def make_recipe(task: str = "enhance", preset: str = "default") -> Recipe:
    """The recipe of a task at a preset.

    Raises:
        ConfigError: No such task or preset.
    """
    for kind, name, known in (("task", task, TASKS), ("preset", preset, PRESETS)):
        if name not in known:
            raise ConfigError(f"There is no {kind} {name!r}; choose one of: {', '.join(known)}.")
    return TASKS[task](PRESETS[preset])
