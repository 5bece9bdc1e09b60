"""Names of what a restoration writes beside its audio, and how listings of recordings know them again."""

from __future__ import annotations

import os
import re
from collections.abc import Collection

SAMPLES, RESPONSE, FAILED = "samples", "response", "failed"
SECTIONS = "sections"
"""Of a hidden folder, which no listing of recordings goes into."""

_SIDE = re.compile(rf"(?P<owner>.+)\.({SAMPLES}|({RESPONSE}|{FAILED}(\.talker\d+|\.residual)?)\.\w+)")
_TALKER = re.compile(r"(?P<owner>.+)\.talker\d+")


def owners(recordings: Collection[str]) -> set[str]:
    """What names of side files begin with, of audio files of one folder: `a` and `a.wav` of `a.wav`."""
    found: set[str] = set()
    for name in recordings:
        stem, suffix = os.path.splitext(name)
        if (talker := _TALKER.fullmatch(stem)) is not None:
            stem = talker["owner"]
        found |= {stem, stem + suffix}
    return found


def lies_beside(name: str, of: Collection[str]) -> bool:
    """Whether a file or folder belongs to one of these `owners`: `a.samples` or `a.response.wav` to `a`."""
    side = _SIDE.fullmatch(name)
    return side is not None and side["owner"] in of
