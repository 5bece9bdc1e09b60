"""Levels of a scene: loudness, SNR, the gains of the talkers, the peak."""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from torch import Tensor

from diffsr.signal.levels import active_rms, db, from_db, rms, speech_span

PEAK = 0.95
"""No sample of a scene lies above."""
BLOCK_S = 0.4
"""Loudness is measured over blocks of this length; a shorter signal has none."""


def loudness_lufs(wave: Tensor, rate_hz: int) -> float:
    """Integrated loudness of one channel, [T] -> LUFS; -inf for silence or less than 0.4 s.

    The absolute gate (-70 LUFS) is applied after the wave has been brought to an RMS of 0.1 over its
    active frames, so that a gain of x dB changes the result by exactly x dB.

    References:
        ITU-R BS.1770-4, through pyloudnorm.
    """
    import pyloudnorm

    level = float(active_rms(wave, rate_hz))
    if level <= 0 or wave.shape[-1] < BLOCK_S * rate_hz:
        return -math.inf
    meter = pyloudnorm.Meter(rate_hz, block_size=BLOCK_S)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peaks above full scale mean nothing here
        found = meter.integrated_loudness((wave * (0.1 / level)).double().numpy())
    return float(found) + db(level / 0.1)


def snr_db(speech: Tensor, noise: Tensor, rate_hz: int, by: str = "loudness") -> float:
    """Level of speech over noise, two waves [T]; NaN where either is silent.

    Args:
        speech: Talker 1.
        noise: The noise at one microphone.
        rate_hz: Their rate.
        by: `loudness` (the rule of WHAM!), or `rms` over the span of the speech.
    """
    if by == "loudness":
        difference = loudness_lufs(speech, rate_hz) - loudness_lufs(noise, rate_hz)
    else:
        start_s, end_s = speech_span(speech, rate_hz)
        span = slice(round(start_s * rate_hz), round(end_s * rate_hz))
        if span.stop <= span.start:
            return math.nan
        difference = db(float(rms(speech[span].double()) / rms(noise[span].double())))
    return difference if math.isfinite(difference) else math.nan


def draw_gains_db(rng: np.random.Generator, n_talkers: int, spread_db: tuple[float, float]) -> list[float]:
    """Gains of the talkers as in wsj0-2mix and wsj0-3mix.

    Talkers 1 and 2 stand at +x/2 and -x/2 dB with x uniform in `spread_db`, a third at 0 dB; one talker
    alone is at 0 dB.
    """
    if n_talkers == 1:
        return [0.0]
    half_db = float(rng.uniform(*spread_db)) / 2
    return [half_db, -half_db, *[0.0] * (n_talkers - 2)]


def with_energy_of(wave: Tensor, reference: Tensor) -> float:
    """The gain that brings `wave` [T] to the energy of `reference` [T], to the precision of float32.

    Summed in float64: a sum in float32 depends on the number of threads in its last bit, and so would scenes.
    """
    ratio = rms(reference.double()) / rms(wave.double()).clamp_min(torch.finfo(torch.float32).tiny)
    return float(ratio.float())


def to_level(wave: Tensor, rate_hz: int, level: float, gain_db: float) -> Tensor:
    """The wave with an active-frame RMS of `level` plus `gain_db`; silence stays silence."""
    found = float(active_rms(wave, rate_hz))
    return wave * (level * from_db(gain_db) / found) if found > 0 else wave
