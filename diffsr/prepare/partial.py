"""Finished measurements beside the manifest, so that a stopped run goes on where it was."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from diffsr.errors import DataError
from diffsr.prepare.measure import Measurement


class Partial:
    """Measurements of an unfinished manifest: a hidden jsonl that is appended to, file by file.

    Args:
        manifest: The manifest to be; the partial file lies beside it.
        how: What was measured (kind of the corpus, quick or not). Others are not reused.
    """

    def __init__(self, manifest: Path, how: str) -> None:
        self.path = manifest.with_name(f".{manifest.name}.partial")
        self._manifest, self._how = manifest, how
        self._known: dict[tuple[str, int, int], Measurement] = {}

    def __enter__(self) -> Self:
        """Read what is there and open it for more.

        Raises:
            DataError: Nothing can be written there.
        """
        try:
            self._manifest.parent.mkdir(parents=True, exist_ok=True)
            if self._manifest.is_dir():
                raise DataError(
                    f"{self._manifest} is a folder, expected a file. Choose one with --output FILE.jsonl"
                )
            self._known = self._read()
            self._file = self.path.open("a", encoding="utf-8")
        except OSError as error:
            raise self._cannot_write(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # a full disk has been reported already
            self._file.close()
        with contextlib.suppress(OSError):
            if kind is None or self.path.stat().st_size == 0:
                self.path.unlink()

    def get(self, path: Path) -> Measurement | None:
        """The measurement of a file that has not changed since."""
        key = _key(path)
        return None if key is None else self._known.get(key)

    def add(self, path: Path, measurement: Measurement) -> None:
        """Keep a measurement.

        Raises:
            DataError: It cannot be written.
        """
        key = _key(path)
        if key is None:
            return
        try:
            self._file.write(json.dumps([self._how, *key, asdict(measurement)]) + "\n")
            self._file.flush()
        except OSError as error:
            raise self._cannot_write(error) from error

    def _read(self) -> dict[tuple[str, int, int], Measurement]:
        if not self.path.exists():
            return {}
        known = {}
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            # The last line of a killed run may be cut.
            with contextlib.suppress(ValueError, TypeError):
                how, path, size, changed_ns, values = json.loads(line)
                if how == self._how:
                    known[path, size, changed_ns] = Measurement(**_checked(values))
        return known

    def _cannot_write(self, error: OSError) -> DataError:
        return DataError(
            f"Cannot write {self._manifest}: {error.strerror or error}. "
            "Free disk space, or put the manifest elsewhere with --output FILE.jsonl"
        )


def _key(path: Path) -> tuple[str, int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return os.path.abspath(path), state.st_size, state.st_mtime_ns


def _checked(values: object) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise ValueError("not an object")
    return values
