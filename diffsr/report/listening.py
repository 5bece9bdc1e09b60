"""One HTML file to listen to: players, spectrograms and scores of several systems, and a blind test.

Everything is in the file, so that it can be mailed, kept beside a paper, and opened without a server.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import Tensor

from diffsr import __version__
from diffsr.evaluation.metrics import ALL_METRICS
from diffsr.evaluation.results import Evaluation
from diffsr.evaluation.tables import number
from diffsr.io.atomic import replacing, unwritable
from diffsr.io.audio import encoded
from diffsr.report.listening_items import RECORDING, ListeningItem, Track
from diffsr.signal.levels import active_rms, db

PARTS = Path(__file__).parents[1] / "assets" / "listening"
N_HEARD = 2
"""Of more channels the first two are played."""


def write_page(
    path: str | Path,
    items: Sequence[ListeningItem],
    systems: Sequence[str],
    title: str = "Listening",
    crop_s: float | None = None,
) -> Path:
    """Write the page, completely or not at all.

    Args:
        path: The .html file; parent folders are made.
        items: What it shows, in this order.
        systems: Their names, in this order.
        title: Its heading.
        crop_s: Only so much of every track; None for all of it. Scores are those of whole tracks.

    Raises:
        DataError: The page cannot be written.
    """
    path = Path(path)
    # `<` would end the script that holds the data
    data = json.dumps(page_data(items, systems, title, crop_s), allow_nan=False).replace("<", "\\u003c")
    parts = {name: (PARTS / f"page.{name}").read_text(encoding="utf-8") for name in ("html", "css", "js")}
    held = {"TITLE": html.escape(_plain(title)), "STYLE": parts["css"], "SCRIPT": parts["js"], "DATA": data}
    # all at once, as what is put in may look like a mark
    page = re.sub("__(TITLE|STYLE|SCRIPT|DATA)__", lambda mark: held[mark[1]], parts["html"])
    try:
        with replacing(path) as temporary:
            temporary.write_text(page, encoding="utf-8")
    except OSError as error:
        raise unwritable(path, error) from error
    return path


def page_data(
    items: Sequence[ListeningItem], systems: Sequence[str], title: str, crop_s: float | None = None
) -> dict[str, Any]:
    """What the script of the page reads, ready for JSON: no NaN, audio as FLAC in base64."""
    made = [_item(item, crop_s) for item in items]
    metrics = [
        metric
        for name, metric in ALL_METRICS.items()
        if any(name in row.output for item in items for row in item.rows.values())
    ]
    compared = [item for item in items if all(system in item.rows for system in systems)]
    today = datetime.now(UTC)
    names = [_plain(system) for system in systems]
    about = f"{_counted(len(items), 'item')}, {', '.join(names)}. diffsr {__version__}, "
    # of all that is heard, so that ratings of other sounds are not taken for those of these
    key = hashlib.sha256(json.dumps([title, names, made]).encode()).hexdigest()[:12]
    return {
        "title": _plain(title),
        "about": f"{about}{today.day} {today:%B %Y}.",
        "key": key,
        "systems": names,
        "metrics": [{"name": m.name, "label": m.label, "digits": m.digits} for m in metrics],
        "summary": _summary(compared, systems),
        "compared": _counted(len(compared), "item")
        + ("" if len(compared) == len(items) else f" of {len(items)}, those that all systems are scored on"),
        "items": made,
    }


def _summary(items: Sequence[ListeningItem], systems: Sequence[str]) -> list[dict[str, Any]]:
    """Lines of the table of means: of the recording where it was scored, then of each system.

    A line has a name and for each metric the mean, and in `more` improvement, interval and share made worse.
    """
    found = {_plain(system): Evaluation([item.rows[system] for item in items]) for system in systems}
    lines = [{"name": name, "scores": _means_of(evaluation)} for name, evaluation in found.items()]
    scored = next((evaluation for evaluation in found.values() if evaluation.has_input), None)
    before = [] if scored is None else [{"name": RECORDING, "scores": _means_of(scored, "input")}]
    return [line for line in (*before, *lines) if line["scores"]]


def _means_of(found: Evaluation, side: str = "output") -> dict[str, dict[str, str]]:
    """Mean of each metric in words, and what its improvement was."""
    means = {}
    for metric in found.metrics:
        own, gain, digits = (
            found.summary(metric.name, side),
            found.summary(metric.name, "improvement"),
            metric.digits,
        )
        more = [f"of {own.n}"] if own.n_nan else []
        if side == "output" and gain.n_compared and metric.better != "neither":
            low, high = (number(value, digits, signed=True) for value in (gain.low, gain.high))
            more += [number(gain.mean, digits, signed=True)]
            more += [f"95 %: {low} to {high}"] if math.isfinite(gain.low) else []
            more += [f"{gain.n_worse} of {gain.n_compared} worse"]
        means[metric.name] = {"mean": number(own.mean, digits), "more": "; ".join(more)}
    return means


def _item(item: ListeningItem, crop_s: float | None) -> dict[str, Any]:
    scores = {
        _plain(system): {
            "output": _finite(row.output),
            "gain": _finite({name: row.improvement(name) for name in row.input}),
        }
        for system, row in item.rows.items()
    }
    louder = max(1.0, *(float(track.wave.abs().max()) for track in item.tracks))  # than full scale
    notes = [_plain(note) for note in item.notes]
    if louder > 1.0:
        notes.append(f"all tracks are played {db(louder):.1f} dB softer, as one is beyond full scale")
    return {
        "id": _plain(item.id),
        "notes": notes,
        "in_order": item.in_order,
        "scores": scores,
        "tracks": [_track(track, track.wave / louder, crop_s) for track in item.tracks],
    }


def _track(track: Track, wave: Tensor, crop_s: float | None) -> dict[str, Any]:
    wave = wave if crop_s is None else wave[:, : max(1, round(crop_s * track.rate_hz))]
    heard = wave[:N_HEARD]
    # A mean over channels is quieter than what one hears, silent where they are opposite.
    rms = float(active_rms(heard, track.rate_hz).square().mean().sqrt())
    return {
        "name": _plain(track.name),
        "role": track.role,
        "system": _plain(track.system),
        "talker": track.talker,
        "file": _plain(track.file.name),
        "rate_hz": track.rate_hz,
        "level_db": db(rms) if rms > 0 else None,
        "peak": float(heard.abs().max()),
        "scores": _finite(track.scores),
        "gains": _finite(track.gains),
        "facts": list(track.facts),
        "audio": _flac(heard, track.rate_hz),
    }


def _flac(wave: Tensor, rate_hz: int) -> str:
    """16 bits, as any browser plays them."""
    return base64.b64encode(encoded("track.flac", wave, rate_hz, "PCM_16")).decode("ascii")


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _plain(text: str) -> str:
    """Names of files may hold bytes that are no text."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"
