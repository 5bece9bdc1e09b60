"""Weighted prediction error (WPE) dereverberation."""

from __future__ import annotations

from torch import Tensor

from diffsr.baselines.base import as_recording, for_every_talker
from diffsr.signal.room_frames import HOP_S, OVERLAP, room_frames
from diffsr.signal.wpe import wpe


class WPE:
    """Offline WPE, see `diffsr.signal.wpe`: the equations of nara_wpe, which the tests compare with.

    All microphones predict; the first one is the output, for every talker. The settings are those of
    nara_wpe's own example: STFT 512/128 at 16 kHz (the same times at other rates), delay 3, 10 taps,
    5 iterations.

    Args:
        taps: Length of the prediction filter, in frames.
        delay: Frames between a frame and the newest that predicts it.
        iterations: Alternations between powers of the speech and filter.
        name: Name in results.
    """

    def __init__(self, taps: int = 10, delay: int = 3, iterations: int = 5, name: str = "wpe") -> None:
        self.name, self.taps, self.delay, self.iterations = name, taps, delay, iterations

    def __call__(self, observation: Tensor, rate_hz: int, n_talkers: int) -> Tensor:
        """See `System`."""
        recording = as_recording(observation, n_talkers)
        if recording.shape[-1]:
            recording = wpe(recording, self.taps, self.delay, self.iterations, *room_frames(rate_hz))
        return for_every_talker(recording[0], n_talkers)

    def describe(self) -> dict[str, str]:
        """See `System`."""
        return {
            "system": self.name,
            "window_s": str(OVERLAP * HOP_S),
            "hop_s": str(HOP_S),
            "taps": str(self.taps),
            "delay": str(self.delay),
            "iterations": str(self.iterations),
            "output": "microphone 1",
        }
