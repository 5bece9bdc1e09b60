"""What an object is made of, as one number."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


def digest_of(*values: Any) -> str:  # noqa: ANN401 - of anything
    """Checksum of values and of everything they hold: settings, lists, tensors, networks.

    The same in every process. Functions count by their names; what is held twice counts once.
    """
    digest = hashlib.sha1()
    for piece in _pieces(list(values), set()):
        digest.update(piece)
        digest.update(b"\0")
    return digest.hexdigest()


def _pieces(value: Any, seen: set[int]) -> Iterator[bytes]:  # noqa: ANN401 - of anything
    """All of a tree, depth first."""
    if isinstance(value, Tensor):
        yield f"{value.dtype} {tuple(value.shape)}".encode()
        yield value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        yield repr(value).encode(errors="surrogatepass")
        return
    if id(value) in seen:
        yield b"again"
        return
    seen.add(id(value))
    yield f"{type(value).__module__}.{type(value).__qualname__}".encode()
    if isinstance(value, dict):
        for key, one in value.items():
            yield repr(key).encode()
            yield from _pieces(one, seen)
    elif isinstance(value, set | frozenset):
        yield from (repr(one).encode() for one in sorted(value, key=repr))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _pieces(one, seen)
    elif isinstance(value, type) or not hasattr(value, "__dict__"):
        yield str(getattr(value, "__qualname__", repr(value))).encode()
    else:
        yield str(getattr(value, "__qualname__", "")).encode()
        yield from _pieces(vars(value), seen)
