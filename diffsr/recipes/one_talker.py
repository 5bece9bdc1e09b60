"""One talker, in noise or a room or both: `enhance`, `dereverb`, `denoise_dereverb`."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from diffsr.degradations import LatePrediction, Room
from diffsr.likelihoods import DriftingNoise, LateReverberation, Likelihood, WhiteNoise
from diffsr.recipes.budget import split
from diffsr.recipes.recipe import Recipe
from diffsr.samplers import (
    AnnealedSampler,
    EarlyReflections,
    LittleNoise,
    LogSpectralMean,
    MeasureDecay,
    NoisePerturbed,
    PowerCeiling,
    Proximal,
    SecondPass,
    UpdateLateReverberation,
    UpdateNoise,
    UpdatePrediction,
    UpdateVoice,
)
from diffsr.samplers.estimation import Estimator
from diffsr.samplers.initialise import FromWiener, FromWPE
from diffsr.signal.room_frames import room_frames

AGAIN_LEVELS = 15
"""Of a second pass, from little noise down; with 8 PESQ and ESTOI gain nothing (docs/rooms_trials.md)."""
ROOM_NOISE = 1e-3
"""Of recordings that are only reverberant, 34 dB below active speech."""
ENCODER_HZ = 16000
"""Rate of the speaker encoder and the voice tracker that ship."""


def enhance(n_calls: int, rate_hz: int = 16000) -> Recipe:
    """One talker in noise, no room. Everything chosen in docs/enhancement_trials.md."""
    n_steps, n_samples = split(n_calls)
    estimators = [UpdateNoise(sigma_start=0.2, n_updates=2), *_voice(rate_hz)]
    sampler = AnnealedSampler(
        NoisePerturbed(),
        estimators=estimators,
        n_steps=n_steps,
        churn=None,
        initialiser=FromWiener(),
    )
    little_noise = LittleNoise(
        DriftingNoise(quantile=0.1, bias=1.5, clicks=False),
        [UpdateNoise(sigma_start=0.05, n_updates=2), *_voice(rate_hz)],
    )
    return Recipe(
        sampler,
        DriftingNoise(),
        n_samples=n_samples,
        joiner=LogSpectralMean(),
        little_noise=little_noise,
        ceiling=PowerCeiling(),
    )


def dereverb(n_calls: int, rate_hz: int = 16000) -> Recipe:
    """One talker in an unknown room, no noise but the room's own: see docs/rooms.md."""
    noise = WhiteNoise(ROOM_NOISE, *room_frames(rate_hz))
    return _in_a_room(n_calls, rate_hz, 1.75, noise, [], EarlyReflections(), 2)


def informed_dereverb(response: Tensor, n_steps: int, rate_hz: int = 16000) -> Recipe:
    """One talker in a room with a known response `[C, L]` or `[B, S, C, L]`, no noise."""
    sampler = AnnealedSampler(
        Proximal(), estimators=[], n_steps=n_steps, rho=10.0, churn=0.25, initialiser=FromWPE(10, 3, 3)
    )
    return Recipe(sampler, WhiteNoise(level=1e-3), Room(response, rate_hz))


def denoise_dereverb(n_calls: int, rate_hz: int = 16000) -> Recipe:
    """One talker in noise and an unknown room, both estimated at once: see docs/rooms.md."""
    steps = [UpdateNoise(sigma_start=0.1, n_updates=2)]
    early = EarlyReflections(threshold=3.0)  # noise hides many, and what is found wrongly matters less in it
    return _in_a_room(n_calls, rate_hz, 1.5, drifting(rate_hz), steps, early, 3)


def drifting(rate_hz: int) -> DriftingNoise:
    """Noise in a room."""
    n_fft, hop_samples = room_frames(rate_hz)
    return DriftingNoise(n_fft=n_fft, hop_samples=hop_samples)


def _in_a_room(
    n_calls: int,
    rate_hz: int,
    weight: float,
    noise: Likelihood,
    noise_steps: Sequence[Estimator],
    early_reflections: EarlyReflections,
    delay: int,
) -> Recipe:
    """Late reverberation that is predicted, and the rest of it as noise that follows the talker."""
    n_steps, n_samples = split(n_calls)
    room_steps, voice = [UpdatePrediction(), *noise_steps, UpdateLateReverberation()], _voice(rate_hz)
    sampler = AnnealedSampler(
        NoisePerturbed(weight),
        estimators=[*room_steps, MeasureDecay(), *voice],
        n_steps=n_steps,
        churn=None,
        initialiser=FromWPE(10, 3, 3),
    )
    again = AnnealedSampler(
        NoisePerturbed(), estimators=[*room_steps, *voice], n_steps=AGAIN_LEVELS, sigma_max=0.1
    )
    return Recipe(
        sampler,
        LateReverberation(noise, rate_hz=rate_hz),
        LatePrediction(delay=delay, rate_hz=rate_hz),
        n_samples,
        joiner=LogSpectralMean(),
        second_pass=SecondPass(again) if n_samples > 1 else None,
        early_reflections=early_reflections,
        ceiling=PowerCeiling(margin_db=6.0),
    )


def _voice(rate_hz: int) -> list[Estimator]:
    """The M-step of a talker's voice, at the rate of the encoder."""
    return [UpdateVoice()] if rate_hz == ENCODER_HZ else []
