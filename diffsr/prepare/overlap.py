"""Which speech is in two corpora."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from diffsr.io.manifest import Utterance

_log = logging.getLogger(__name__)


def n_shared(train: Sequence[Utterance], valid: Sequence[Utterance]) -> int:
    """How many rows of `valid` are of a stretch of a file of which a row of `train` is, too."""
    trained: defaultdict[Path, list[tuple[float, float]]] = defaultdict(list)
    for row in train:
        trained[Path(row.path).resolve()].append(_stretch(row))
    return sum(
        any(start_s < _stretch(row)[1] and _stretch(row)[0] < end_s for start_s, end_s in stretches)
        for row in valid
        if (stretches := trained.get(Path(row.path).resolve()))
    )


def warn_of_shared(
    train: Sequence[Utterance], valid: Sequence[Utterance], source: str | Path, advice: str
) -> None:
    """Tell of validation speech from `source` that trains, too, and what to do about it."""
    if shared := n_shared(train, valid):
        _log.warning(
            "%d of %d validation recordings in %s also train: scores say too little about new speech. %s",
            shared,
            len(valid),
            source,
            advice,
        )


def _stretch(row: Utterance) -> tuple[float, float]:
    """Start and end of the speech, as far as the manifest knows."""
    end_s = math.inf if row.speech_end_s is None else row.speech_end_s
    return row.speech_start_s or 0.0, end_s
