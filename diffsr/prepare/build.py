"""From the folders of a corpus to its manifest."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from diffsr.errors import AudioError, DataError
from diffsr.io.manifest import MANIFEST_NAME, Utterance, manifest_line, with_unique_ids, write_manifest
from diffsr.io.paths import named_path
from diffsr.prepare.corpus import Corpus, Found, Kind, Selection
from diffsr.prepare.measure import Measurement, measure
from diffsr.prepare.partial import Partial

OnProgress = Callable[[int, int], None]
"""Called with (files done, files in all) after each file."""
_WAITING = 8  # files handed to each thread in advance


@dataclass(frozen=True)
class Problem:
    """A recording that cannot be used, and why."""

    utterance: Utterance
    why: str


@dataclass(frozen=True)
class Prepared:
    """What became of a corpus.

    Attributes:
        manifest: The file; after a dry run where it would be.
        sha256: Checksum of its content; None after a dry run.
        kind: What the recordings are.
        rows: The recordings that are listed.
        problems: Those that cannot be used.
        n_reused: Recordings whose measurements a stopped run had left.
        found: What the folders held.
    """

    manifest: Path
    sha256: str | None
    kind: Kind
    rows: tuple[Utterance, ...]
    problems: tuple[Problem, ...]
    n_reused: int
    found: Found


def prepare(
    corpus: Corpus,
    folder: str | Path,
    output: str | Path | None = None,
    selection: Selection | None = None,
    quick: bool = False,
    dry_run: bool = False,
    on_progress: OnProgress | None = None,
) -> Prepared:
    """List a corpus in a jsonl; an older one is replaced, completely or not at all.

    Files that cannot be read, are empty, damaged, silent or not named in UTF-8 are left out. A stopped run
    leaves a hidden file beside the manifest, from which the next one takes the measurements of unchanged
    files.

    Args:
        corpus: Which one, see `diffsr.prepare.corpora.CORPORA`.
        folder: Where it lies.
        output: The manifest; None for `manifest.jsonl` in the folder.
        selection: Which of its recordings; None for the corpus's default.
        quick: Read headers only, see `diffsr.prepare.measure.measure`.
        dry_run: Read headers only and write nothing.
        on_progress: Told about every file.

    Raises:
        DataError: The folder is not there or not this corpus, no recording in it can be used, or the
            manifest cannot be written.
    """
    folder = named_path(folder)
    found = find(corpus, folder, selection or Selection())
    if not found.utterances:
        raise DataError(f"{folder} holds no recording of {found.kind} that is taken{_aside(found)}.")
    manifest = named_path(output) if output is not None else found.home / MANIFEST_NAME
    utterances = with_unique_ids(list(found.utterances))
    problems = _badly_named(utterances, manifest.parent)
    left_out = {problem.utterance.id for problem in problems}
    usable = [utterance for utterance in utterances if utterance.id not in left_out]
    quick = quick or dry_run
    with contextlib.ExitStack() as stack:
        partial = None
        if not dry_run:
            partial = stack.enter_context(Partial(manifest, f"{found.kind}{'-quick' * quick}"))
        rows: list[Utterance] = []
        n_reused = 0
        measured = stack.enter_context(contextlib.closing(_measured(usable, found.kind, quick, partial)))
        for utterance, result, reused in measured:
            if isinstance(result, str):
                problems.append(Problem(utterance, result))
            else:
                rows.append(_row(utterance, result))
            n_reused += reused
            if on_progress is not None:
                on_progress(len(rows) + len(problems), len(utterances))
        if not rows:
            raise DataError(
                f"None of the {len(utterances)} recordings in {folder} can be used; first: "
                f"{problems[0].why} Expected recordings of {found.kind}."
            )
        sha256 = None if dry_run else _write(manifest, rows)
    return Prepared(manifest, sha256, found.kind, tuple(rows), tuple(problems), n_reused, found)


def _aside(found: Found) -> str:
    """What was left out on purpose."""
    left = [f"{n:,} x {what}" for what, n in found.set_aside.items() if n]
    return f"; left out: {', '.join(left)}. Give --all where there is such an option" if left else ""


def find(corpus: Corpus, folder: Path, selection: Selection) -> Found:
    """List the recordings of a corpus by their paths.

    Raises:
        DataError: The folder is not there or not this corpus; the message shows the tree it should have.
    """
    try:
        if not os.path.isdir(folder):
            found = "is a file" if os.path.exists(folder) else "does not exist, or may not be read"
            raise DataError(f"{folder} {found}, expected the folder of {corpus.title}. Correct the path.")
        return corpus.find(folder, selection)
    except DataError as error:
        if not corpus.tree:
            raise
        raise DataError(f"{error}\n{corpus.title} should look like this:\n\n{corpus.tree}") from error


def _badly_named(utterances: Sequence[Utterance], folder: Path) -> list[Problem]:
    """Those that a manifest in `folder` cannot hold, known before anything is measured."""
    folder, problems = folder.resolve(), []
    for utterance in utterances:
        try:
            manifest_line(utterance, folder)
        except DataError as error:
            problems.append(Problem(utterance, str(error)))
    return problems


def _measured(
    utterances: Sequence[Utterance], kind: Kind, quick: bool, partial: Partial | None
) -> Generator[tuple[Utterance, Measurement | str, bool], None, None]:
    """Each recording with its measurement or what is wrong with it, and whether it was known, in order."""
    n_threads = min(8, os.cpu_count() or 1)
    waiting: deque[tuple[Utterance, Future[Measurement] | Measurement]] = deque()
    pool = ThreadPoolExecutor(n_threads)
    try:
        for index in range(len(utterances) + n_threads * _WAITING):
            if index < len(utterances):
                path = utterances[index].path
                known = partial.get(path) if partial else None
                waiting.append((utterances[index], known or pool.submit(measure, path, kind, quick)))
            if waiting and (index >= len(utterances) or len(waiting) == n_threads * _WAITING):
                utterance, pending = waiting.popleft()
                yield utterance, *_result(utterance, pending, partial)
    finally:
        pool.shutdown(cancel_futures=True)  # a stopped run does not read what was handed out in advance


def _result(
    utterance: Utterance, pending: Future[Measurement] | Measurement, partial: Partial | None
) -> tuple[Measurement | str, bool]:
    if isinstance(pending, Measurement):
        return pending, True
    try:
        measurement = pending.result()
    except AudioError as error:
        return str(error), False
    if partial:
        partial.add(utterance.path, measurement)
    return measurement, False


def _row(utterance: Utterance, measurement: Measurement) -> Utterance:
    return replace(
        utterance,
        rate_hz=measurement.rate_hz,
        n_samples=measurement.n_samples,
        speech_start_s=measurement.speech_start_s,
        speech_end_s=measurement.speech_end_s,
        sha1=measurement.sha1,
    )


def _write(manifest: Path, rows: Sequence[Utterance]) -> str:
    write_manifest(manifest, rows)
    try:
        return hashlib.sha256(manifest.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"Cannot read {manifest} again: {error.strerror or error}.") from error
