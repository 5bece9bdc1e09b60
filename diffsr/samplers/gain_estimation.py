"""M-step of the levels of the talkers."""

from __future__ import annotations

import torch
from torch import Tensor

from diffsr.degradations import Chain, Gain
from diffsr.errors import ConfigError
from diffsr.samplers.problem import Problem
from diffsr.typing import Sources

_LEAST_VARIANCE = 1e-12


class UpdateGain:
    """Refits every `Gain(fit=True)` of a chain by weighted least squares.

    `argmin_g sum |Y - sum_k g_k P_k|^2 / (v + sum_k g_k^2 r_k^2)` over all bins, the weights with the gains
    of before, and then clamped to 12 dB: `P_k` is what talker k alone would give at gain 1. Of the estimate
    before guidance, which otherwise explains the recording at any gain.

    Only where a gain can be told from the talker's own level: with a room, whose direct path is 1, or several
    talkers.

    Args:
        sigma_start: Above this level the gains stay as they are: the estimate is still vague there.
        sigma_freeze: Below this level the gains stay as they are.
    """

    def __init__(self, sigma_start: float = 0.2, sigma_freeze: float = 0.005) -> None:
        self.sigma_start, self.sigma_freeze = sigma_start, sigma_freeze

    def update(self, x0: Sources, sigma: Tensor, problem: Problem) -> None:
        """See class.

        Raises:
            ConfigError: No gain of the degradation is to be fitted, or the chain is not linear.
        """
        if not self.sigma_freeze <= float(sigma.max()) <= self.sigma_start:
            return
        chain, gains = _gains_to_fit(problem.degradation)
        stft = problem.likelihood.stft
        y = stft(problem.y[:, 0])
        for gain in gains:
            unsure = problem.observed_variance(x0, sigma)
            weight = (problem.likelihood.variance + unsure).clamp_min(_LEAST_VARIANCE).reciprocal()
            entering = x0 if chain is None else chain.before(gain, x0)
            parts = [stft(_alone(chain, gain, entering, k)) for k in range(entering.shape[1])]
            # In units of its mean, so that squares neither under- nor overflow.
            gain.fit(torch.stack(parts, 1), y, weight / weight.mean((1, 2), keepdim=True))


def _alone(chain: Chain | None, gain: Gain, entering: Sources, talker: int) -> Tensor:
    """What one talker gives at gain 1 at the first microphone, `[rows, T]`."""
    only = torch.zeros_like(entering)
    only[:, talker] = entering[:, talker]
    return (only if chain is None else chain.after(gain, only))[:, 0]


def _gains_to_fit(degradation: object) -> tuple[Chain | None, list[Gain]]:
    chain = degradation if isinstance(degradation, Chain) else None
    parts = [degradation] if chain is None else list(chain.parts)
    gains = [part for part in parts if isinstance(part, Gain) and part.is_fitted]
    if not gains:
        raise ConfigError(
            "UpdateGain has no gain to fit: the degradation holds no Gain(fit=True). Add one to the chain "
            "before the room, or leave out UpdateGain."
        )
    if chain is not None and not chain.linear:
        raise ConfigError(
            "UpdateGain fits by least squares and needs a linear chain, found one that is not. Leave out the "
            "part that is not linear, or give the gains."
        )
    return chain, gains
