"""Recipes and samplers built from YAML files: experiments as `diffsr predict` takes them, or parts of one."""

from __future__ import annotations

import argparse
import importlib
import inspect
from collections.abc import Sequence
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from diffsr.errors import ConfigError, DiffsrError
from diffsr.experiment_file import (
    N_SAMPLES,
    PARTS,
    SAMPLER_EXAMPLE,
    TALKERS,
    count,
    recipe_parts,
    sampler_part,
)
from diffsr.parse_errors import explain, suggestion
from diffsr.recipes import MAX_TALKERS, Recipe
from diffsr.samplers import AnnealedSampler
from diffsr.samplers.guidance import Guidance
from diffsr.samplers.solvers import Solver


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
    hints = get_type_hints(Recipe)
    built: dict[str, Any] = {
        name: _build(_without_none(hints[name]), parts[name], path, name) for name in PARTS if name in parts
    }
    built["n_samples"] = count(parts, N_SAMPLES, path)
    built["n_sources"] = count(parts, TALKERS, path, MAX_TALKERS)
    try:
        return Recipe(**built)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def load_sampler(path: Path) -> AnnealedSampler:
    """The sampler of a file: an `AnnealedSampler`, a guidance or a solver, by `class_path` and `init_args`.

    A guidance or a solver alone runs in the sampler that is the default. Of a whole experiment the part
    `model.init_args.sampler` is taken.

    Raises:
        ConfigError: No such file, not YAML, not a sampler, or options that do not exist or do not fit.
    """
    section = sampler_part(path)
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


def _without_none(hint: Any) -> Any:  # noqa: ANN401 - types
    """The class of a part that may be left out."""
    return next((kind for kind in get_args(hint) if kind is not NoneType), hint)


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
