"""Folders of models: `config.yaml`, `model.safetensors` and the card; written whole, read strictly."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import torch
import yaml
from torch import Tensor, nn

from diffsr.errors import CheckpointError
from diffsr.io.atomic import replacing
from diffsr.io.weights import load_checkpoint, load_tensors, read_notes, save_tensors

M = TypeVar("M", bound=nn.Module)
CONFIG, WEIGHTS, CARD = "config.yaml", "model.safetensors", "README.md"


@dataclass(frozen=True)
class ModelKind:
    """What all models of one kind have in common as files.

    Attributes:
        name: What messages call it, such as `prior`.
        format: The `format` in its configuration, with a version.
        shipped: Folder under `diffsr/assets` whose members load by their names.
        experiment: Folder under `experiments` with the files that train it.
        checkpoint_key: Where a training checkpoint keeps its configuration.
        prefix: What the names of its weights begin with in a training checkpoint.
        noted: Keys of the configuration that no shape tells, kept beside the weights too.
    """

    name: str
    format: str
    shipped: str
    experiment: str
    checkpoint_key: str
    prefix: str
    noted: tuple[str, ...]


Stored = tuple[dict[str, Any], dict[str, Tensor]]
"""Configuration and weights."""


def write_model(
    kind: ModelKind,
    folder: str | Path,
    config: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    card: str,
    dtype: torch.dtype | None = None,
) -> Path:
    """Write a model folder, its configuration last; a folder without it is no model.

    Args:
        kind: Of the model.
        folder: Where; made if it is not there.
        config: Plain values, enough to build the model.
        weights: Its state.
        card: Text of the `README.md`.
        dtype: Store floating-point weights in this type; None keeps theirs.

    Raises:
        CheckpointError: The folder cannot be written.
    """
    folder = Path(folder)
    stored = {
        name: tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor
        for name, tensor in weights.items()
    }
    texts = {CARD: card, CONFIG: yaml.safe_dump(dict(config), sort_keys=False)}
    try:
        save_tensors(stored, folder / WEIGHTS, _notes(kind, config))
        for name, text in texts.items():
            with replacing(folder / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CheckpointError(
            f"{folder}: the {kind.name} cannot be written ({error}). Free some disk space or choose another "
            "place."
        ) from error
    return folder


def read_model(kind: ModelKind, source: str | Path) -> Stored:
    """Read a shipped model by its name, a model folder, or a training checkpoint.

    Raises:
        CheckpointError: Nothing there, of another kind or version, damaged, or parts of two exports.
    """
    path = shipped_folder(kind, str(source)) or Path(source).expanduser()
    if os.path.isdir(path):  # unlike Path.is_dir, false where a folder above may not be entered
        config, weights = _read_folder(kind, path)
    elif os.path.isfile(path):
        config, weights = _read_checkpoint(kind, path)
    else:
        raise CheckpointError(
            f"No {kind.name} at {path}, or this user may not enter its folder. Expected a folder with "
            f"{CONFIG} and {WEIGHTS}, a .ckpt of `diffsr fit`, or a name that ships with diffsr "
            f"({', '.join(shipped_names(kind)) or 'none'})."
        )
    if config.get("format") != kind.format:
        raise CheckpointError(
            f"{path} has format {config.get('format')!r}; this version of diffsr reads {kind.format!r} as a "
            f"{kind.name}. Use the version of diffsr that exported it, or export the {kind.name} again."
        )
    return config, weights


def shipped_names(kind: ModelKind) -> list[str]:
    """Names of the models of this kind that ship with diffsr."""
    home = Path(str(files("diffsr"))) / "assets" / kind.shipped
    return sorted(path.parent.name for path in home.glob(f"*/{CONFIG}"))


def shipped_folder(kind: ModelKind, name: str) -> Path | None:
    """Folder of the model that ships under this name; None where no model does."""
    if name not in shipped_names(kind):
        return None
    return Path(str(files("diffsr"))) / "assets" / kind.shipped / name


def build_model(kind: ModelKind, build: Callable[..., M], source: str | Path) -> M:
    """A model on the CPU, in eval mode, its weights frozen.

    Args:
        kind: Of the model.
        build: Makes it of the values of its configuration, but for the format.
        source: See `read_model`.

    Raises:
        CheckpointError: Nothing there, damaged, or of another kind.
    """
    config, weights = read_model(kind, source)
    try:
        model = build(**{name: value for name, value in config.items() if name != "format"})
    except (TypeError, ValueError, ArithmeticError, RuntimeError, AssertionError) as error:
        raise CheckpointError(
            f"{source} does not describe a {kind.name} ({type(error).__name__}: {error}). Export it again."
        ) from error
    load_strictly(model, weights, str(source))
    return model.eval().requires_grad_(False)


def load_strictly(model: nn.Module, weights: Mapping[str, Tensor], origin: str) -> None:
    """Put weights into a model that they fit in every name and shape, and that are finite.

    Raises:
        CheckpointError: They do not, or are not.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    differing = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
    if differing:
        name = differing[0]
        raise CheckpointError(
            f"The weights in {origin} do not fit its configuration: {len(differing)} of {len(expected)} "
            f"tensors differ, first {name}: found {found.get(name, 'nothing')}, expected "
            f"{expected.get(name, 'nothing')}. {CONFIG} and {WEIGHTS} must come from one export."
        )
    bad = [name for name, tensor in weights.items() if not bool(torch.isfinite(tensor).all())]
    if bad:
        raise CheckpointError(f"The weights in {origin} hold NaN or infinite values, first in {bad[0]}.")
    model.load_state_dict(dict(weights))


def _read_folder(kind: ModelKind, folder: Path) -> Stored:
    missing = [name for name in (CONFIG, WEIGHTS) if not os.path.isfile(folder / name)]
    if missing:
        raise CheckpointError(
            f"{folder} is not a {kind.name} folder: {' and '.join(missing)} missing, or not for this user. "
            f"Expected {CONFIG} and {WEIGHTS}, as `diffsr fit` exports them."
        )
    try:
        config = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(
            f"{folder / CONFIG} cannot be read ({error.strerror}). Change its permissions (chmod +r) "
            f"or export the {kind.name} again."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{folder / CONFIG} is not valid YAML ({reason}).") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{folder / CONFIG} is empty or not a mapping; export the {kind.name} again.")
    weights = load_tensors(folder / WEIGHTS, kind.name)
    _check_notes(kind, config, folder)
    return config, weights


def _read_checkpoint(kind: ModelKind, path: Path) -> Stored:
    content = load_checkpoint(path)
    if kind.checkpoint_key not in content or "state_dict" not in content:
        raise CheckpointError(
            f"{path} holds no diffsr {kind.name}. Expected a checkpoint of `diffsr fit` on an "
            f"experiments/{kind.experiment} file, or a {kind.name} folder."
        )
    weights = {
        name.removeprefix(kind.prefix): tensor
        for name, tensor in content["state_dict"].items()
        if name.startswith(kind.prefix)
    }
    return content[kind.checkpoint_key], weights


def _notes(kind: ModelKind, config: Mapping[str, Any]) -> dict[str, str]:
    return {name: f"{config[name]:.9g}" for name in kind.noted}


def _check_notes(kind: ModelKind, config: Mapping[str, Any], folder: Path) -> None:
    """Refuse weights that were saved with another meaning than their configuration says."""
    noted = read_notes(folder / WEIGHTS)
    for name in kind.noted:
        value = config.get(name)
        shown = f"{value:.9g}" if isinstance(value, int | float) else repr(value)
        if noted.get(name, shown) != shown:
            raise CheckpointError(
                f"{folder}: {CONFIG} has {name} {shown}, and the weights were saved for {noted[name]}. "
                f"{CONFIG} and {WEIGHTS} must come from one export."
            )
