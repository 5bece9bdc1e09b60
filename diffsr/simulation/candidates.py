"""Which recordings of a manifest can enter a scene, and how much of each."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from diffsr.errors import AudioError, DataError
from diffsr.io.audio import probe
from diffsr.io.manifest import Utterance

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """A recording and the part of it that may be used.

    Attributes:
        utterance: Its row in the manifest.
        start_s: Where the usable part starts: the speech span if the manifest tells it.
        length_s: How long that part is.
    """

    utterance: Utterance
    start_s: float
    length_s: float


def candidates(utterances: Sequence[Utterance], rate_hz: int, kind: str) -> list[Candidate]:
    """The usable recordings, sorted by id; headers are read only where the manifest tells no length.

    Args:
        utterances: Rows of a manifest.
        rate_hz: Rate of the scenes; recordings with a lower one lack bandwidth and are left out.
        kind: What they are, for messages: speech or noise.

    Raises:
        DataError: None can be used.
    """
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        found = list(pool.map(lambda utterance: _candidate(utterance, rate_hz), utterances))
    usable = [item for item in found if isinstance(item, Candidate)]
    problems = [item for item in found if isinstance(item, str)]
    if not usable:
        first = f" First: {problems[0]}" if problems else ""
        raise DataError(f"None of the {len(found)} {kind} recordings can be used for scenes.{first}")
    if problems:
        _log.warning("Left out %d of %d %s files; first: %s", len(problems), len(found), kind, problems[0])
    return sorted(usable, key=lambda item: item.utterance.id)


def fingerprint(items: Sequence[Candidate]) -> str:
    """Hash of what scenes depend on: ids, talkers and spans, not where the files lie."""
    text = "\n".join(
        repr((c.utterance.id, c.utterance.speaker, round(c.start_s, 4), round(c.length_s, 4))) for c in items
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _candidate(utterance: Utterance, rate_hz: int) -> Candidate | str:
    """The usable part, or why there is none."""
    found_hz, length_s = utterance.rate_hz, utterance.length_s
    if length_s is None:
        try:
            info = probe(utterance.path)
        except AudioError as error:
            return str(error)
        found_hz, length_s = info.rate_hz, info.duration_s
    if found_hz is not None and found_hz < rate_hz:
        return bandwidth_problem(str(utterance.path), found_hz, rate_hz)
    start_s = utterance.speech_start_s or 0.0
    end_s = length_s if utterance.speech_end_s is None else min(utterance.speech_end_s, length_s)
    if end_s <= start_s:
        return f"{utterance.path}: its speech span {start_s} to {end_s} s is empty. Correct the manifest."
    return Candidate(utterance, start_s, end_s - start_s)


def bandwidth_problem(path: str, found_hz: int, rate_hz: int) -> str:
    """Message about a recording with too low a rate."""
    return (
        f"{path} has {found_hz} Hz, expected at least the {rate_hz} Hz of the scenes. Use "
        f"rate_hz={found_hz}, or leave the file out."
    )
