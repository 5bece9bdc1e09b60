"""Recipes and samplers from YAML files: an experiment as `diffsr predict` takes it, or a part of one.

A part is written as `class_path` and `init_args`, or as the path of a small file with these two keys,
relative to the file that names it.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffsr.degradations import Degradation
from diffsr.errors import ConfigError, DiffsrError
from diffsr.likelihoods import Likelihood
from diffsr.parse_errors import explain, suggestion
from diffsr.recipes import MAX_TALKERS, REPAIRS, Recipe
from diffsr.samplers import (
    AnnealedSampler,
    EachTalker,
    EarlyReflections,
    LittleNoise,
    PowerCeiling,
    SecondPass,
    SecondSearch,
    Telling,
)
from diffsr.samplers.guidance import Guidance
from diffsr.samplers.joining import Joiner
from diffsr.samplers.ranking import Ranker
from diffsr.samplers.solvers import Solver

SUFFIXES = (".yaml", ".yml")
KINDS: dict[str, type] = {
    "sampler": AnnealedSampler,
    "likelihood": Likelihood,
    "degradation": Degradation,
    "ranker": Ranker,
    "joiner": Joiner,
    "voices": Telling,
    "little_noise": LittleNoise,
    "each_talker": EachTalker,
    "second_pass": SecondPass,
    "second_search": SecondSearch,
    "early_reflections": EarlyReflections,
    "ceiling": PowerCeiling,
}
"""Part of a recipe -> what it is; the first two are needed."""
PARTS = tuple(KINDS)
N_SAMPLES = "n_samples"
TALKERS = "talkers"
"""Numbers beside the parts, 1 where nothing is said."""
TASKS_OF = {
    "EnhanceModule": ("enhance",),
    "DereverbModule": ("dereverb", "denoise_dereverb"),
    "RepairModule": REPAIRS,
    "SeparateModule": ("separate",),
    "JointModule": ("joint",),
}
"""Module of an experiment -> the tasks that it may be for."""
OWN_MODULES = "diffsr.tasks."
BESIDE = ("prior", "output", "seed", "overwrite", "channels", "keep_samples", "physics", "batch", "precision")
"""Other options of these modules, which are no part of a recipe."""
EXAMPLE = "See experiments/enhance/default.yaml for one that works."
SAMPLER_EXAMPLE = "See experiments/sampler/dps.yaml for one that works."


def is_recipe_file(preset: str | Path) -> bool:
    """Whether a preset is meant as a file, by its suffix."""
    return Path(preset).suffix.lower() in SUFFIXES


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of an experiment: of `model.init_args` all `PARTS`, `n_samples` and `talkers`.

    Everything else in the file (prior, data, trainer) is left alone. Without a degradation nothing happens
    to the talker but noise (`Mixing`).

    Args:
        path: The YAML file.
        overrides: `KEY=VALUE` with the keys below `model.init_args`, such as
            `sampler.init_args.n_steps=30`; an override wins over the file, and adds what is not in it.

    Raises:
        ConfigError: No such file, not YAML, no sampler or likelihood in it, an override without `=`, or
            options that do not exist or do not fit.
    """
    path = Path(path).expanduser()
    parts = recipe_parts(path, overrides)
    built: dict[str, Any] = {
        name: _build(kind, parts[name], path, name) for name, kind in KINDS.items() if name in parts
    }
    built["n_samples"] = _count(parts, N_SAMPLES, path)
    built["n_sources"] = _count(parts, TALKERS, path, MAX_TALKERS)
    try:
        return Recipe(**built)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def recipe_parts(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """What `load_recipe` builds from, by `PARTS` and the names of numbers: files read in, `${...}` resolved.

    Raises:
        ConfigError: See `load_recipe`; options are not checked yet.
    """
    path = Path(path).expanduser()
    content = _read(path, EXAMPLE)
    given = _below(content, "model", "init_args") or {}
    module = (_below(content, "model") or {}).get("class_path")
    if str(module).startswith(OWN_MODULES):  # that of somebody else may have other options
        _check_names(given, path)
    parts = {name: _inline(given[name], path, EXAMPLE) for name in PARTS if given.get(name) is not None}
    _check_needed(parts, path)
    numbers = {name: given[name] for name in (N_SAMPLES, TALKERS) if given.get(name) is not None}
    found = _resolved(content, {**parts, N_SAMPLES: 1, **numbers}, overrides, path)
    _check_needed(found, path)  # which an override may have taken away
    return found


def _check_names(given: dict[str, Any], path: Path) -> None:
    """Refuse a misspelled part, without which the recipe would be another one."""
    known = [*PARTS, N_SAMPLES, TALKERS, *BESIDE]
    for name in given:
        if name not in known:
            near = suggestion(str(name), known)
            raise ConfigError(f"{path}: model.init_args has no option {name!r}.{near}")


def _check_needed(parts: dict[str, Any], path: Path) -> None:
    """Refuse what is no experiment."""
    for name in ("sampler", "likelihood"):
        if name not in parts:
            raise ConfigError(
                f"{path}: found no model.init_args.{name}; expected an experiment with a sampler and a "
                f"likelihood. {EXAMPLE}"
            )


def load_sampler(path: Path) -> AnnealedSampler:
    """The sampler of a file: an `AnnealedSampler`, a guidance or a solver, by `class_path` and `init_args`.

    A guidance or a solver alone runs in the sampler that is the default. Of a whole experiment the part
    `model.init_args.sampler` is taken.

    Raises:
        ConfigError: No such file, not YAML, not a sampler, or options that do not exist or do not fit.
    """
    content = _read(path, SAMPLER_EXAMPLE)
    if isinstance(content.get("model"), dict):
        found = (_below(content, "model", "init_args") or {}).get("sampler")
        if found is None:
            raise ConfigError(
                f"{path}: found no sampler; expected model.init_args.sampler. {SAMPLER_EXAMPLE}"
            )
        content = _resolved(content, {"sampler": _inline(found, path, SAMPLER_EXAMPLE)}, (), path)["sampler"]
    section = _inline(content, path, SAMPLER_EXAMPLE)
    kind = _class_of(section, path)
    if issubclass(kind, AnnealedSampler):
        sampler: AnnealedSampler = _build(AnnealedSampler, section, path, "sampler")
        return sampler
    if _is(kind, "correct", ("z", "x0", "sigma", "problem")):
        return AnnealedSampler(guidance=_build(Guidance, section, path, "guidance"))
    if _is(kind, "step", ("z", "x0", "sigma", "sigma_next", "posterior", "problem")):
        return AnnealedSampler(solver=_build(Solver, section, path, "solver"))
    raise ConfigError(
        f"{path}: {section['class_path']} is no sampler; expected an AnnealedSampler, a guidance (with a "
        f"method `correct`) or a solver (with a method `step`). {SAMPLER_EXAMPLE}"
    )


def tasks_of(path: str | Path) -> tuple[str, ...]:
    """The tasks that the experiment in a file may be for; none where its module does not say.

    Raises:
        ConfigError: No such file, or not YAML.
    """
    module = _read(Path(path).expanduser(), EXAMPLE).get("model")
    name = module.get("class_path") if isinstance(module, dict) else None
    return TASKS_OF.get(str(name).rpartition(".")[2], ())


def asks_for_room(path: str | Path) -> bool:
    """Whether the experiment in a file leaves it to its user to name the file of the room's response.

    Raises:
        ConfigError: No such file, or not YAML.
    """
    part = _below(_read(Path(path).expanduser(), EXAMPLE), "model", "init_args", "degradation") or {}
    path_of_room = (_below(part, "init_args") or {}).get("path")
    return str(part.get("class_path")).endswith(".RoomFile") and path_of_room == "???"


def talkers_of(path: Path) -> int:
    """How many talkers the experiment in a file is for; 1 where it says nothing or is but a part of one.

    Raises:
        ConfigError: No such file, not YAML, or no such number.
    """
    given = _below(_read(path, SAMPLER_EXAMPLE), "model", "init_args") or {}
    return _count({TALKERS: given.get(TALKERS, 1)}, TALKERS, path, MAX_TALKERS)


def _read(path: Path, example: str) -> dict[str, Any]:
    """The content of a file, `${...}` and `???` as they stand."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise ConfigError(f"{path}: {reason}. Give a YAML file. {example}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}. {example}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected the keys class_path and init_args, or an experiment. {example}")
    return content


def _below(content: dict[str, Any], *keys: str) -> dict[str, Any] | None:
    found: Any = content
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else None


def _inline(section: object, path: Path, example: str) -> dict[str, Any]:
    """A part with its `class_path`, read from the small file that it may stand in."""
    if isinstance(section, str) and is_recipe_file(section):
        place = path.parent / section
        return _inline(_read(place, example), place, example)
    if isinstance(section, str):
        section = {"class_path": section}
    if not isinstance(section, dict) or not isinstance(section.get("class_path"), str):
        raise ConfigError(f"{path}: expected the keys class_path and init_args. {example}")
    return section


def _resolved(
    content: dict[str, Any], parts: dict[str, Any], overrides: Sequence[str], path: Path
) -> dict[str, Any]:
    """The parts with overrides, and `${...}` taken from the whole file."""
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    names = list(dict.fromkeys([*parts, *_overridden(overrides, path)]))
    last = ""
    try:
        whole = OmegaConf.create(content)
        for name, part in parts.items():
            whole["model"]["init_args"][name] = part
        given = whole["model"]["init_args"]
        for text in overrides:
            last = text
            given.merge_with_dotlist([text])
        plain = {
            name: OmegaConf.to_container(value, resolve=True, throw_on_missing=True)
            if OmegaConf.is_config(value := given[name])
            else value
            for name in names
        }
    except OmegaConfBaseException as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: {reason}. Give every option of the recipe a value.") from error
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{last!r} is no override for {path}: its value is not YAML ({reason}).") from error
    found = {
        name: _inline(plain[name], path, EXAMPLE)  # what an override says may be a class alone, or wrong
        for name in names
        if name in PARTS and plain[name] is not None  # null leaves a part out
    }
    return found | {name: plain[name] for name in (N_SAMPLES, TALKERS) if name in names}


def _count(parts: dict[str, Any], name: str, path: Path, most: int | None = None) -> int:
    """A number of samples or talkers."""
    value = parts.get(name, 1)
    if type(value) is not int or value < 1 or (most is not None and value > most):
        limits = "of 1 or more" if most is None else f"from 1 to {most}"
        raise ConfigError(f"{path}: {name} is {value!r}; expected a whole number {limits}.")
    return value


def _overridden(overrides: Sequence[str], path: Path) -> list[str]:
    """The parts and numbers that overrides change or add; those that would do nothing are refused."""
    names, found = (*PARTS, N_SAMPLES, TALKERS), []
    for text in overrides:
        key, equals, _ = text.partition("=")
        found.append(key.partition(".")[0])
        if not equals or found[-1] not in names:
            raise ConfigError(
                f"{text!r} is no override for {path}; expected KEY=VALUE with a key that begins with one of "
                f"{', '.join(names)}, such as sampler.init_args.n_steps=30."
            )
    return found


def _class_of(section: dict[str, Any], path: Path) -> type:
    module_name, _, name = section["class_path"].rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path}: class_path: {section['class_path']}: there is no module {module_name!r} ({error})."
        ) from error
    kind = getattr(module, name, None)
    if not inspect.isclass(kind):
        near = suggestion(name, [n for n, value in vars(module).items() if inspect.isclass(value)])
        raise ConfigError(f"{path}: class_path: {module_name} has no class {name!r}.{near}")
    return kind


def _is(kind: type, method: str, parameters: tuple[str, ...]) -> bool:
    found = getattr(kind, method, None)
    return callable(found) and set(parameters) <= set(inspect.signature(found).parameters)


def _build(kind: Any, section: dict[str, Any], path: Path, name: str) -> Any:  # noqa: ANN401 - a type, and one of it
    """Check the options against the class, as experiments are, and make it."""
    from jsonargparse import ArgumentParser

    _class_of(section, path)  # a plain message where the class itself is misspelled
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument(f"--{name}", type=kind)
    try:
        return parser.instantiate(parser.parse_object({name: section}))[name]
    except DiffsrError:
        raise
    except (argparse.ArgumentError, ValueError, TypeError) as error:
        cause: BaseException = error
        while cause.__cause__ is not None and not isinstance(cause, argparse.ArgumentError):
            cause = cause.__cause__
        reason = explain(str(cause), [path])
        raise ConfigError(reason if path.name in reason else f"{path}: {reason}") from error
