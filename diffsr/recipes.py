"""Tasks and presets: which parts of the physics are switched on, and how many calls are spent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from diffsr.degradations import Clipping, Degradation, LowPass, Mixing, PacketLoss
from diffsr.errors import ConfigError
from diffsr.likelihoods import Likelihood, NMFNoise, WhiteNoise
from diffsr.samplers import AnnealedSampler, NoisePerturbed, Projection, Renoise

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


def repair(degradation: Degradation, n_steps: int) -> Recipe:
    """Damage without noise: what was recorded is kept, the prior fills in the rest. See docs/repair.md."""
    sampler = AnnealedSampler(Projection(), Renoise(sampled=False), estimators=[], n_steps=n_steps, churn=0.0)
    return Recipe(sampler, WhiteNoise(level=1e-5), degradation)


TASKS: dict[str, Callable[[int], Recipe]] = {"enhance": enhance}
"""Name of a task -> its recipe for a number of calls."""
REPAIRS = ("declip", "packet_loss", "bandwidth")
"""Tasks for recordings with one known kind of damage, which the benchmark's recordings do not have."""


def check_choice(task: str, preset: str, cutoff_hz: float | None = None) -> None:
    """Refuse what no recipe is there for.

    Raises:
        ConfigError: No such task or preset; no cut-off for `bandwidth`, or one for another task.
    """
    for kind, name, known in (("task", task, (*TASKS, *REPAIRS)), ("preset", preset, tuple(PRESETS))):
        if name not in known:
            raise ConfigError(f"There is no {kind} {name!r}; choose one of: {', '.join(known)}.")
    if (cutoff_hz is not None) != (task == "bandwidth"):
        found = f"has none, found {cutoff_hz:g} Hz" if cutoff_hz is not None else "needs one, found none"
        fix = "Leave it out" if cutoff_hz is not None else "Give the frequency where the recording ends"
        raise ConfigError(f"cutoff_hz: the task {task} {found}. {fix} (--cutoff_hz on the command line).")


def make_recipe(
    task: str = "enhance", preset: str = "default", rate_hz: int = 16000, cutoff_hz: float | None = None
) -> Recipe:
    """The recipe of a task at a preset.

    Args:
        task: One of `TASKS` or `REPAIRS`.
        preset: One of `PRESETS`.
        rate_hz: Rate of the prior.
        cutoff_hz: Where the recordings of `bandwidth` end; None for all other tasks.

    Raises:
        ConfigError: See `check_choice`, or the cut-off does not fit the rate.
    """
    check_choice(task, preset, cutoff_hz)
    n_steps = PRESETS[preset]
    if task == "declip":
        return repair(Clipping(), n_steps)
    if task == "packet_loss":
        return repair(PacketLoss(rate_hz=rate_hz), n_steps)
    if cutoff_hz is not None:
        return repair(LowPass(cutoff_hz, rate_hz), n_steps)
    return TASKS[task](n_steps)
