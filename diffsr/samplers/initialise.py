"""First states, and the level at which a recording meets the prior."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from diffsr.samplers.problem import Problem
from diffsr.signal.levels import active_rms
from diffsr.signal.noise_floor import noise_floor
from diffsr.signal.room_frames import room_frames
from diffsr.signal.stft import STFT
from diffsr.signal.wpe import wpe
from diffsr.typing import Sources

LEVEL_TAPS = 10


class Initialiser(ABC):
    """Where the sampler starts."""

    @abstractmethod
    def __call__(self, problem: Problem, sigma_max: float) -> Sources:
        """The state at the first noise level, `[rows, S, T]`."""

    def of(self, items: Sequence[int]) -> Initialiser:
        """The one for some of the recordings."""
        return self

    def reference(self, y: Tensor, rate_hz: int) -> Tensor:
        """What the level of the speech in recordings `y [C, T]` is measured on, `[C, T]`: they themselves."""
        return y


class FromObservation(Initialiser):
    """The observation shared among the talkers, plus independent noise of level sigma_max."""

    def __call__(self, problem: Problem, sigma_max: float) -> Sources:
        """See `Initialiser`."""
        return shared(problem.y[:, :1], problem, sigma_max)


class FromWiener(Initialiser):
    """The observation less the noise that its model starts with, plus noise of level sigma_max.

    Wiener's filter, from the noise model as it is before the first step. A hum is a few bins far above the
    noise of any level: the prior takes such a tone for speech and keeps it, unless the state is without.
    """

    def __call__(self, problem: Problem, sigma_max: float) -> Sources:
        """See `Initialiser`."""
        likelihood, y = problem.likelihood, problem.y[:, :1]
        spec = likelihood.stft(y[:, 0])
        gain = (1 - likelihood.variance / spec.abs().square().clamp_min(1e-20)).clamp_min(0)
        return shared(likelihood.stft.inverse(gain * spec, y.shape[-1])[:, None], problem, sigma_max)


class FromNoise(Initialiser):
    """Noise of level sigma_max alone: the start of unconditional sampling."""

    def __call__(self, problem: Problem, sigma_max: float) -> Sources:
        """See `Initialiser`."""
        return shared(torch.zeros_like(problem.y[:, :1]), problem, sigma_max)


class FromWPE(Initialiser):
    """The observation after dereverberation by linear prediction, plus noise of level sigma_max.

    The level is measured on a dereverberated recording, too, because the room adds to it: with the shorter
    filter of `LEVEL_TAPS`, which is as good for that and takes a fifth of the time. Settings of BUDDy
    (arXiv 2405.04272, Sec. 4).

    Args:
        taps: Length of the prediction filter in frames of 8 ms.
        delay: Frames between a frame and the newest that predicts it.
        iterations: Alternations between powers of the speech and filter.
    """

    def __init__(self, taps: int = 50, delay: int = 2, iterations: int = 5) -> None:
        self.taps, self.delay, self.iterations = taps, delay, iterations

    def __call__(self, problem: Problem, sigma_max: float) -> Sources:
        """See `Initialiser`; every row as if it were alone."""
        rate_hz = problem.prior.rate_hz
        items = [
            problem.y[problem.item_of_row == item][0] for item in range(int(problem.item_of_row[-1]) + 1)
        ]
        dry = torch.stack([self._dereverberated(y, self.taps, self.delay, rate_hz)[:1] for y in items])
        return shared(dry[problem.item_of_row], problem, sigma_max)

    def reference(self, y: Tensor, rate_hz: int) -> Tensor:
        """Each channel dereverberated by itself."""
        short = (min(self.taps, LEVEL_TAPS), self.delay, rate_hz)
        return torch.cat([self._dereverberated(channel[None], *short) for channel in y])

    def _dereverberated(self, y: Tensor, taps: int, delay: int, rate_hz: int) -> Tensor:
        return wpe(y, taps, delay, self.iterations, *room_frames(rate_hz))


def shared(wave: Tensor, problem: Problem, sigma_max: float) -> Sources:
    """`wave [rows, 1, T]` shared among the talkers, plus independent noise, `[rows, S, T]`."""
    share = wave.expand(-1, problem.n_sources, -1) / problem.n_sources**0.5
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
