"""Early reflections: no prediction from the past takes them away, and the prior takes them for speech."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from diffsr.errors import ConfigError
from diffsr.samplers.initialise import Initialiser, speech_level
from diffsr.signal.filtering import fft_convolve
from diffsr.signal.reflections import LATEST_S, RINGS, early_peaks, filtered


class EarlyReflections:
    """Finds the early reflections of one talker's room by the long-term cepstrum, and takes them away.

    A recording loses them before it is restored, once they were heard in what a short prediction leaves of
    it, and halfway to a second pass, once they were heard in the first restoration (docs/rooms.md). The prior
    then goes over what the filter gets wrong. Those of the first pass are reported.

    Args:
        first_ms: After the direct path; earlier ones are not told from formants.
        last_ms: Later ones the prediction takes away; at most 60.
        threshold: How far a peak of the cepstrum stands out, in standard deviations of its surroundings; see
            `signal.reflections.stands_out`.

    Raises:
        ConfigError: No time between first and last, or a threshold that is not above 0.
    """

    def __init__(self, first_ms: float = 2.0, last_ms: float = 28.0, threshold: float = 4.0) -> None:
        if not 0 < first_ms < last_ms <= 1000 * LATEST_S:
            raise ConfigError(
                f"EarlyReflections has first_ms = {first_ms:g} and last_ms = {last_ms:g}; expected times "
                f"above 0, the first below the last, which is at most {1000 * LATEST_S:g}."
            )
        if not threshold > 0:
            raise ConfigError(f"EarlyReflections has threshold = {threshold:g}; expected a number above 0.")
        self.first_ms, self.last_ms, self.threshold = first_ms, last_ms, threshold

    def heard(self, x: Tensor, rate_hz: int) -> Tensor:
        """Cepstrum of the early reflections in signals of one talker, `[K, T] -> [K, Q]`; 0 is none."""
        return early_peaks(x, rate_hz, self.first_ms / 1000, self.last_ms / 1000, self.threshold)


def without(x: Tensor, cepstrum: Tensor) -> Tensor:
    """Signals without early reflections, `[K, T], [K, Q] -> [K, T]`."""
    return filtered(x, cepstrum, inverse=True)


def with_them(response: Tensor, cepstrum: Tensor) -> Tensor:
    """Responses of the rest of a room `[K, ..., L]` as those of all of it."""
    early = _responses(cepstrum, response.shape[-1]).to(response)
    return fft_convolve(response, early.reshape(len(early), *[1] * (response.ndim - 2), -1))


def energy_db(cepstrum: Tensor) -> Tensor:
    """Energy of early reflections relative to the direct path, `[K, Q] -> [K]`; minus infinity of none."""
    return 10 * _responses(cepstrum, RINGS * cepstrum.shape[-1])[:, 1:].square().sum(-1).log10()


def _responses(cepstrum: Tensor, n_samples: int) -> Tensor:
    """Direct path and early reflections, `[K, Q] -> [K, n_samples]`."""
    pulse = torch.zeros(len(cepstrum), n_samples, device=cepstrum.device)
    pulse[:, 0] = 1.0
    return filtered(pulse, cepstrum)


class Prepared(NamedTuple):
    """Signals as a loop takes them, but for their scale.

    Attributes:
        wave: Without early reflections, where those are looked for, `[K, T]`.
        level: Of the speech in it `[K]`; 0 of silent ones.
        early: Cepstrum of the early reflections `[K, Q]`; None where none are looked for.
    """

    wave: Tensor
    level: Tensor
    early: Tensor | None


def prepared(
    y: Tensor, rate_hz: int, initialiser: Initialiser, early_reflections: EarlyReflections | None
) -> Prepared:
    """Take early reflections out of signals `[K, T]`, and measure the level of their speech.

    Both are told from what the initialiser measures levels on, such as a signal without late reverberation.
    """
    reference = initialiser.reference(y, rate_hz)
    if early_reflections is None:
        return Prepared(y, speech_level(reference, rate_hz), None)
    early = early_reflections.heard(reference, rate_hz)
    return Prepared(without(y, early), speech_level(without(reference, early), rate_hz), early)
