"""Restoring files and folders: names, skipping what is there, one bad file among good ones."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from diffsr.api import OnStep, Restorer
from diffsr.errors import AudioError, ConfigError, DiffsrError
from diffsr.io.audio import AUDIO_SUFFIXES, can_hold, find_audio, probe

OnProgress = Callable[[int, int, str, int, int], None]
"""(finished files, files, name, finished steps of the current file, its steps), so that the whole is done
to `(finished files + finished steps / steps) / files`; with 0 finished steps when the named file ends."""

_ENDS_THE_RUN = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


@dataclass(frozen=True)
class Recording:
    """A file to restore.

    Attributes:
        id: Path below the folder that was asked for, without suffix. The random numbers depend on it and
            not on the company of the file, so it is not made unique (`a.wav` and `a.mp3` share theirs).
        path: The file.
    """

    id: str
    path: Path

    def output(self, target: Path) -> Path:
        """Where the restoration goes: the same place and format below `target`."""
        return target / f"{self.id}{self.path.suffix}"


@dataclass(frozen=True)
class FileReport:
    """What became of one file.

    Attributes:
        path: The recording.
        output: Where its restoration is or should be.
        status: `restored`, `skipped` or `failed`.
        message: Why it failed or was skipped.
        seconds: Wall time.
        duration_s: Length of the recording.
        calls: Calls of the prior.
    """

    path: Path
    output: Path
    status: str
    message: str = ""
    seconds: float = 0.0
    duration_s: float = 0.0
    calls: int = 0


def list_recordings(source: str | Path) -> list[Recording]:
    """The recordings of a folder and its sub-folders, sorted by path, or the one at `source`.

    Files are listed, not read.

    Raises:
        AudioError: Nothing is there.
        DataError: The folder holds no recording.
    """
    source = Path(source).expanduser()
    if os.path.isdir(source):  # unlike Path.is_dir, false where a folder above may not be entered
        relative = [path.relative_to(source) for path in find_audio(source)]
        return [Recording(path.with_suffix("").as_posix(), source / path) for path in relative]
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
    source, target = Path(source).expanduser(), Path(target).expanduser()
    recordings = list_recordings(source)
    if not os.path.isdir(source):
        return recordings
    _refuse_same(source, target)
    recordings = [r for r in recordings if target.resolve() not in r.path.resolve().parents]
    if not recordings:
        raise AudioError(
            f"{source} holds no recordings outside {target}; expected {', '.join(sorted(AUDIO_SUFFIXES))}."
        )
    return recordings


def restore_path(
    source: str | Path,
    target: str | Path,
    restorer: Restorer,
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
) -> list[FileReport]:
    """Restore a file, or all recordings below a folder into another folder with the same tree.

    Each result is written under a temporary name and renamed, so what exists is whole, and an interrupted
    run goes on where it stopped. `on_progress` is called after each step.

    Returns:
        One report for each recording; what is wrong with a single one is told there.

    Raises:
        AudioError: The source is missing, the target cannot be written, or the disk is full.
        DataError: The folder holds no recording.
        ConfigError: The target does not fit the source, or is the source.
    """
    pairs = _plan(Path(source).expanduser(), Path(target).expanduser())
    reports = []
    for index, (recording, output) in enumerate(pairs):
        progress = _Progress(on_progress, index, len(pairs), recording)
        reports.append(restore_one(recording, output, restorer, overwrite=overwrite, on_step=progress.step))
        progress.finish()
    return reports


def restore_one(
    recording: Recording,
    output: Path,
    restorer: Restorer,
    overwrite: bool = False,
    on_step: OnStep | None = None,
) -> FileReport:
    """Restore one file; what is wrong with it becomes a report, not an exception.

    Raises:
        ConfigError: The output is the recording itself.
        AudioError: The disk is full or read-only, which the next file would find as well.
    """
    path = recording.path
    _refuse_same(path, output)
    if output.exists() and not overwrite:
        return FileReport(path, output, "skipped", f"{output} is there already; --overwrite replaces it.")
    started = time.perf_counter()
    try:
        info = probe(path)
        result = restorer.restore_file(path, recording.id, on_step)
        result.save(output, info.subtype if can_hold(output, info.subtype) else None)
    except (DiffsrError, OSError, MemoryError, RuntimeError) as error:
        message = _what_is_wrong(error, path)
        if message is None:
            raise
        return FileReport(path, output, "failed", message, time.perf_counter() - started)
    seconds = time.perf_counter() - started
    return FileReport(path, output, "restored", "", seconds, info.duration_s, result.n_calls)


def _what_is_wrong(error: BaseException, path: Path) -> str | None:
    """What to tell about this file; None for an error that the next file would find as well."""
    if _is_out_of_memory(error):
        return f"{path} is too long for this device's memory: use --device cpu or cut it."
    if isinstance(error.__cause__, OSError) and error.__cause__.errno in _ENDS_THE_RUN:
        return None
    if isinstance(error, OSError):
        return f"{path}: {error.strerror}."
    return str(error) if isinstance(error, DiffsrError) else None


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, RuntimeError):  # PyTorch has a class of it for CUDA and words for CPU and MPS
        return "out of memory" in str(error) or "can't allocate memory" in str(error)
    return isinstance(error, MemoryError)


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


@dataclass
class _Progress:
    """Turns the steps of one file into calls of `on_progress`."""

    on_progress: OnProgress | None
    index: int
    n_files: int
    recording: Recording
    n_steps: int = 1

    def step(self, done: int, total: int) -> None:
        self.n_steps = total
        if done < total:
            self._tell(self.index, done)

    def finish(self) -> None:
        self._tell(self.index + 1, 0)

    def _tell(self, n_finished: int, done: int) -> None:
        if self.on_progress is not None:
            name = f"{self.recording.id}{self.recording.path.suffix}"
            self.on_progress(n_finished, self.n_files, name, done, self.n_steps)


def _plan(source: Path, target: Path) -> list[tuple[Recording, Path]]:
    """What is to be restored, and where to."""
    recordings = recordings_outside(source, target)
    if not os.path.isdir(source):
        output = _output_of_file(recordings[0], target)
        _refuse_same(source, output)
        check_writable(output.parent)
        return [(recordings[0], output)]
    if target.is_file() or target.suffix.lower() in AUDIO_SUFFIXES:
        raise ConfigError(f"{source} is a folder and {target} is a file; give a folder for the results.")
    check_writable(target)
    return [(recording, recording.output(target)) for recording in recordings]


def _output_of_file(recording: Recording, target: Path) -> Path:
    """`target` itself where it names a recording, else the same name in the folder `target`."""
    if target.is_dir() or not target.suffix:
        return recording.output(target)
    if target.suffix.lower() not in AUDIO_SUFFIXES:
        raise ConfigError(
            f"{target} is no folder, and {target.suffix} is not a format that can be written; expected a "
            f"folder or a name ending in one of {', '.join(sorted(AUDIO_SUFFIXES))}."
        )
    return target


def _refuse_same(source: Path, target: Path) -> None:
    if source.resolve() == target.resolve():
        raise ConfigError(
            f"{source} would be overwritten by its own restoration; give another place for the result."
        )
