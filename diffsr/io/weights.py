"""Reading and writing of weights: safetensors and plain checkpoints, never code."""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffsr.errors import CheckpointError
from diffsr.io.atomic import replacing

_NO_WEIGHTS = (
    *(pickle.UnpicklingError, RuntimeError, OSError, EOFError, LookupError, ValueError),
    *(TypeError, AssertionError, AttributeError, struct.error),
)
"""What reading pickled weights raises of other files, and of those that want to run code."""
_EXPECTED = (
    "Expected a checkpoint written by `diffsr fit`, or a folder with config.yaml and model.safetensors."
)


def save_tensors(tensors: Mapping[str, Tensor], path: Path, notes: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file, completely or not at all; `notes` are kept in it beside the weights."""
    from safetensors.torch import save

    content = save(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, dict(notes or {})
    )
    with replacing(path) as temporary:
        temporary.write_bytes(content)  # not save_file, which hides the file from all other users


def load_tensors(path: Path, what: str = "prior") -> dict[str, Tensor]:
    """Read a safetensors file; messages call its content `what`.

    Raises:
        CheckpointError: It is missing, not one, cut short, or it may not be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not os.path.isfile(path):
        raise CheckpointError(
            f"No weights at {path}, or not for this user. Expected a safetensors file; copy or export the "
            f"{what} again."
        )
    if not os.access(path, os.R_OK):  # safetensors would say that it does not exist
        raise CheckpointError(f"{path} may not be read by this user. Change its permissions (chmod +r).")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} cannot be read as safetensors weights ({error}). Copy or export the {what} again."
        ) from error


def read_notes(path: Path) -> dict[str, str]:
    """What `save_tensors` kept beside the weights of a file that `load_tensors` can read."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a Lightning `.ckpt` without executing anything stored in it.

    Raises:
        CheckpointError: It is not a checkpoint, or wants to run code.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except _NO_WEIGHTS as error:
        reason = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
        raise CheckpointError(f"{path} cannot be loaded as plain weights{reason}. {_EXPECTED}") from error
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{path} holds a {type(content).__name__}; expected a checkpoint of `diffsr fit`."
        )
    return content
