"""Writing a file completely or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from diffsr.errors import DataError


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which takes the place of `path` when the block succeeds.

    Parent folders are made. When the block raises, the temporary file is removed and whatever was
    at `path` before is untouched. The temporary name is hidden, keeps the suffix, and is unique,
    so that processes writing the same file do not meet.

    Raises:
        OSError: A folder cannot be made or the file cannot be put in place.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # A file system counts bytes, and a character may have four.
    stem = target.stem.encode(errors="surrogateescape")[:100].decode(errors="ignore")
    temporary = target.with_name(f".{stem}.{secrets.token_hex(4)}.part{target.suffix}")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def unwritable(path: str | Path, error: OSError) -> DataError:
    """What to tell of a file that the system does not write."""
    return DataError(
        f"Cannot write {path}: {error.strerror or error}. Choose another place, or free disk space there."
    )


def write_text(path: str | Path, text: str) -> None:
    """Write a text file (UTF-8) completely or not at all; what of a file name is no text is escaped.

    Raises:
        DataError: It cannot be written.
    """
    try:
        if Path(path).is_dir():
            raise IsADirectoryError(0, "it is a folder")
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise unwritable(path, error) from error


def check_writable(path: str | Path) -> None:
    """Find out that a file cannot be written before much is done for it; its folder is made.

    Raises:
        DataError: It cannot.
    """
    path = Path(path)
    probe = path.with_name(f"{path.name}.probe")
    try:
        if path.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        with replacing(probe) as temporary:
            temporary.touch()
        probe.unlink()
    except OSError as error:
        raise unwritable(path, error) from error
