"""What an object is made of, as one number."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

_PLAIN = (bool, int, float, complex, str, bytes, type(None))


def digest_of(*values: Any) -> str:  # noqa: ANN401 - of anything
    """Checksum of values and of everything they hold: settings, lists, tensors, networks.

    The same in every process. Functions and classes count by their names.
    """
    digest = hashlib.sha1()

    def add(piece: bytes) -> None:
        digest.update(len(piece).to_bytes(8, "big") + piece)  # no two lists of pieces give the same bytes

    _add(list(values), add, {})
    return digest.hexdigest()


def _add(value: Any, add: Callable[[bytes], None], seen: dict[int, int]) -> None:  # noqa: ANN401
    """The pieces of a tree, depth first; `seen` has the number of each object that is not plain."""
    if isinstance(value, _PLAIN):
        add(f"{type(value).__name__} {value!r}".encode(errors="surrogatepass"))
        return
    if id(value) in seen:
        add(f"again {seen[id(value)]}".encode())
        return
    seen[id(value)] = len(seen)
    add(f"{type(value).__module__}.{type(value).__qualname__}".encode())
    if isinstance(value, Tensor):
        add(f"{value.dtype} {tuple(value.shape)}".encode())
        add(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(value, np.ndarray):
        add(f"{value.dtype} {value.shape}".encode())
        add(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, dict):
        _add_all([part for pair in value.items() for part in pair], add, seen)
    elif isinstance(value, set | frozenset):
        _add_all(sorted(value, key=repr), add, seen)
    elif isinstance(value, list | tuple):
        _add_all(value, add, seen)
    elif isinstance(value, functools.partial):
        _add_all([value.func, value.args, value.keywords], add, seen)
    elif hasattr(value, "__qualname__"):
        add(f"{value.__module__}.{value.__qualname__}".encode())
    elif hasattr(value, "__dict__"):
        _add(vars(value), add, seen)
    else:
        add(repr(value).encode())


def _add_all(values: Any, add: Callable[[bytes], None], seen: dict[int, int]) -> None:  # noqa: ANN401
    add(str(len(values)).encode())
    for one in values:
        _add(one, add, seen)
