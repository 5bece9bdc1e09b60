"""M-steps of filters of the device."""

from __future__ import annotations

from torch import Tensor

from diffsr.degradations import BlindLowPass, Chain
from diffsr.degradations.base import Degradation
from diffsr.errors import ConfigError
from diffsr.samplers.problem import Problem
from diffsr.signal.damage import long_term_power
from diffsr.typing import Sources


class UpdateLowPass:
    """Refits a `BlindLowPass` to the long-term levels of the recording and of what is expected before it.

    The power that is expected of the sources is that of their estimate and its uncertainty,
    `E|X|^2 = |X0|^2 + r^2`: an estimate at a high noise level lacks the upper frequencies, and alone it would
    explain the recording without any filter.

    Args:
        sigma_start: Above this level the filter stays as it started.
        sigma_freeze: Below this level the filter stays as it is.
        n_updates: Updates at each level.
    """

    def __init__(self, sigma_start: float = 0.1, sigma_freeze: float = 0.01, n_updates: int = 10) -> None:
        self.sigma_start, self.sigma_freeze, self.n_updates = sigma_start, sigma_freeze, n_updates

    def update(self, x0: Sources, sigma: Tensor, problem: Problem) -> None:
        """See class.

        Raises:
            ConfigError: The degradation has no blind low-pass as its last part.
        """
        if not self.sigma_freeze <= float(sigma.max()) <= self.sigma_start:
            return
        low_pass, chain = _last_low_pass(problem.degradation)
        stft = problem.likelihood.stft
        before = x0 if chain is None else chain.before(low_pass, x0)
        unsure = problem.source_variance(x0, sigma).sum(1).mean(-1)
        low_pass.fit(long_term_power(before, stft) + unsure, long_term_power(problem.y, stft), self.n_updates)


def _last_low_pass(degradation: Degradation) -> tuple[BlindLowPass, Chain | None]:
    """The low-pass to fit, and the chain that it ends."""
    chain = degradation if isinstance(degradation, Chain) else None
    last = degradation if chain is None else chain.parts[-1]
    if not isinstance(last, BlindLowPass):
        raise ConfigError(
            f"UpdateLowPass fits a BlindLowPass, found {type(last).__name__}. Make it the degradation, or "
            "the last part of the chain, or leave out UpdateLowPass."
        )
    return last, chain
