"""What has to be read from a recording for its row in a manifest."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from diffsr.errors import AudioError
from diffsr.io.audio import AudioInfo, probe, read_audio
from diffsr.prepare.corpus import Kind
from diffsr.signal.levels import db, loudest_channel, rms, speech_span

SILENT_DB = -90.0
"""What is not speech is silence below this RMS (re full scale): the last bit of 16."""


@dataclass(frozen=True)
class Measurement:
    """What the content of one file says; see the columns of `diffsr.io.manifest.Utterance`."""

    rate_hz: int
    n_samples: int
    speech_start_s: float | None = None
    speech_end_s: float | None = None
    sha1: str | None = None


def measure(path: Path, kind: Kind, quick: bool = False) -> Measurement:
    """Read a recording.

    Args:
        path: The file.
        kind: What it should be; speech gets its speech span, everything else is checked by level alone.
        quick: Read the header only: no speech span, no checksum, silence and damage go unnoticed.

    Raises:
        AudioError: The file cannot be read, is damaged, ends early or is silent.
    """
    if quick:
        info = probe(path)
        return Measurement(info.rate_hz, info.n_samples)
    wave, info = read_audio(path)
    _check_length(path, wave, info)
    start_s, end_s = _span(path, wave, info.rate_hz) if kind == "speech" else (None, None)
    if kind != "speech" and not _level_db(wave) > SILENT_DB:
        raise AudioError(f"{path} is silent ({_level_db(wave):.0f} dB re full scale), expected {kind}.")
    return Measurement(info.rate_hz, wave.shape[-1], start_s, end_s, _sha1(path))


def _span(path: Path, wave: Tensor, rate_hz: int) -> tuple[float, float]:
    start_s, end_s = (round(time_s, 3) for time_s in speech_span(loudest_channel(wave), rate_hz))
    if end_s <= start_s:
        raise AudioError(f"{path} holds silence or next to nothing, expected speech.")
    return start_s, end_s


def _check_length(path: Path, wave: Tensor, info: AudioInfo) -> None:
    # Headers of lossy formats may be wrong by a frame.
    if wave.shape[-1] < info.n_samples - math.ceil(0.1 * info.rate_hz):
        raise AudioError(
            f"{path} ends early: {wave.shape[-1]} of the {info.n_samples} samples in its header. Replace it."
        )


def _level_db(wave: Tensor) -> float:
    return float(db(rms(loudest_channel(wave))))


def _sha1(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha1").hexdigest()
    except OSError as error:
        raise AudioError(f"{path} cannot be read ({error.strerror}).") from error
