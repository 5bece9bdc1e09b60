"""Which speech is in two corpora."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from diffsr.io.manifest import Utterance


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


def _stretch(row: Utterance) -> tuple[float, float]:
    """Start and end of the speech, as far as the manifest knows."""
    end_s = math.inf if row.speech_end_s is None else row.speech_end_s
    return row.speech_start_s or 0.0, end_s
