"""The M-step of an unknown room, on the estimate of the dry speech."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from diffsr.degradations import BlindRoom, Chain, Degradation
from diffsr.errors import ConfigError
from diffsr.samplers.guidance import Guidance
from diffsr.samplers.problem import Problem
from diffsr.signal.levels import active_rms
from diffsr.typing import Sources

TINY = 1e-12


class UpdateRoom:
    """Refits the room so that the estimate, put into it, sounds like the recording (`BlindRoom.fit`).

    The M-step of BUDDy (arXiv 2405.04272, Alg. 1): updates of Adam on decays, levels and phases, which are
    `lr` and `betas` of the room.

    Args:
        sigma_start: Above this level the room stays as it started.
        sigma_late: Below this level there are `n_updates_late` updates in place of `n_updates`.
        sigma_freeze: Below this level the room stays as it is.
        n_updates: Updates at each level; 10 is published.
        n_updates_late: Updates below `sigma_late`.
        whiten: Compare spectra weighted with the inverse variance of noise and estimate, which noise needs;
            without, compressed spectra are compared, as published.
        perturbation: Size of random changes of the response that make the search a noisy one, in units of
            the noise level within 5e-4 and 0.01, see `fit_response`; 0 is none, 1 that of BUDDy's code.
    """

    def __init__(
        self,
        sigma_start: float = float("inf"),
        sigma_late: float = 0.1,
        sigma_freeze: float = 0.0,
        n_updates: int = 10,
        n_updates_late: int = 10,
        whiten: bool = False,
        perturbation: float = 0.0,
    ) -> None:
        self.sigma_start, self.sigma_late, self.sigma_freeze = sigma_start, sigma_late, sigma_freeze
        self.n_updates, self.n_updates_late = n_updates, n_updates_late
        self.whiten, self.perturbation = whiten, perturbation

    def update(self, x0: Sources, sigma: Tensor, problem: Problem) -> None:
        """See class.

        Raises:
            ConfigError: The degradation has no blind room.
        """
        level = float(sigma.max())
        if not self.sigma_freeze <= level <= self.sigma_start:
            return
        degradation = problem.degradation
        room = blind_room(degradation)
        entering, after = x0, None
        if isinstance(degradation, Chain):
            entering, after = degradation.before(room, x0), lambda heard: degradation.after(room, heard)
        room.fit(
            entering,
            problem.y,
            self._weight(x0, sigma, problem),
            self.n_updates if level > self.sigma_late else self.n_updates_late,
            problem.likelihood.stft if self.whiten else None,
            after,
            self._perturb(level, problem),
        )

    def _perturb(self, level: float, problem: Problem) -> Callable[[Tensor], Tensor] | None:
        """White noise for responses, as loud as the state's within bounds (of the code of BUDDy)."""
        if self.perturbation == 0:
            return None
        spread = self.perturbation * min(max(level, 5e-4), 1e-2)
        return lambda response: spread * problem.noise.normal_like(response)

    def _weight(self, x0: Sources, sigma: Tensor, problem: Problem) -> Tensor | None:
        """Inverse variance of the residual `[rows, F, N]`, without what the room adds to it."""
        if not self.whiten:
            return None
        variance = problem.likelihood.variance + problem.observed_variance(x0, sigma)
        return variance.clamp_min(TINY).reciprocal()


class AtLevel:
    """Another guidance, whose estimate is brought back to the level of speech that the prior knows.

    The direct path of a blind room has the factor 1, so the level of the dry speech is free only as far as
    the recording's own is known; BUDDy fixes it in each step (`constraint_speech_magnitude` of its code).

    Args:
        guidance: Corrects the estimate first.
    """

    def __init__(self, guidance: Guidance) -> None:
        self.guidance = guidance

    @property
    def needs_gradient(self) -> bool:
        """That of the guidance within."""
        return self.guidance.needs_gradient

    def correct(self, z: Sources, x0: Sources, sigma: Tensor, problem: Problem) -> Sources:
        """See class; silent sources stay silent."""
        corrected = self.guidance.correct(z, x0, sigma, problem).detach()
        level = active_rms(corrected, problem.prior.rate_hz)[..., None]
        return corrected * torch.where(level > TINY, problem.prior.sigma_data / level.clamp_min(TINY), 1.0)


def blind_room(degradation: Degradation) -> BlindRoom:
    """The blind room of a degradation, or of a chain of them.

    Raises:
        ConfigError: There is none.
    """
    found = next((part for part in degradation.modules() if isinstance(part, BlindRoom)), None)
    if found is None:
        raise ConfigError(
            f"The room cannot be updated: {type(degradation).__name__} holds no BlindRoom. Set degradation "
            "to diffsr.degradations.BlindRoom, or take UpdateRoom out of the estimators."
        )
    return found
