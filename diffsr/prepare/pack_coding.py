"""Coding of speech for packs: each span once, in threads, kept when the run is stopped."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

from torch import Tensor

from diffsr.errors import AudioError, ConfigError, DataError
from diffsr.io.audio import probe, write_audio
from diffsr.io.manifest import Utterance, manifest_line
from diffsr.io.speech import read_speech
from diffsr.signal.resampling import resample

OnProgress = Callable[[int, int], None]
_FEWEST_KBIT, _MOST_KBIT = 6, 256


@dataclass(frozen=True)
class Coding:
    """How speech is stored.

    Attributes:
        format: `opus` or `flac`.
        rate_hz: Sampling rate; files at other rates are converted.
        kbit: Mean bit rate of Opus, in kbit/s.
    """

    format: Literal["opus", "flac"] = "opus"
    rate_hz: int = 16000
    kbit: float = 32.0

    def __post_init__(self) -> None:
        if self.rate_hz < 1:
            raise ConfigError(f"{self.rate_hz} Hz is no sampling rate; expected one such as 16000.")
        if not _FEWEST_KBIT <= self.kbit <= _MOST_KBIT:
            raise ConfigError(
                f"{self.kbit:g} kbit/s: Opus of one channel takes {_FEWEST_KBIT} to {_MOST_KBIT} kbit/s."
            )
        if self.format == "opus" and self.rate_hz not in (8000, 12000, 16000, 24000, 48000):
            raise ConfigError(
                f"{self.rate_hz} Hz: Opus takes 8000, 12000, 16000, 24000 or 48000 Hz; FLAC takes any rate."
            )

    @property
    def compression_level(self) -> float | None:
        """What libsndfile takes for the bit rate: from 0 for 256 to 1 for 6 kbit/s and channel."""
        span = _MOST_KBIT - _FEWEST_KBIT
        return (_MOST_KBIT - self.kbit) / span if self.format == "opus" else None


@dataclass(frozen=True)
class Coded:
    """One file of a pack: the utterance in there, where it lies now, its size, and the rate of its source."""

    utterance: Utterance
    path: Path
    n_bytes: int
    source_hz: int


class Coder:
    """Codes utterances into a hidden folder beside the parts, in threads; knows what is there already."""

    def __init__(self, output: Path, on_progress: OnProgress | None, total: int) -> None:
        self.problems: list[str] = []
        self.n_reused = self._done = 0
        self.pool = output / ".coded"
        self._there = {path.name: path for path in output.glob("part-*/audio/*")}
        self._there |= {path.name: path for path in self.pool.glob("*")}
        self._on_progress, self._total = on_progress, total

    def __enter__(self) -> Self:
        self._threads = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    def code(self, utterances: Sequence[Utterance], coding: Coding) -> list[Coded]:
        """Code what is not there yet, in the order given."""
        files = []
        for result, reused in self._threads.map(lambda row: self._attempt(row, coding), utterances):
            self._done += 1
            self.n_reused += reused
            if isinstance(result, str):
                self.problems.append(result)
            else:
                files.append(result)
            if self._on_progress is not None:
                self._on_progress(self._done, self._total)
        return files

    def _attempt(self, row: Utterance, coding: Coding) -> tuple[Coded | str, bool]:
        try:
            manifest_line(row, row.path.parent.resolve())
            name = _name(row, coding)
            source_hz = probe(row.path).rate_hz
            there = self._there.get(name)
            path = there or self.pool / name
            wave = None if there is not None else resample(*_speech(row), coding.rate_hz)
        except (AudioError, DataError) as error:
            return str(error), False
        if wave is not None:  # what cannot be written is no fault of the recording, and ends the run
            write_audio(path, wave[None], coding.rate_hz, compression_level=coding.compression_level)
        try:
            info = probe(path)
        except AudioError as error:
            return str(error), False
        utterance = replace(
            row,
            path=path,
            speech_start_s=0.0,
            speech_end_s=round(info.duration_s, 4),
            rate_hz=info.rate_hz,
            n_samples=info.n_samples,
            duration_s=None,
            sha1=None,
        )
        return Coded(utterance, path, path.stat().st_size, source_hz), there is not None


def _speech(row: Utterance) -> tuple[Tensor, int]:
    mono, rate_hz = read_speech(row)
    if not len(mono) or not float(mono.abs().max()) > 0:
        raise AudioError(f"{row.path} holds silence, expected speech.")
    return mono, rate_hz


def digest(text: str) -> str:
    """A name of 16 digits; its order has nothing to do with that of `text`."""
    return hashlib.sha1(text.encode(errors="surrogateescape")).hexdigest()[:16]


def _name(row: Utterance, coding: Coding) -> str:
    """File name that changes with the span, the source and the coding, so that nothing stale is taken up."""
    try:
        state = row.path.stat()
    except OSError as error:
        raise AudioError(f"{row.path} cannot be read ({error.strerror}).") from error
    span = f"{row.speech_start_s}-{row.speech_end_s}"
    source = f"{row.id}|{span}|{state.st_size}|{state.st_mtime_ns}"
    return f"{digest(f'{source}|{coding}')}.{coding.format}"
