"""What became of files, and what to tell of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MOST_NAMED = 5
"""Recordings in a line."""


@dataclass(frozen=True)
class FileReport:
    """What became of one file.

    Attributes:
        path: The recording.
        output: Where its restoration is or should be; of several talkers the file of the first.
        status: `restored`, `skipped` or `failed`.
        message: Why it failed or was skipped.
        seconds: Wall time; of files that shared a batch, an equal share.
        duration_s: Length of the recording.
        calls: Calls of the prior.
        n_files: Audio files of the restoration: one, or of S talkers S + 1.
        doubt: Of talkers who may not be told apart, why.
        rate_hz: Sampling rate of the recording.
        clipped: Share of its samples that were cut off and have not been repaired; of its worst channel.
    """

    path: Path
    output: Path
    status: str
    message: str = ""
    seconds: float = 0.0
    duration_s: float = 0.0
    calls: int = 0
    n_files: int = 1
    doubt: str = ""
    rate_hz: int = 0
    clipped: float = 0.0


def account(reports: Sequence[FileReport], memory_mib: float, n_devices: int = 1) -> str:
    """One line about a run: files, lengths, time, calls and peak memory; `restored 2 of 3 (...)`.

    The time is that of all files by the number of devices that they were shared among.
    """
    done = [report for report in reports if report.status == "restored"]
    counts = Counter(report.calls for report in done)
    line = f"restored {len(done)} of {len(reports)}"
    if not done:
        return line
    took = sum(report.seconds for report in done) / n_devices
    lasted = sum(report.duration_s for report in done)
    most = max(counts)
    calls = f"{most} network calls each" if len(counts) == 1 else f"up to {most} network calls each"
    factor = f", real-time factor {took / lasted:.2f}" if lasted else ""
    return (
        f"{line} ({lasted:.1f} s of audio in {took:.1f} s{factor}, {calls}, peak memory {memory_mib:.0f} MiB)"
    )


def notes(reports: Sequence[FileReport], prior_hz: int, extends_band: bool) -> list[str]:
    """What to tell of the results of a run, a line for each thing.

    Args:
        reports: Of all recordings.
        prior_hz: Sampling rate of the prior.
        extends_band: Whether frequencies are added; then channels that lack none come back with theirs.
    """
    lines = [doubts(reports), _clipped(reports, prior_hz)]
    if not extends_band and any(one.rate_hz > prior_hz for one in reports if one.status == "restored"):
        lines.append(
            f"nothing above {_khz(prior_hz / 2)} is in the restored speech: the prior is for {_khz(prior_hz)}"
        )
    return [line for line in lines if line]


def doubts(reports: Sequence[FileReport]) -> str:
    """A line that names the recordings whose talkers may not be told apart; nothing where there are none."""
    doubtful = [f"{report.path.name} ({report.doubt})" for report in reports if report.doubt]
    if not doubtful:
        return ""
    return f"talkers may still be mixed: {_some(doubtful)}; OUT.json has the scores (told_apart)"


def _clipped(reports: Sequence[FileReport], prior_hz: int) -> str:
    """A line that names the recordings that look clipped; nothing where there are none."""
    clipped = [f"{one.path.name} ({one.clipped:.1%} of its samples)" for one in reports if one.clipped]
    if not clipped:
        return ""
    return (
        f"peaks look cut off: {_some(clipped)}; --task declip raises them in recordings of {_khz(prior_hz)}"
    )


def _some(named: Sequence[str]) -> str:
    more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    return ", ".join(named[:MOST_NAMED]) + more


def _khz(rate_hz: float) -> str:
    return f"{rate_hz / 1000:g} kHz"
