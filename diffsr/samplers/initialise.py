"""First states, and the level at which a recording meets the prior."""

from __future__ import annotations

from torch import Tensor

from diffsr.samplers.problem import Problem
from diffsr.signal.levels import active_rms
from diffsr.signal.noise_floor import noise_floor
from diffsr.signal.stft import STFT


def from_observation(problem: Problem, sigma_max: float) -> Tensor:
    """The observation shared among the talkers, plus independent noise of level sigma_max, `[rows, S, T]`."""
    share = problem.y[:, :1].expand(-1, problem.n_sources, -1) / problem.n_sources**0.5
    return share + sigma_max * problem.noise.normal_like(share)


def speech_level(y: Tensor, rate_hz: int) -> Tensor:
    """RMS of the speech in `y [..., T]` over its active frames, after its noise floor is subtracted, `[...]`.

    At most 20 dB below the active level of `y` itself, so that noise alone is not blown up; 0 for silence.
    """
    stft = STFT(512, 128).to(y.device)
    flat = y.reshape(-1, y.shape[-1])
    spec = stft(flat)
    power = spec.abs().square()
    gain = (1 - noise_floor(power) / power.clamp_min(1e-20)).clamp_min(0).sqrt()
    speech = active_rms(stft.inverse(gain * spec, y.shape[-1]), rate_hz)
    return speech.maximum(0.1 * active_rms(flat, rate_hz)).reshape(y.shape[:-1])
