"""Paths as users give them."""

from __future__ import annotations

from pathlib import Path

from diffsr.errors import ConfigError


def named_path(path: str | Path) -> Path:
    """A path, with `~` resolved.

    Raises:
        ConfigError: It is empty, as of a variable that is not set; `.` is the current folder.
    """
    if str(path) == "":
        raise ConfigError("A path is empty, expected that of a file or a folder ('.' for the current one).")
    return Path(path).expanduser()
