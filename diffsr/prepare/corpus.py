"""What a corpus says about itself: where its recordings lie and what their paths tell."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from diffsr.errors import DataError
from diffsr.io.audio import AUDIO_SUFFIXES
from diffsr.io.manifest import Utterance

Kind = Literal["speech", "noise", "response", "mixture"]
_SHOWN = 8


@dataclass(frozen=True)
class Selection:
    """Which recordings of a corpus are wanted.

    Attributes:
        parts: Subsets, talkers or versions; none for all (for what a corpus calls its default).
        everything: Also what is left out by default, such as second microphones and coughs.
    """

    parts: tuple[str, ...] = ()
    everything: bool = False


@dataclass(frozen=True)
class Found:
    """The recordings of a corpus by their paths alone.

    Attributes:
        home: Where the manifest goes by default.
        utterances: Sorted by path; lengths and speech spans are not known yet.
        kind: What the recordings are; speech alone has a speech span.
        set_aside: What was left out on purpose, with counts.
        notes: What the user should know, such as a split that is not there.
    """

    home: Path
    utterances: Sequence[Utterance]
    kind: Kind = "speech"
    set_aside: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Corpus:
    """One corpus.

    Attributes:
        name: The word for the command line and the column `corpus`.
        title: Its name in messages.
        tree: The folders it should have, shown when they are not there; empty when any will do.
        find: Lists the recordings; raises DataError when the folders are not there.
    """

    name: str
    title: str
    tree: str
    find: Callable[[Path, Selection], Found]


def subfolders(folder: Path) -> list[Path]:
    """Folders in a folder, sorted, without hidden ones; none where the folder is missing.

    Raises:
        DataError: The folder may not be read.
    """
    return [path for path in _entries(folder) if path.is_dir()]


def recordings_in(folder: Path, suffixes: frozenset[str] = AUDIO_SUFFIXES) -> list[Path]:
    """Recordings in a folder but not below, sorted, without hidden ones.

    Raises:
        DataError: The folder may not be read.
    """
    return [path for path in _entries(folder) if path.suffix.lower() in suffixes and path.is_file()]


def own_path(folder: Path) -> Path:
    """A folder by the name that it is given: that of a link, not of what it leads to."""
    return Path(os.path.abspath(folder))


def contents(folder: Path) -> str:
    """What a folder holds, in a few words for a message."""
    names = [path.name + "/" * path.is_dir() for path in _entries(folder)]
    if not names:
        return "nothing"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def first_with(folder: Path, below: Sequence[str], is_home: Callable[[Path], bool]) -> Path | None:
    """The folder itself or the first of the named folders in it that is the home of the corpus."""
    candidates = [folder, *(folder / name for name in below)]
    return next((path for path in candidates if path.is_dir() and is_home(path)), None)


def check_parts(wanted: Sequence[str], there: Sequence[str], what: str) -> None:
    """Refuse parts that are not there.

    Raises:
        DataError: A wanted part is missing.
    """
    missing = [name for name in wanted if name not in there]
    if missing:
        raise DataError(
            f"The {what} {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not there; "
            f"found {', '.join(there) or 'none'}."
        )


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(
            f"The folder {folder} cannot be read ({error.strerror}). Change its permissions (chmod u+rx) "
            "or move it elsewhere."
        ) from error
