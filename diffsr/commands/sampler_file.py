"""A sampler from a YAML file of its own, such as experiments/sampler/dps.yaml."""

from __future__ import annotations

import argparse
import importlib
import inspect
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser

from diffsr.commands.parse_errors import explain, suggestion
from diffsr.errors import ConfigError, DiffsrError
from diffsr.samplers import AnnealedSampler
from diffsr.samplers.guidance import Guidance
from diffsr.samplers.solvers import Solver

EXAMPLE = "See experiments/sampler/dps.yaml for one that works."


def load_sampler(path: Path) -> AnnealedSampler:
    """The sampler of a file: an `AnnealedSampler`, a guidance or a solver, by `class_path` and `init_args`.

    A guidance or a solver alone runs in the sampler that is the default. Of a whole experiment the part
    `model.init_args.sampler` is taken.

    Raises:
        ConfigError: No such file, not YAML, not a sampler, or options that do not exist or do not fit.
    """
    section = _section(path)
    kind = _class_of(section, path)
    if issubclass(kind, AnnealedSampler):
        sampler: AnnealedSampler = _build(AnnealedSampler, section, path)
        return sampler
    if _is(kind, "correct", ("z", "x0", "sigma", "problem")):
        return AnnealedSampler(guidance=_build(Guidance, section, path))
    if _is(kind, "step", ("z", "x0", "sigma", "sigma_next", "posterior", "problem")):
        return AnnealedSampler(solver=_build(Solver, section, path))
    raise ConfigError(
        f"{path}: {section['class_path']} is no sampler; expected an AnnealedSampler, a guidance (with a "
        f"method `correct`) or a solver (with a method `step`). {EXAMPLE}"
    )


def _section(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise ConfigError(f"--sampler {path}: {reason}. Give a YAML file. {EXAMPLE}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"--sampler {path}: not YAML: {' '.join(str(error).split())}. {EXAMPLE}") from error
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = (content["model"].get("init_args") or {}).get("sampler")
    if not isinstance(content, dict) or not isinstance(content.get("class_path"), str):
        raise ConfigError(
            f"--sampler {path}: found no sampler; expected the keys class_path and init_args. {EXAMPLE}"
        )
    return content


def _class_of(section: dict[str, Any], path: Path) -> type:
    module_name, _, name = section["class_path"].rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError) as error:
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


def _build(kind: Any, section: dict[str, Any], path: Path) -> Any:  # noqa: ANN401 - a type, and one of it
    """Check the options against the class, as experiments are, and make it."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--sampler", type=kind)
    try:
        return parser.instantiate(parser.parse_object({"sampler": section})).sampler
    except DiffsrError:
        raise
    except (argparse.ArgumentError, ValueError, TypeError) as error:
        cause: BaseException = error
        while cause.__cause__ is not None and not isinstance(cause, argparse.ArgumentError):
            cause = cause.__cause__
        reason = explain(str(cause), [path])
        raise ConfigError(reason if path.name in reason else f"{path}: {reason}") from error
