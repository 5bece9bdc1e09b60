"""Which experiment it is: what it says of the recipe, and what is in the files that it names."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from diffsr.benchmark.items import checksum


def recipe_digest(preset: str, overrides: Sequence[str]) -> str:
    """Name of the file, and a checksum of what it says of the recipe and of the files that it names."""
    from diffsr.experiment_file import recipe_parts

    parts = recipe_parts(preset, overrides)
    named = {text: found for text in _texts(parts) if (found := _checksums(text))}
    text = json.dumps([parts, named] if named else parts, sort_keys=True, default=str)
    return f"{Path(preset).name} {hashlib.sha1(text.encode()).hexdigest()[:12]}"


def _texts(value: object) -> Iterator[str]:
    """All texts among the values of a tree."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


def _checksums(text: str) -> dict[str, str]:
    """Of the file of this path, or of all files in the folder; nothing where there is neither."""
    path = Path(os.path.expanduser(text))
    if os.path.isfile(path):  # unlike Path.is_file, false for what cannot be a path
        return {"": checksum(path)}
    files = sorted(path.rglob("*")) if text and os.path.isdir(path) else []
    return {file.relative_to(path).as_posix(): checksum(file) for file in files if file.is_file()}
