"""From what a user asks for to a recipe: a task at a preset, an experiment file, a known room."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from diffsr import recipes
from diffsr.degradations import read_response
from diffsr.errors import ConfigError, DataError
from diffsr.experiment_file import is_recipe_file, tasks_of
from diffsr.io.audio import probe
from diffsr.io.network import SmallNetwork
from diffsr.recipe_file import load_recipe
from diffsr.recipes import Recipe
from diffsr.samplers.voices import check_rate

DEFAULT_TASK, INFORMED_TASK = "enhance", "dereverb"


def check_choice(
    task: str,
    preset: str | Path,
    cutoff_hz: float | None = None,
    rir: str | Path | None = None,
    talkers: int | None = None,
) -> None:
    """Refuse what there is no recipe for, before anything is loaded.

    Raises:
        ConfigError: No such task, preset or experiment; an experiment for another task, a cut-off, a room
            response or a number of talkers that does not fit.
        AudioError: The room response is missing or no audio.
        DataError: It has several channels.
    """
    recipes.check_task(task)
    if is_recipe_file(preset):
        if not Path(preset).expanduser().is_file():
            raise ConfigError(
                f"There is no experiment {preset}; expected a YAML file such as "
                f"experiments/enhance/default.yaml, or one of {', '.join(recipes.PRESETS)}."
            )
        for name, value in (("cutoff_hz", cutoff_hz), ("rir", rir)):
            if value is not None:
                raise ConfigError(
                    f"{name} is {value} and the preset is the experiment {preset}, which says everything "
                    f"about the damage itself. Leave {name} out, or write it into the experiment."
                )
        check_experiment(task, preset)
        recipes.check_talkers(task, talkers, of_experiment=True)
        return
    recipes.check_choice(task, str(preset), cutoff_hz, talkers)
    if rir is None:
        return
    if task != INFORMED_TASK:
        raise ConfigError(
            f"rir: the task {task} has no room response, found {rir}. Leave it out, or choose the task "
            f"{INFORMED_TASK} (--task {INFORMED_TASK} on the command line)."
        )
    n_channels = probe(rir).n_channels
    if n_channels != 1:
        raise DataError(
            f"The room response {rir} has {n_channels} channels, expected one: every channel of a recording "
            "is restored by itself. Write the channel of its microphone into a file, such as with: "
            f"ffmpeg -i {Path(rir).name} -af pan=mono\\|c0=c0 response.wav"
        )


def check_experiment(task: str, preset: str | Path) -> None:
    """Refuse an experiment for another task than the one that was asked for, unless that is the default.

    Raises:
        ConfigError: It is.
    """
    known = tasks_of(preset)
    if known and task not in (DEFAULT_TASK, *known):
        raise ConfigError(
            f"the task is {task} and the experiment {preset} is for {' or '.join(known)}. Leave the task "
            "out, or choose an experiment for it (--task and --preset on the command line)."
        )


def refuse_beside_recipe(**options: object) -> None:
    """Refuse options that a recipe of one's own leaves without effect.

    Raises:
        ConfigError: One is given.
    """
    for name, value in options.items():
        if value is not None:
            raise ConfigError(
                f"{name} is {value} and there is a recipe, whose degradation says it. Leave {name} out."
            )


def choose_recipe(
    task: str,
    preset: str | Path,
    rate_hz: int,
    cutoff_hz: float | None = None,
    rir: str | Path | None = None,
    talkers: int | None = None,
) -> Recipe:
    """The recipe for what `check_choice` has found to be right.

    Raises:
        ConfigError: An experiment without a sampler, or with options that do not fit, or for one talker
            where there are several.
        DataError: The room response is silent or has a lower rate than the prior.
    """
    if is_recipe_file(preset):
        return for_talkers(load_recipe(preset), task, preset, talkers)
    if rir is None:
        return recipes.make_recipe(task, str(preset), rate_hz, cutoff_hz, talkers)
    return recipes.informed_dereverb(read_response(rir, rate_hz), recipes.PRESETS[str(preset)], rate_hz)


def for_talkers(recipe: Recipe, task: str, preset: str | Path, talkers: int | None = None) -> Recipe:
    """The recipe of an experiment for as many talkers as were asked for, where a number was given.

    Raises:
        ConfigError: It is for one talker where there are several.
    """
    if recipe.n_sources == 1 and (talkers is not None or task in recipes.TALKER_TASKS):
        asked = f"the task is {task}" if talkers is None else f"talkers is {talkers}"
        raise ConfigError(
            f"{asked} and the experiment {preset} is for one talker. Choose one with "
            "model.init_args.talkers, such as experiments/separate/default.yaml, or leave talkers out "
            "(--talkers on the command line)."
        )
    return recipe if talkers is None else replace(recipe, n_sources=talkers)


def check_networks(recipe: Recipe, rate_hz: int) -> None:
    """Refuse a noise model that listens at another rate than the prior's.

    Raises:
        ConfigError: It does.
    """
    for model in recipe.modules():
        for network in model.modules():
            if isinstance(network, SmallNetwork):
                check_rate(network, rate_hz)
