"""Reading of other projects' PyTorch checkpoints: tensors and plain settings, never code."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from diffsr.errors import CheckpointError
from diffsr.io.weights import load_tensors

SETTINGS_OF = ("omegaconf.", "typing.", "argparse.", "pathlib.", "sgmse.", "pytorch_lightning.", "lightning.")
"""Packages whose classes describe settings in published checkpoints."""
PLAIN_TYPES = {
    *(
        f"builtins.{name}"
        for name in ("bool", "bytes", "dict", "float", "int", "list", "set", "str", "tuple")
    ),
    "collections.defaultdict",
}


class StandIn:
    """Takes the place of a class that a checkpoint names, so that nothing of that class is run."""

    def __init__(self, *ignored: object) -> None:
        self.state: Any = None

    def __setstate__(self, state: object) -> None:
        self.state = state


def read_foreign_checkpoint(path: Path) -> dict[str, Any]:
    """Read a `.safetensors` file, or what `torch.save` wrote, with `weights_only=True`.

    Objects that hold settings (OmegaConf, the modules of SGMSE+) become inert `StandIn`s that keep their
    values, see `plain`. Whatever else is no plain data is refused before anything is loaded.

    Raises:
        CheckpointError: No file, not readable, damaged, not a mapping, or it wants to run code.
    """
    if not os.path.isfile(path):
        raise CheckpointError(
            f"No file at {path}. Expected a checkpoint that its authors published (.pt, .ckpt)."
        )
    if path.suffix == ".safetensors":
        return dict(load_tensors(path))
    try:
        named = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        _refuse_code(named, path)
        with torch.serialization.safe_globals([(_stand_in(name), name) for name in named]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, LookupError, ValueError) as error:
        reason = (str(error) or "it is empty").splitlines()[0]
        raise CheckpointError(
            f"{path} cannot be loaded as plain weights ({reason}). Download it again; if it is complete, "
            f"{_WAY_OUT}"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}; expected a mapping with weights.")
    return content


def plain(value: object) -> object:
    """Settings out of stand-ins: mappings, lists and values; None where there is no plain value."""
    if isinstance(value, StandIn):
        state = value.state
        if not isinstance(state, dict):
            return None
        return plain(state.get("_content", state.get("_val")))  # the fields of OmegaConf
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool) else None


_WAY_OUT = (
    "where you trust it and its own software is installed, save the weights alone: "
    "safetensors.torch.save_file(NETWORK.state_dict(), 'weights.safetensors'), and import that file."
)


def _refuse_code(named: list[str], path: Path) -> None:
    code = [name for name in named if not name.startswith(SETTINGS_OF) and name not in PLAIN_TYPES]
    if code:
        raise CheckpointError(
            f"{path} wants to run code while it is loaded ({', '.join(sorted(code)[:3])}), which diffsr "
            f"does not allow. Do not use it if you do not know where it comes from; {_WAY_OUT}"
        )


def _stand_in(name: str) -> type[StandIn]:
    """A class of its own for each name; torch keeps allowed classes apart by name."""
    return type(name.rpartition(".")[2], (StandIn,), {})
