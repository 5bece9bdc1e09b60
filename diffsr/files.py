"""Restoring files and folders: names, skipping what is there, one bad file among good ones."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from diffsr.api import Restorer
from diffsr.errors import AudioError, ConfigError, DiffsrError
from diffsr.io.audio import AUDIO_SUFFIXES, find_audio, probe

OnProgress = Callable[[int, int, str, int, int], None]
"""(finished files, files, name, finished steps, steps of this file)"""


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


def restore_path(
    source: str | Path,
    target: str | Path,
    restorer: Restorer,
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
) -> list[FileReport]:
    """Restore a file, or all recordings below a folder into another folder with the same tree.

    Each result is written under a temporary name and renamed, so what exists is whole, and an interrupted
    run goes on where it stopped.

    Raises:
        AudioError: The single file, or every file, cannot be used; the folder is missing or holds no audio.
        ConfigError: The target is the source.
    """
    pairs = _plan(Path(source).expanduser(), Path(target).expanduser())
    reports = []
    for index, (path, output) in enumerate(pairs):

        def on_step(done: int, total: int, index: int = index, path: Path = path) -> None:
            if on_progress is not None:
                on_progress(index, len(pairs), path.name, done, total)

        reports.append(restore_one(path, output, restorer, overwrite=overwrite, on_step=on_step))
    return reports


def restore_one(
    path: Path,
    output: Path,
    restorer: Restorer,
    item_id: str | None = None,
    overwrite: bool = False,
    on_step: Callable[[int, int], None] | None = None,
) -> FileReport:
    """Restore one file; what a user can mend becomes a report, not an exception."""
    if output.exists() and not overwrite:
        return FileReport(path, output, "skipped", f"{output} is there already; --overwrite replaces it.")
    started = time.perf_counter()
    try:
        info = probe(path)
        result = restorer.restore_file(path, item_id, on_step)
        result.save(output, info.subtype if output.suffix.lower() == path.suffix.lower() else None)
    except DiffsrError as error:
        message = str(error) if str(path) in str(error) else f"{path}: {error}"
        return FileReport(path, output, "failed", message, time.perf_counter() - started)
    seconds = time.perf_counter() - started
    return FileReport(path, output, "restored", "", seconds, info.duration_s, result.n_calls)


def output_path(path: Path, folder: Path, target: Path) -> Path:
    """Where the restoration of `path`, a recording below `folder`, goes: the same place below `target`."""
    return target / path.relative_to(folder)


def _plan(source: Path, target: Path) -> list[tuple[Path, Path]]:
    if not source.is_dir():
        output = target if target.suffix.lower() in AUDIO_SUFFIXES and not target.is_dir() else target / source.name
        _refuse_same(source, output)
        return [(source, output)]
    if target.is_file() or target.suffix.lower() in AUDIO_SUFFIXES:
        raise ConfigError(f"{source} is a folder and {target} is a file; give a folder for the results.")
    _refuse_same(source, target)
    inside = target.resolve()
    paths = [path for path in find_audio(source) if inside not in path.resolve().parents]
    if not paths:
        raise AudioError(f"{source} holds no recordings outside {target}; expected {', '.join(sorted(AUDIO_SUFFIXES))}.")
    return [(path, output_path(path, source, target)) for path in paths]


def _refuse_same(source: Path, target: Path) -> None:
    if source.resolve() == target.resolve():
        raise ConfigError(f"{source} would be overwritten by its own restoration; give another place for the result.")
