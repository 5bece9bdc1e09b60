"""The speech of an utterance: its span in a recording, as one channel."""

from __future__ import annotations

from torch import Tensor

from diffsr.io.audio import read_audio
from diffsr.io.manifest import Utterance
from diffsr.signal.levels import loudest_channel, speech_span


def read_speech(utterance: Utterance) -> tuple[Tensor, int]:
    """Samples `[T]` of the loudest channel within the speech span, and their rate in Hz.

    Ends that the manifest does not name are found in the recording. Silence may come out empty.

    Raises:
        AudioError: The file cannot be read.
    """
    start_s, end_s = utterance.speech_start_s, utterance.speech_end_s
    wave, info = read_audio(utterance.path, start_s or 0.0, end_s)
    mono = loudest_channel(wave)
    if start_s is None or end_s is None:
        first_s, last_s = speech_span(mono, info.rate_hz)
        first = round(first_s * info.rate_hz) if start_s is None else 0
        last = round(last_s * info.rate_hz) if end_s is None else mono.shape[-1]
        mono = mono[first:last]
    return mono, info.rate_hz
