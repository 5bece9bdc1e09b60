"""What the numbers beside a restoration say, in words for a page to listen to."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any


def facts_beside(est: Path) -> tuple[str, ...]:
    """Of what `--physics` and several talkers have left beside a restoration: `a.json`, or `a.wav.json`."""
    owner = re.sub(r"\.talker\d+$", "", est.stem)
    for name in (f"{owner}.json", f"{owner}{est.suffix}.json"):
        with suppress(OSError, ValueError, RecursionError):
            told = json.loads((est.parent / name).read_text(encoding="utf-8"))
            if isinstance(told, dict) and "network_calls" in told:
                return tuple(_words(told))
    return ()


def _words(told: Mapping[str, Any]) -> Iterator[str]:
    channels, scores = (_list(told.get(name)) for name in ("channels", "scores"))
    channel = channels[0] if channels and isinstance(channels[0], dict) else {}
    room, noise = (part if isinstance(part := channel.get(name), dict) else {} for name in ("room", "noise"))
    for value, text in (
        (room.get("rt60_s"), "T60 {:.2f} s"),
        (room.get("drr_db"), "direct to reverberant {:+.1f} dB"),
        (noise.get("level_db"), "noise {:.0f} dB"),
        (channel.get("cutoff_hz"), "cut-off {:.0f} Hz"),
        (max(filter(_is_number, scores), default=None), "best restart scores {:.2f}"),
        (told.get("confidence"), "confidence {:.2f}"),
    ):
        if _is_number(value):
            yield text.format(value)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
