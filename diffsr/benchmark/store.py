"""What a run leaves on disk: settings, estimates, and rows that are added one by one.

OUT/<track>_<split>/items.jsonl              the list, where it was drawn from the user's own data
OUT/<track>_<split>/inputs.jsonl             a row for each item: what its observation scores
OUT/<track>_<split>/scores.csv               scores of the systems that were scored last
OUT/<track>_<split>/<system>/settings.json   what was run; another system or setting is refused
OUT/<track>_<split>/<system>/estimates/s1/<item>.wav     of each talker (s1, s2), 32-bit float
OUT/<track>_<split>/<system>/facts.jsonl     a row for each item: seconds, calls, memory, or why it failed
OUT/<track>_<split>/<system>/scores.jsonl    a row for each item that was scored
OUT/<track>_<split>/<system>/.lock           held by the run that is at work
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from diffsr.benchmark.items import Item
from diffsr.errors import ConfigError, DataError
from diffsr.io.atomic import replacing

_DISK = "Choose another --output, or free disk space there."


@dataclass(frozen=True)
class TrackPlace:
    """Folder of a track and split below the output folder."""

    folder: Path

    @property
    def items(self) -> Path:
        """The user's own list."""
        return self.folder / "items.jsonl"

    def scores(self, subset: int | None = None) -> Path:
        """Scores of all items, or of those of the subset."""
        return self.folder / (f"scores_{subset}.csv" if subset else "scores.csv")

    def system(self, label: str) -> SystemPlace:
        """Folder of a system.

        Raises:
            ConfigError: The label cannot be the name of a folder.
        """
        if not label or label.startswith(".") or Path(label).name != label:
            raise ConfigError(f"{label!r} cannot name a folder of results, expected letters and digits.")
        return SystemPlace(self.folder / label)

    def labels(self) -> list[str]:
        """Systems that have estimates here, the unprocessed input first."""
        if not self.folder.is_dir():
            return []
        names = [path.parent.name for path in self.folder.glob("*/estimates") if path.is_dir()]
        return sorted(names, key=lambda name: (name != "unprocessed", name))

    def labels_of(self, name: str) -> list[str]:
        """Folders of a system: the one of this name, else those in which a system of this name was run."""
        labels = self.labels()
        return [name] if name in labels else [label for label in labels if self.system(label).ran(name)]


@dataclass(frozen=True)
class SystemPlace:
    """Folder of one system on one track."""

    folder: Path

    @property
    def label(self) -> str:
        """Name of the system here."""
        return self.folder.name

    @property
    def facts(self) -> Path:
        """What each item took."""
        return self.folder / "facts.jsonl"

    @property
    def scores(self) -> Path:
        """What each item scored."""
        return self.folder / "scores.jsonl"

    @property
    def settings(self) -> Path:
        """What was run."""
        return self.folder / "settings.json"

    def ran(self, system: str) -> bool:
        """Whether a system of this name was run here."""
        try:
            return bool(json.loads(self.settings.read_text(encoding="utf-8"))["system"] == system)
        except (OSError, ValueError, LookupError, TypeError):
            return False

    def estimates(self, item: Item) -> list[Path]:
        """The estimates of an item, one a talker."""
        talkers = range(1, len(item.plan.talkers) + 1)
        return [self.folder / "estimates" / f"s{talker}" / f"{item.id}.wav" for talker in talkers]

    def has(self, item: Item) -> bool:
        """Whether all estimates of an item are there."""
        return all(path.is_file() for path in self.estimates(item))

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other runs out until the block ends; what a killed run held, the system releases.

        Raises:
            ConfigError: Another run is at work here.
            DataError: Nothing can be written here.
        """
        path = self.folder / ".lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a")
        except OSError as error:
            raise DataError(f"Cannot write {path}: {error.strerror or error}. {_DISK}") from error
        with file:
            if not _lock(file):
                raise ConfigError(
                    f"Another `diffsr benchmark run` is at work in {self.folder}. Wait until it has ended, "
                    "or give this run a folder of its own with --label NAME."
                )
            yield

    def claim(self, settings: Mapping[str, str]) -> None:
        """Make the folder that of these settings.

        Raises:
            ConfigError: It holds results of other settings; the message names what differs.
            DataError: It cannot be read or written.
        """
        path = self.settings
        try:
            if path.exists():
                there = json.loads(path.read_text(encoding="utf-8"))
                if not isinstance(there, dict):
                    raise ValueError("no settings")
                _check_same(path, there, settings)
                return
            with replacing(path) as temporary:
                temporary.write_text(json.dumps(dict(settings), indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise DataError(f"Cannot write {path}: {error.strerror or error}. {_DISK}") from error
        except ValueError as error:
            raise DataError(f"{path} is damaged ({error}). Remove {self.folder} and run again.") from error


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Add a line of JSON and see it on the disk before anything else happens.

    Raises:
        DataError: It cannot be written.
    """
    line = json.dumps(row) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            if file.tell() and not _ends_line(file):
                line = "\n" + line  # what a killed run has left of its last line stays one line
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise DataError(f"Cannot write {path}: {error.strerror or error}. {_DISK}") from error


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Lines of `append_row`; one that was cut off is left out."""
    rows = []
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror or error}. Correct its permissions.") from error
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _lock(file: IO[str]) -> bool:
    """Hold a file until it is closed; False where another process does."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return not isinstance(error, BlockingIOError)  # others: a file system without locks
    return True


def _ends_line(file: Any) -> bool:  # noqa: ANN401
    file.seek(-1, os.SEEK_END)
    return bool(file.read(1) == b"\n")


def _check_same(path: Path, there: Mapping[str, str], asked: Mapping[str, str]) -> None:
    names = [name for name in {**there, **asked} if there.get(name) != asked.get(name)]
    if names:
        differences = ", ".join(
            f"{n} was {there.get(n, 'not set')}, now {asked.get(n, 'not set')}" for n in names
        )
        raise ConfigError(
            f"{path.parent} holds results of other settings ({differences}). Give this run a folder of its "
            "own with --label NAME, or remove that one."
        )
