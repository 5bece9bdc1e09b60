"""Weighted prediction error (WPE) dereverberation with the building blocks of nara_wpe."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from diffsr.baselines.base import as_recording, for_every_talker, require, version_of
from diffsr.signal.stft import STFT

WINDOW_S, HOP_S = 0.032, 0.008
SILENT_POWER = 1e-10
"""Frames below this part of the largest power are digital silence; nara_wpe floors powers there, too."""
DIAGONAL_LOAD = 1e-12


class WPE:
    """Offline WPE: late reverberation is predicted linearly from the past and subtracted.

    All microphones predict; the first one is the output, for every talker. The settings are those of
    nara_wpe's own example: STFT 512/128 at 16 kHz (the same times at other rates), delay 3, 10 taps,
    5 iterations. The equations are those of `nara_wpe.wpe.wpe_v8`, with two changes for recordings that
    the plain ones fail on:

    * The fit weights every frame with its inverse power, so a stretch of digital silence (zero-padded
      recordings) would outweigh all speech by 100 dB, and the best filter would be the one that leaves
      the silence silent: none. Such frames are left out and stay as they are.
    * The correlation matrix gets a diagonal load of 1e-12 of its mean diagonal: without it, two
      microphones with the same signal give enormous filters of no meaning.

    A recording with no more frames of sound than the filter has unknowns passes unchanged.

    Args:
        taps: Length of the prediction filter, in frames.
        delay: Frames between a frame and the newest that predicts it.
        iterations: Alternations between powers of the speech and filter.
        name: Name in results.

    Raises:
        ConfigError: nara_wpe is missing.

    References:
        Yoshioka and Nakatani 2012, IEEE TASLP 20(10); Drude et al. 2018, "NARA-WPE", ITG Speech
        Communication.
    """

    def __init__(self, taps: int = 10, delay: int = 3, iterations: int = 5, name: str = "wpe") -> None:
        self.name, self.taps, self.delay, self.iterations = name, taps, delay, iterations
        self._wpe = require("nara_wpe.wpe", "nara_wpe", self.name)

    def __call__(self, observation: Tensor, rate_hz: int, n_talkers: int) -> Tensor:
        """See `System`."""
        recording = as_recording(observation, n_talkers)
        n_samples = recording.shape[-1]
        if n_samples == 0:
            return for_every_talker(recording[0], n_talkers)
        hop_samples = max(1, round(HOP_S * rate_hz))
        # A whole number of hops in a window, so that the inverse is exact at any rate.
        stft = STFT(round(WINDOW_S / HOP_S) * hop_samples, hop_samples).double()
        spec = stft(recording.double()).transpose(0, 1).numpy()
        power = np.square(np.abs(spec)).mean((0, 1))
        is_sound = power > SILENT_POWER * power.max()
        dry = np.stack([self._dereverberate(of_bin, is_sound)[0] for of_bin in spec])
        return for_every_talker(stft.inverse(torch.from_numpy(dry), n_samples), n_talkers)

    def _dereverberate(self, spec: np.ndarray, is_sound: np.ndarray) -> np.ndarray:
        """One frequency bin of all microphones, complex [C, N], fitted on the frames bool [N] -> [C, N]."""
        if is_sound.sum() <= self.delay + self.taps * spec.shape[0]:
            return spec
        past = self._wpe.build_y_tilde(spec, self.taps, self.delay)
        dry = spec
        for _ in range(self.iterations):
            weights = self._wpe.get_power_inverse(dry[:, is_sound])
            correlations = self._wpe.get_correlations_v6(spec[:, is_sound], past[:, is_sound], weights)
            dry = self._wpe.perform_filter_operation_v5(spec, past, _solve(*correlations))
        return np.where(is_sound, dry, spec)

    def describe(self) -> dict[str, str]:
        """See `System`."""
        return {
            "system": self.name,
            "nara_wpe": version_of("nara_wpe"),
            "window_s": str(WINDOW_S),
            "hop_s": str(HOP_S),
            "taps": str(self.taps),
            "delay": str(self.delay),
            "iterations": str(self.iterations),
            "output": "microphone 1",
        }


def _solve(correlation: np.ndarray, with_past: np.ndarray) -> np.ndarray:
    """Filters of one bin, complex [K, C], of the correlations [K, K] and [K, C]."""
    load = max(DIAGONAL_LOAD * np.trace(correlation).real / len(correlation), np.finfo(np.float64).tiny)
    filters: np.ndarray = np.linalg.solve(correlation + load * np.eye(len(correlation)), with_past)
    return filters
