"""Spectral gating by noisereduce: time-frequency bins near the noise floor are turned down."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffsr.baselines.base import as_recording, for_every_talker, require, version_of

DITHER_LEVEL = 1e-12
"""-240 dB re full scale."""
WINDOW_SAMPLES = 1024
"""noisereduce's default at any rate."""


class NoiseReduce:
    """noisereduce with its default settings on the first microphone, for every talker.

    A recording shorter than one window (1024 samples) passes unchanged.

    Args:
        stationary: Whether one threshold per frequency, from the statistics of the whole recording,
            replaces the default, which follows the level over about 2 s.

    Raises:
        ConfigError: noisereduce is missing.

    References:
        Sainburg et al. 2020, PLOS Computational Biology 16(10) (the package's own reference).
    """

    def __init__(self, stationary: bool = False) -> None:
        self.stationary = stationary
        self.name = "noisereduce_stationary" if stationary else "noisereduce"
        self._noisereduce: Any = require("noisereduce", "noisereduce", self.name)

    def __call__(self, observation: Tensor, rate_hz: int, n_talkers: int) -> Tensor:
        """See `System`."""
        wave = as_recording(observation, n_talkers)[0]
        if len(wave) < WINDOW_SAMPLES:
            return for_every_talker(wave, n_talkers)
        # In digital silence the gate divides zero by zero, and its smoothing spreads the NaN everywhere.
        dither = DITHER_LEVEL * np.random.default_rng(0).standard_normal(len(wave))
        clean = self._noisereduce.reduce_noise(
            y=wave.double().numpy() + dither,
            sr=rate_hz,
            stationary=self.stationary,
            n_jobs=1,
            use_tqdm=False,
        )
        return for_every_talker(torch.from_numpy(np.asarray(clean)), n_talkers)

    def describe(self) -> dict[str, str]:
        """See `System`."""
        return {
            "system": self.name,
            "noisereduce": version_of("noisereduce"),
            "settings": "defaults" + (", stationary" if self.stationary else ""),
            "output": "microphone 1",
        }
