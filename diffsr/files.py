"""Restoring files and folders: what is there already, one bad file among good ones."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from diffsr.api import Restorer
from diffsr.errors import ConfigError, DiffsrError
from diffsr.io.audio import AudioInfo, encoded, nearest_coding, probe, read_audio
from diffsr.io.recordings import Recording, plan_outputs, refuse_same
from diffsr.report.physics import write_pictures, write_summary
from diffsr.restoration import Restoration, UnfinishedError
from diffsr.restoration.batch import batches
from diffsr.restoration.checks import choose_channels
from diffsr.restoration.file_report import FileReport
from diffsr.restoration.kept_sections import remove_sections
from diffsr.restoration.side_files import AudioFiles, SideFiles
from diffsr.restoration.talkers import Talkers
from diffsr.samplers.annealed import OnStep
from diffsr.signal.damage import clipped_share

OnProgress = Callable[[int, int, str, int, int], None]
"""(finished files, files, name, finished steps of the current file, its steps), so that the whole is done
to `(finished files + finished steps / steps) / files`; with 0 finished steps when the named file ends.
Files that share a batch have one name, `a.wav and 3 more`, and the steps of all of them."""

_ENDS_THE_RUN = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


def restore_path(
    source: str | Path,
    target: str | Path,
    restorer: Restorer,
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
    physics: bool = False,
) -> list[FileReport]:
    """Restore a file, or all recordings below a folder into another folder with the same tree.

    Each result is written under a temporary name and renamed, so what exists is whole, and an interrupted
    run goes on where it stopped. Several talkers have one file each and one for the rest (`AudioFiles`),
    and a set of them that is not whole is done again. `on_progress` is called after each step.

    Args:
        source: File or folder.
        target: File or folder; see `diffsr.io.recordings.plan_outputs`.
        restorer: With its prior, task and settings.
        overwrite: Whether to restore again what is there already.
        on_progress: See `OnProgress`.
        physics: Whether to write what was found out beside the speech, see `SideFiles`.

    Returns:
        One report for each recording, by path; what is wrong with a single one is told there.

    Raises:
        AudioError: The source is missing, the target cannot be written, or the disk is full.
        DataError: The folder holds no recording.
        ConfigError: The target does not fit the source, or is the source.
    """
    pairs = plan_outputs(source, target)
    refuse_what_is_read(pairs, restorer)
    reports: dict[int, FileReport] = {}
    for group in _groups(pairs, restorer, overwrite):
        members = [pairs[place] for place in group]
        progress = _Progress(on_progress, len(reports), len(pairs), [recording for recording, _ in members])
        done = restore_together(members, restorer, overwrite, physics, progress.step)
        reports.update(zip(group, done, strict=True))
        progress.finish()
    return [reports[place] for place in range(len(pairs))]


def _groups(pairs: Sequence[tuple[Recording, Path]], restorer: Restorer, overwrite: bool) -> list[list[int]]:
    """Which files are restored together: those of equal length, by their headers."""
    lengths = {}
    for place, (recording, output) in enumerate(pairs):
        lengths[place] = -1 - place  # no length: by itself
        files = AudioFiles(output, restorer.recipe.n_sources)
        if restorer.batch_size > 1 and (overwrite or not files.are_there):
            try:
                info = probe(recording.path)
            except (DiffsrError, OSError):
                continue
            if not restorer.cuts(info.duration_s):  # else its sections share batches
                lengths[place] = round(info.n_samples * restorer.prior.rate_hz / info.rate_hz)
    return batches(lengths, restorer.batch_size)


def restore_together(
    pairs: Sequence[tuple[Recording, Path]],
    restorer: Restorer,
    overwrite: bool = False,
    physics: bool = False,
    on_step: OnStep | None = None,
) -> list[FileReport]:
    """Restore files in as few batches as possible; what is wrong with one becomes a report.

    Raises:
        AudioError: The disk is full or read-only, which the next file would find as well.
    """
    started = time.perf_counter()
    reports: dict[int, FileReport] = {}
    heard: dict[int, tuple[Tensor, AudioInfo]] = {}
    for place, (recording, output) in enumerate(pairs):
        left = None if overwrite else _left_alone(recording, output, restorer, physics)
        if left is not None:
            reports[place] = left
            if left.status == "skipped":
                remove_sections(_sections_of(recording, output))  # of a run that was stopped at its very end
            continue
        try:
            found = read_audio(recording.path)
            _check_coding(recording, output, *found, restorer)
            heard[place] = found
        except (DiffsrError, OSError) as error:
            reports[place] = _failed(recording, output, error)
    kept = [_sections_of(*pairs[place]) for place in heard]
    results = restorer.restore_many(
        [wave for wave, _ in heard.values()],
        [info.rate_hz for _, info in heard.values()],
        [pairs[place][0].id for place in heard],
        on_step,
        kept,
    )
    for place, result, sections in zip(heard, results, kept, strict=True):
        report_of = partial(_written, *pairs[place], result, *heard[place], restorer, physics)
        try:
            reports[place] = report_of()
        except DiffsrError:
            if not remove_sections(sections):
                raise
            reports[place] = report_of()  # they took the place of the result
        if reports[place].status == "restored":
            remove_sections(sections)
    seconds = (time.perf_counter() - started) / max(len(heard), 1)
    timed = {place: replace(reports[place], seconds=seconds) for place in heard}
    return [(reports | timed)[place] for place in range(len(pairs))]


def _sections_of(recording: Recording, output: Path) -> Path:
    """Where finished sections of a long recording are until all are there."""
    return SideFiles.of(output, recording.has_namesake).sections


def refuse_what_is_read(pairs: Sequence[tuple[Recording, Path]], restorer: Restorer) -> None:
    """Refuse results that would take the place of what they are made of.

    Raises:
        ConfigError: Names the file.
    """
    for recording, output in pairs:
        files = AudioFiles(output, restorer.recipe.n_sources)
        sides = SideFiles.of(output, recording.has_namesake)
        for path in files.files:
            refuse_same(recording.path, path)
        for read in (recording.path, restorer.rir):
            if read is not None and sides.may_replace(Path(read), files):
                raise ConfigError(
                    f"{read} has the name of what is written as {files.output} or beside it, and might be "
                    "replaced. Give another place for the result."
                )


def _left_alone(recording: Recording, output: Path, restorer: Restorer, physics: bool) -> FileReport | None:
    """Why a recording is not restored unless asked to: its result, or something else, is there already."""
    files = AudioFiles(output, restorer.recipe.n_sources)
    sides = SideFiles.of(output, recording.has_namesake)
    if files.are_there:
        message = f"{files.named} is there already; --overwrite replaces it."
        return FileReport(recording.path, files.files[0], "skipped", message)
    has_summary = physics or files.n_sources > 1
    if has_summary and (reason := _taken(sides, files, physics)):
        message = (
            f"{recording.path}: {reason} and would be replaced. Choose another place for the result; "
            "--overwrite replaces it."
        )
        return FileReport(recording.path, files.files[0], "failed", message)
    return None


def _taken(sides: SideFiles, files: AudioFiles, has_picture: bool) -> str | None:
    """Why numbers or picture must not be written without being asked to."""
    if other := sides.tells_of_another(files):
        return f"{sides.summary} tells of {other}, which is still there,"
    if other := sides.of_somebody_else(has_picture):
        return f"{other} is no restoration's"
    return None


def _check_coding(
    recording: Recording, output: Path, wave: Tensor, info: AudioInfo, restorer: Restorer
) -> None:
    """Find out before the work that the format of a result has no such rate or number of channels.

    Raises:
        AudioError: It has not, or the channels have no mean; the message names the recording.
        ConfigError: There is no such channel.
    """
    recipe = restorer.recipe
    rate_hz = max(info.rate_hz, restorer.prior.rate_hz) if recipe.degradation.extends_band else info.rate_hz
    try:
        chosen, _ = choose_channels(wave, restorer.channels, recipe.n_sources)
        encoded(output, torch.zeros(len(chosen), 1), rate_hz, nearest_coding(output, info.subtype))
    except DiffsrError as error:
        raise type(error)(f"{recording.path}: {error}") from error


def _written(
    recording: Recording,
    output: Path,
    result: Restoration | DiffsrError,
    wave: Tensor,
    info: AudioInfo,
    restorer: Restorer,
    physics: bool,
) -> FileReport:
    """Write a result with what belongs beside it; the audio comes last, as it says that all is there."""
    sides = SideFiles.of(output, recording.has_namesake)
    files = AudioFiles(output, restorer.recipe.n_sources)
    try:
        if isinstance(result, UnfinishedError):
            failed = replace(result.best, subtype=info.subtype).save(sides.failed)
            message = f"{recording.path}: {result} The best estimate so far is in {failed}."
            return FileReport(recording.path, output, "failed", message)
        if isinstance(result, DiffsrError):
            return _failed(recording, output, type(result)(f"{recording.path}: {result}"))
        result = replace(result, subtype=info.subtype)
        kept = result if restorer.keeps_samples else replace(result, samples=None)
        with result.saving(output) as saved:
            sides.remove_samples(files)
            kept.save_samples(sides.samples, output.suffix)
            if physics or result.talkers is not None:
                write_summary(result, recording.path.name, output.name, sides)
            if physics:
                chosen, _ = choose_channels(wave, restorer.channels, restorer.recipe.n_sources)
                write_pictures(result, chosen, info.rate_hz, sides)
        sides.remove_earlier(files, result.talkers is not None, physics)
    except (DiffsrError, OSError) as error:
        return _failed(recording, output, error)
    return FileReport(
        recording.path,
        saved,
        "restored",
        duration_s=info.duration_s,
        calls=result.n_calls,
        n_files=len(files.files),
        doubt=_doubt(result.talkers),
        rate_hz=info.rate_hz,
        clipped=0.0
        if restorer.recipe.degradation.raises_peaks
        else float(clipped_share(wave[:, None]).max()),
    )


def _doubt(talkers: Talkers | None) -> str:
    """What the score of a separation warns of."""
    if talkers is None or talkers.told_apart is not False:
        return ""
    return f"best score {talkers.best_score:.2f}, sure above {talkers.sure_above:g}"


def _failed(recording: Recording, output: Path, error: DiffsrError | OSError) -> FileReport:
    """What to tell about this file.

    Raises:
        DiffsrError: The error is one that the next file would find as well.
    """
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno in _ENDS_THE_RUN:
        raise error
    message = f"{recording.path}: {error.strerror}." if isinstance(error, OSError) else str(error)
    return FileReport(recording.path, output, "failed", message)


@dataclass
class _Progress:
    """Turns the steps of files that are restored together into calls of `on_progress`."""

    on_progress: OnProgress | None
    n_before: int
    n_files: int
    recordings: Sequence[Recording]
    n_steps: int = 1

    def step(self, done: int, total: int) -> None:
        self.n_steps = total
        if done < total:
            self._tell(self.n_before, done * len(self.recordings))

    def finish(self) -> None:
        self._tell(self.n_before + len(self.recordings), 0)

    def _tell(self, n_finished: int, done: int) -> None:
        if self.on_progress is not None:
            first, n_others = self.recordings[0], len(self.recordings) - 1
            name = f"{first.id}{first.path.suffix}" + (f" and {n_others} more" if n_others else "")
            self.on_progress(n_finished, self.n_files, name, done, self.n_steps)
