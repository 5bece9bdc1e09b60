"""Recordings to restore: which there are, and where their restorations go."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from diffsr.errors import AudioError, ConfigError
from diffsr.io.audio import AUDIO_SUFFIXES, find_audio
from diffsr.io.paths import named_path


@dataclass(frozen=True)
class Recording:
    """A file to restore.

    Attributes:
        id: Path below the folder that was asked for, without suffix. The random numbers depend on it and
            not on the company of the file, so it is not made unique (`a.wav` and `a.mp3` share theirs).
        path: The file.
        has_namesake: Whether another one of that folder differs in its suffix alone.
    """

    id: str
    path: Path
    has_namesake: bool = False

    def output(self, target: Path) -> Path:
        """Where the restoration goes: the same place and format below `target`."""
        return target / f"{self.id}{self.path.suffix}"


def list_recordings(source: str | Path) -> list[Recording]:
    """The recordings of a folder and its sub-folders, sorted by path, or the one at `source`.

    Files are listed, not read.

    Raises:
        ConfigError: The path is empty.
        AudioError: Nothing is there.
        DataError: The folder holds no recording.
    """
    source = named_path(source)
    if os.path.isdir(source):  # unlike Path.is_dir, false where a folder above may not be entered
        relative = [path.relative_to(source) for path in find_audio(source)]
        ids = [path.with_suffix("").as_posix() for path in relative]
        times = Counter(ids)
        return [
            Recording(name, source / path, times[name] > 1) for name, path in zip(ids, relative, strict=True)
        ]
    if not os.path.exists(source):
        raise AudioError(
            f"{source} does not exist, or this user may not enter its folder; expected a recording or a "
            "folder. Correct the path."
        )
    return [Recording(source.stem, source)]


def recordings_outside(source: str | Path, target: str | Path) -> list[Recording]:
    """The recordings of `source`, without the earlier results among them when `target` is in that folder.

    Raises:
        AudioError: Nothing is there, or nothing outside `target`.
        DataError: The folder holds no recording.
        ConfigError: The folder is `target`.
    """
    source, target = named_path(source), named_path(target)
    recordings = list_recordings(source)
    if not os.path.isdir(source):
        return recordings
    refuse_same(source, target)
    recordings = [r for r in recordings if target.resolve() not in r.path.resolve().parents]
    if not recordings:
        raise AudioError(
            f"{source} holds no recordings outside {target}; expected {', '.join(sorted(AUDIO_SUFFIXES))}."
        )
    return recordings


def check_writable(target: Path) -> None:
    """Find out before hours of work that the results cannot be written.

    Raises:
        AudioError: A file is in the way of the folder `target`, or its place may not be written to.
    """
    place = next(path for path in (target, *target.absolute().parents) if os.path.lexists(path))
    if not os.path.isdir(place):
        raise AudioError(f"Cannot write to {target}: {place} is not a folder. Choose another place.")
    if not os.access(place, os.W_OK | os.X_OK):
        raise AudioError(
            f"Cannot write to {target}: {place} may not be written by this user. Change its permissions "
            "(chmod u+w) or choose another place."
        )


def check_folder(target: Path) -> None:
    """Find out before hours of work that `target` is no folder for results.

    Raises:
        AudioError: See `check_writable`.
        ConfigError: It is a file, or has the name of one.
    """
    if target.is_file() or (target.suffix.lower() in AUDIO_SUFFIXES and not target.is_dir()):
        raise ConfigError(f"{target} is a file or named like one; give a folder for the results.")
    check_writable(target)


def plan_outputs(source: str | Path, target: str | Path) -> list[tuple[Recording, Path]]:
    """What is to be restored, and where to: `target` has the tree of `source`, or is the name for a file.

    Raises:
        AudioError: The source is missing, or the target cannot be written.
        DataError: The folder holds no recording.
        ConfigError: The target does not fit the source, or is the source.
    """
    source, target = named_path(source), named_path(target)
    recordings = recordings_outside(source, target)
    if not os.path.isdir(source):
        output = _output_of_file(recordings[0], target)
        refuse_same(source, output)
        check_writable(output.parent)
        return [(recordings[0], output)]
    check_folder(target)
    return [(recording, recording.output(target)) for recording in recordings]


def _output_of_file(recording: Recording, target: Path) -> Path:
    """`target` itself where it names a recording, else the same name in the folder `target`."""
    if target.is_dir() or not target.suffix:
        output = recording.output(target)
        check_format(output)
        return output
    if target.suffix.lower() not in AUDIO_SUFFIXES:
        raise ConfigError(
            f"{target} is no folder, and {target.suffix} is not a format that can be written; expected a "
            f"folder or a name ending in one of {', '.join(sorted(AUDIO_SUFFIXES))}."
        )
    return target


def check_format(output: Path) -> None:
    """Find out before the work that the format of a recording can be read and not written.

    Raises:
        ConfigError: It is one of those.
    """
    if output.suffix.lower() not in AUDIO_SUFFIXES:
        raise ConfigError(
            f"The result would be {output}, and {output.suffix or 'no suffix'} is not a format that can be "
            f"written. Convert the recording, or name the result where the command takes a file: "
            f"{', '.join(sorted(AUDIO_SUFFIXES))}."
        )


def refuse_same(source: Path, target: Path) -> None:
    """Refuse to write a restoration over its recording.

    Raises:
        ConfigError: Both are the same file.
    """
    if source.resolve() == target.resolve():
        raise ConfigError(
            f"{source} would be overwritten by its own restoration; give another place for the result."
        )
