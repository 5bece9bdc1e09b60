"""RNNoise: a small recurrent network with band gains, the denoiser of many calls and recorders."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffsr.baselines.base import as_recording, for_every_talker, require, version_of
from diffsr.signal.resampling import resample

NETWORK_RATE_HZ = 48_000
LATENCY_SAMPLES = 960
"""At 48 kHz, 20 ms: one frame of 480 for the overlap of the synthesis, one because the gains of a frame
are applied to the spectrum before it (version 0.2). Exact above 1 kHz; the high-pass filter at the input
advances 100 to 300 Hz by about 5 samples of 48 kHz (0.1 ms)."""
FULL_SCALE = 32768.0


class RNNoise:
    """RNNoise on the first microphone, for every talker, its latency of 20 ms removed.

    The network works at 48 kHz: other rates are converted there and back. The compiled library is
    called frame by frame with floats; pyrnnoise's own wrapper rounds to 16 bits, and samples beyond
    full scale wrap around there. RNNoise depends on the level (it knows 16-bit recordings of speech),
    so the level is left as the recording has it.

    Raises:
        ConfigError: pyrnnoise is missing or has no library for this machine.

    References:
        Valin 2018, "A hybrid DSP/deep learning approach to real-time full-band speech enhancement",
        arXiv:1709.08243.
    """

    name = "rnnoise"

    def __init__(self) -> None:
        self._rnnoise: Any = require("pyrnnoise.rnnoise", "pyrnnoise", self.name)

    def __call__(self, observation: Tensor, rate_hz: int, n_talkers: int) -> Tensor:
        """See `System`."""
        wave = as_recording(observation, n_talkers)[0]
        n_samples = wave.shape[-1]
        fast = resample(wave, rate_hz, NETWORK_RATE_HZ)
        denoised = torch.from_numpy(self._denoise(fast.numpy()))
        return for_every_talker(resample(denoised, NETWORK_RATE_HZ, rate_hz, n_samples), n_talkers)

    def _denoise(self, wave: np.ndarray) -> np.ndarray:
        """float32 [T] at 48 kHz -> [T], aligned."""
        frame_samples = int(self._rnnoise.FRAME_SIZE)
        n_frames = -(-(len(wave) + LATENCY_SAMPLES) // frame_samples)
        frames = np.zeros((n_frames, frame_samples), dtype=np.float32)
        frames.reshape(-1)[: len(wave)] = FULL_SCALE * wave
        state = self._rnnoise.create()
        try:
            for frame in frames:
                pointer = frame.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
                self._rnnoise.lib.rnnoise_process_frame(state, pointer, pointer)
        finally:
            self._rnnoise.destroy(state)
        return frames.reshape(-1)[LATENCY_SAMPLES : LATENCY_SAMPLES + len(wave)] / np.float32(FULL_SCALE)

    def describe(self) -> dict[str, str]:
        """See `System`."""
        return {
            "system": self.name,
            "pyrnnoise": version_of("pyrnnoise"),
            "rate_hz": str(NETWORK_RATE_HZ),
            "removed_latency_s": str(LATENCY_SAMPLES / NETWORK_RATE_HZ),
            "output": "microphone 1",
        }
