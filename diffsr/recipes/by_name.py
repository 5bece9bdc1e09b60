"""Which recipe a task has at a preset."""

from __future__ import annotations

from collections.abc import Callable

from diffsr.degradations import BlindLowPass, LowPass
from diffsr.errors import ConfigError
from diffsr.recipes.budget import PRESETS
from diffsr.recipes.one_talker import denoise_dereverb, dereverb, enhance
from diffsr.recipes.recipe import Recipe
from diffsr.recipes.repair import declip, fill_gaps, widen
from diffsr.recipes.talkers import joint, separate
from diffsr.samplers import UpdateLowPass
from diffsr.typing import is_whole

TASKS: dict[str, Callable[[int, int], Recipe]] = {
    "enhance": enhance,
    "dereverb": dereverb,
    "denoise_dereverb": denoise_dereverb,
}
"""Name of a task -> its recipe for a number of calls and the rate of the prior."""
TALKER_TASKS: dict[str, Callable[[int, int, int], Recipe]] = {"separate": separate, "joint": joint}
"""Name of a task for several talkers -> its recipe for a number of calls, the rate of the prior, and S."""
MIN_TALKERS, MAX_TALKERS, DEFAULT_TALKERS = 2, 8, 2
REPAIRS = ("declip", "packet_loss", "bandwidth")
"""Tasks for recordings with one known kind of damage, which the benchmark's recordings do not have."""


def check_task(task: str) -> None:
    """Refuse a name that is no task's.

    Raises:
        ConfigError: It is none.
    """
    known = (*TASKS, *TALKER_TASKS, *REPAIRS)
    if task not in known:
        raise ConfigError(f"There is no task {task!r}; choose one of: {', '.join(known)}.")


def check_choice(task: str, preset: str, cutoff_hz: float | None = None, talkers: int | None = None) -> None:
    """Refuse what no recipe is there for.

    Raises:
        ConfigError: No such task or preset; a cut-off for another task than `bandwidth`; see `check_talkers`.
    """
    check_task(task)
    if preset not in PRESETS:
        raise ConfigError(
            f"There is no preset {preset!r}; choose one of: {', '.join(PRESETS)}, or give the .yaml file of "
            "an experiment."
        )
    if cutoff_hz is not None and task != "bandwidth":
        raise ConfigError(
            f"cutoff_hz: the task {task} has none, found {cutoff_hz:g} Hz. Leave it out (--cutoff_hz on the "
            "command line), or choose the task bandwidth."
        )
    check_talkers(task, talkers)


def check_talkers(task: str, talkers: int | None, of_experiment: bool = False) -> None:
    """Refuse numbers of talkers that cannot be restored; None is right for all tasks.

    Raises:
        ConfigError: The task is for one talker (unless an experiment is taken in its place), or the number
            is no whole one within the limits.
    """
    if talkers is None:
        return
    if task not in TALKER_TASKS and not of_experiment:
        raise ConfigError(
            f"talkers: the task {task} restores one talker, found talkers {talkers}. Leave it out (--talkers "
            f"on the command line), or choose the task {' or '.join(TALKER_TASKS)}."
        )
    if not is_whole(talkers) or not MIN_TALKERS <= talkers <= MAX_TALKERS:
        raise ConfigError(
            f"talkers is {talkers}; expected a whole number from {MIN_TALKERS} to {MAX_TALKERS} (--talkers "
            "on the command line). For one talker choose the task enhance, dereverb or denoise_dereverb."
        )


def make_recipe(
    task: str = "enhance",
    preset: str = "default",
    rate_hz: int = 16000,
    cutoff_hz: float | None = None,
    talkers: int | None = None,
) -> Recipe:
    """The recipe of a task at a preset.

    Args:
        task: One of `TASKS`, `TALKER_TASKS` or `REPAIRS`.
        preset: One of `PRESETS`.
        rate_hz: Rate of the prior.
        cutoff_hz: Where the recordings of `bandwidth` end; None to estimate it, and for all other tasks.
        talkers: How many there are, of `TALKER_TASKS`; None is two there, and right for all other tasks.

    Raises:
        ConfigError: See `check_choice`, or the cut-off does not fit the rate.
    """
    check_choice(task, preset, cutoff_hz, talkers)
    n_steps = PRESETS[preset]
    if task in TALKER_TASKS:
        return TALKER_TASKS[task](n_steps, rate_hz, talkers or DEFAULT_TALKERS)
    if task == "declip":
        return declip(n_steps)
    if task == "packet_loss":
        return fill_gaps(n_steps, rate_hz)
    if cutoff_hz is not None:
        return widen(LowPass(cutoff_hz, rate_hz), n_steps)
    if task == "bandwidth":
        return widen(BlindLowPass(rate_hz), n_steps, [UpdateLowPass()])
    return TASKS[task](n_steps, rate_hz)
