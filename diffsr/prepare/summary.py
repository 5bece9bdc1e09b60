"""What a manifest holds, as a table for the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from diffsr.io.manifest import Utterance
from diffsr.prepare.build import Prepared

_ORDER = ("train", "valid", "test")
_NAMED = 5


def summary(prepared: Prepared) -> str:
    """Files, hours and talkers of each split, and what was left out."""
    bad = Counter(problem.utterance.split for problem in prepared.problems)
    present = {row.split for row in prepared.rows} | set(bad)
    splits = sorted(present, key=lambda split: _ORDER.index(split) if split in _ORDER else len(_ORDER))
    table = [("split", "files", "hours", "speakers", "left out")]
    for split in splits:
        rows = [row for row in prepared.rows if row.split == split]
        table.append((split or "-", *_counts(rows), str(bad[split])))
    if len(splits) > 1:
        table.append(("all", *_counts(prepared.rows), str(len(prepared.problems))))
    return "\n".join([*_aligned(table), *_left_out(prepared), *prepared.found.notes])


def hours(rows: Sequence[Utterance]) -> float:
    """Their length together in hours."""
    return sum(row.length_s or 0.0 for row in rows) / 3600


def _counts(rows: Sequence[Utterance]) -> tuple[str, str, str]:
    n_speakers = len({row.speaker for row in rows if row.speaker})
    return f"{len(rows):,}", f"{hours(rows):.2f}", str(n_speakers or "-")


def _aligned(table: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        )
        for row in table
    ]


def _left_out(prepared: Prepared) -> list[str]:
    lines = [f"not listed by default: {n:,} x {what}" for what, n in prepared.found.set_aside.items() if n]
    if prepared.problems:
        lines.append(f"left out, {len(prepared.problems):,} of them:")
        lines += [f"  {problem.why}" for problem in prepared.problems[:_NAMED]]
        if len(prepared.problems) > _NAMED:
            lines.append(f"  and {len(prepared.problems) - _NAMED:,} more")
    return lines
