"""Experiments in YAML files, as far as they are about a recipe: read, overridden and resolved, not built.

A part is written as `class_path` and `init_args`, or as the path of a small file with these two keys,
relative to the file that names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from diffsr.errors import ConfigError
from diffsr.parse_errors import suggestion
from diffsr.recipes import MAX_TALKERS, REPAIRS, Recipe

SUFFIXES = (".yaml", ".yml")
PARTS = tuple(one.name for one in fields(Recipe) if not one.name.startswith("n_"))
"""Of a recipe, but for its numbers; the sampler and the likelihood are needed."""
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
BESIDE = (
    "prior",
    "output",
    "seed",
    "overwrite",
    "channels",
    "keep_samples",
    "physics",
    "batch",
    "precision",
    "section_s",
)
"""Other options of these modules, which are no part of a recipe."""
EXAMPLE = "See experiments/enhance/default.yaml for one that works."
SAMPLER_EXAMPLE = "See experiments/sampler/dps.yaml for one that works."


def is_recipe_file(preset: str | Path) -> bool:
    """Whether a preset is meant as a file, by its suffix."""
    return Path(preset).suffix.lower() in SUFFIXES


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


def sampler_part(path: Path) -> dict[str, Any]:
    """The sampler of a whole experiment, or what a file that is a part of one holds.

    Raises:
        ConfigError: No such file, not YAML, or no sampler in the experiment.
    """
    content = _read(path, SAMPLER_EXAMPLE)
    if isinstance(content.get("model"), dict):
        found = (_below(content, "model", "init_args") or {}).get("sampler")
        if found is None:
            raise ConfigError(
                f"{path}: found no sampler; expected model.init_args.sampler. {SAMPLER_EXAMPLE}"
            )
        content = _resolved(content, {"sampler": _inline(found, path, SAMPLER_EXAMPLE)}, (), path)["sampler"]
    return _inline(content, path, SAMPLER_EXAMPLE)


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
    return count({TALKERS: given.get(TALKERS, 1)}, TALKERS, path, MAX_TALKERS)


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


def count(parts: dict[str, Any], name: str, path: Path, most: int | None = None) -> int:
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
