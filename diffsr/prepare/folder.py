"""A manifest of any folder of recordings."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from diffsr.errors import AudioError, DataError
from diffsr.io.audio import read_audio
from diffsr.io.manifest import MANIFEST_NAME, Utterance, scan_folder, write_manifest
from diffsr.signal.levels import loudest_channel, speech_span

_log = logging.getLogger(__name__)


def prepare_folder(
    folder: str | Path,
    output: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """List the recordings of a folder with their talkers, lengths and speech spans in a jsonl.

    Talker and split come from the names of the sub-folders, see `diffsr.io.manifest.scan_folder`. Files
    that cannot be read or hold silence are left out and counted in a warning.

    Args:
        folder: Where the recordings lie, also in sub-folders.
        output: The manifest; None for `manifest.jsonl` in the folder. An older one is replaced.
        progress: Called with (files done, files in all) after each file.

    Returns:
        The path of the manifest.

    Raises:
        DataError: The folder is missing, no recording in it can be used, or the manifest cannot be written.
    """
    folder = Path(folder).expanduser()
    target = folder / MANIFEST_NAME if output is None else Path(output).expanduser()
    found = scan_folder(folder)
    rows: list[Utterance] = []
    problems: list[str] = []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for done, result in enumerate(pool.map(_measure, found), start=1):
            if isinstance(result, str):
                problems.append(result)
            else:
                rows.append(result)
            if progress is not None:
                progress(done, len(found))
    if not rows:
        raise DataError(
            f"None of the {len(found)} recordings in {folder} can be used; first: {problems[0]} "
            "Expected recordings of speech."
        )
    if problems:
        _log.warning("Left out %d of %d recordings; first: %s", len(problems), len(found), problems[0])
    write_manifest(target, rows)
    return target


def _measure(utterance: Utterance) -> Utterance | str:
    """The row with length, rate and speech span, or why the file cannot be used."""
    try:
        wave, info = read_audio(utterance.path)
    except AudioError as error:
        return str(error)
    start_s, end_s = speech_span(loudest_channel(wave), info.rate_hz)
    if end_s <= start_s:
        return f"{utterance.path} holds silence, expected speech."
    return replace(
        utterance,
        rate_hz=info.rate_hz,
        n_samples=wave.shape[-1],
        speech_start_s=round(start_s, 3),
        speech_end_s=round(end_s, 3),
    )
