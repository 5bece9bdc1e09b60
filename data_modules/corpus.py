"""A corpus of clean speech, decoded once and held in memory as 16-bit samples."""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from tqdm import tqdm

from diffsr.errors import AudioError, DataError
from diffsr.io.manifest import Utterance
from diffsr.io.speech import read_speech
from diffsr.signal.levels import active_rms, db
from diffsr.signal.resampling import resample

_log = logging.getLogger(__name__)
SILENCE_RMS = 1e-4
"""Speech below -80 dBFS is taken for silence: 16-bit files hold nothing but rounding there."""


@dataclass(frozen=True)
class Speech:
    """The decoded speech of one utterance.

    Attributes:
        samples: int16 [T], the speech span at full scale.
        scale: Factor that takes the samples to an active-speech RMS of 1.
        source_hz: Rate of the file.
    """

    samples: Tensor
    scale: float
    source_hz: int


class Corpus:
    """Speech spans of many utterances in one flat tensor.

    Attributes:
        utterances: The rows of the manifest that could be used.
        samples: int16 [T], all of them, one utterance after the other.
        offsets: int64 [U + 1], where in `samples` each utterance begins, and the end of the last.
        scales: float32 [U], factors that take the samples to an active-speech RMS of 1.
        speakers: int64 [U], index into the names of the talkers, -1 without a label.
        n_skipped: Rows that could not be used.
        low_rates: How many utterances come from files of each rate below that of the corpus: they have
            nothing in the upper band.
    """

    def __init__(self, utterances: Sequence[Utterance], rate_hz: int, names: Sequence[str]) -> None:
        """Decode the utterances.

        Args:
            utterances: What to decode.
            rate_hz: Rate to hold them at.
            names: The talkers, in the order of their numbers.

        Raises:
            DataError: More than half of the files cannot be used, or none is left.
        """
        number = {name: index for index, name in enumerate(names)}
        self.utterances: list[Utterance] = []
        scales: list[float] = []
        offsets = [0]
        store = bytearray()  # grows in place: the samples are never there twice
        problems: list[str] = []
        self.low_rates: Counter[int] = Counter()
        for utterance, speech in _decode_all(utterances, rate_hz):
            if isinstance(speech, str):
                problems.append(speech)
                continue
            store += speech.samples.numpy().tobytes()
            offsets.append(len(store) // 2)
            self.utterances.append(utterance)
            scales.append(speech.scale)
            if speech.source_hz < rate_hz:
                self.low_rates[speech.source_hz] += 1
        self.n_skipped = len(problems)
        _report(problems, len(utterances))
        _report_low(self.low_rates, len(self.utterances), rate_hz)
        self.samples = torch.frombuffer(store, dtype=torch.int16)
        self.offsets = torch.tensor(offsets)
        self.scales = torch.tensor(scales, dtype=torch.float32)
        self.speakers = torch.tensor([number.get(u.speaker or "", -1) for u in self.utterances])

    def __len__(self) -> int:
        """Number of utterances."""
        return len(self.utterances)

    @property
    def lengths(self) -> Tensor:
        """Samples of each utterance, int64 [U]."""
        return self.offsets.diff()

    def speech(self, index: int, start: int = 0, stop: int | None = None) -> Tensor:
        """A part of an utterance at active-speech RMS 1, float32 [stop - start]."""
        first, last = int(self.offsets[index]), int(self.offsets[index + 1])
        end = last if stop is None else min(last, first + stop)
        return self.samples[first + start : end].float() * self.scales[index]


def decode(utterance: Utterance, rate_hz: int) -> Speech:
    """Read the speech span of an utterance.

    Raises:
        AudioError: The file cannot be read or holds silence.
    """
    mono, source_hz = read_speech(utterance)
    mono = resample(mono, source_hz, rate_hz)
    level = float(active_rms(mono, rate_hz)) if len(mono) else 0.0
    if level < SILENCE_RMS:
        raise AudioError(f"{utterance.path} holds silence ({db(level):.0f} dBFS), expected speech.")
    peak = float(mono.abs().max())
    samples = (mono * (32767.0 / peak)).round().to(torch.int16)
    return Speech(samples, peak / 32767.0 / level, source_hz)


def _decode_all(utterances: Sequence[Utterance], rate_hz: int) -> Iterator[tuple[Utterance, Speech | str]]:
    """Decode in threads (soundfile and soxr release the GIL), in the order of the manifest."""

    def attempt(utterance: Utterance) -> Speech | str:
        try:
            return decode(utterance, rate_hz)
        except AudioError as error:
            return str(error)

    terminal = sys.stderr.isatty()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        results = tqdm(
            pool.map(attempt, utterances),
            total=len(utterances),
            desc="Reading speech",
            unit="file",
            leave=False,
            delay=0.5 if terminal else 5.0,
            mininterval=0.1 if terminal else 10.0,
            disable=getattr(rank_zero_only, "rank", 0) != 0,
        )
        yield from zip(utterances, results, strict=True)


def _report(problems: list[str], total: int) -> None:
    """Warn of skipped files; stop where the corpus as a whole is not usable."""
    if not problems:
        return
    text = f"{len(problems)} of {total} speech files cannot be used; first: {problems[0]}"
    if 2 * len(problems) > total or len(problems) == total:
        raise DataError(f"{text} More than half are bad: repair the corpus or its manifest.")
    _log.warning("Skipped: %s", text)


def _report_low(low_rates: Counter[int], total: int, rate_hz: int) -> None:
    """Warn of speech that lacks the upper band."""
    if low_rates:
        found = ", ".join(f"{count} at {low_hz} Hz" for low_hz, count in sorted(low_rates.items()))
        _log.warning(
            "%d of %d speech files have less than %d Hz (%s): their upper band is empty. Leave them out, or "
            "use a lower rate_hz.",
            low_rates.total(),
            total,
            rate_hz,
            found,
        )
