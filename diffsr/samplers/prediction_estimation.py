"""The M-step of late reverberation as linear prediction."""

from __future__ import annotations

import torch
from torch import Tensor

from diffsr.degradations import Degradation, LatePrediction
from diffsr.errors import ConfigError
from diffsr.likelihoods import LateReverberation
from diffsr.likelihoods.base import mean_over_restarts
from diffsr.samplers.problem import Problem
from diffsr.typing import Sources


class UpdatePrediction:
    """Refits prediction and response of the room (`LatePrediction.fit`), in closed form.

    Restarts of one talker share them, found for the mean of their estimates.

    At large noise levels the estimate is vague and its uncertainty is the power of speech, so that the first
    fit is that of WPE; later ones predict what the estimate does not explain, weighted accordingly.

    Args:
        sigma_start: Above this level nothing is predicted.
        sigma_freeze: Below this level the prediction stays as it is.
        every: Levels from one fit to the next.
    """

    def __init__(self, sigma_start: float = 10.0, sigma_freeze: float = 0.01, every: int = 3) -> None:
        self.sigma_start, self.sigma_freeze, self.every = sigma_start, sigma_freeze, every

    def update(self, x0: Sources, sigma: Tensor, problem: Problem) -> None:
        """See class."""
        if not self.sigma_freeze <= float(sigma.max()) <= self.sigma_start:
            return
        count = problem.memory.setdefault("prediction", torch.zeros((), dtype=torch.long))  # on the CPU
        problem.memory["prediction"] = count + 1
        if int(count) % self.every:
            return
        uncertainty = problem.source_variance(x0, sigma)
        variance = problem.likelihood.variance + uncertainty.sum(1)
        models = problem.model_of_row
        prediction_of(problem.degradation).fit(
            mean_over_restarts(x0, models),
            mean_over_restarts(variance, models),
            mean_over_restarts(uncertainty, models),
            models,
        )


class UpdateLateReverberation:
    """Refits the power of the late reverberation (`LateReverberation.fit`).

    Args:
        sigma_start: Above this level the power stays as it started: the estimate is still vague there, and
            what it lacks of the speech would be taken for reverberation.
        sigma_freeze: Below this level it stays as it is.
    """

    def __init__(self, sigma_start: float = 0.05, sigma_freeze: float = 0.005) -> None:
        self.sigma_start, self.sigma_freeze = sigma_start, sigma_freeze

    def update(self, x0: Sources, sigma: Tensor, problem: Problem) -> None:
        """See class.

        Raises:
            ConfigError: The likelihood is another one.
        """
        if not isinstance(problem.likelihood, LateReverberation):
            raise ConfigError(
                f"{type(problem.likelihood).__name__} has no late reverberation to update. Set likelihood to "
                "diffsr.likelihoods.LateReverberation, or take UpdateLateReverberation out of the estimators."
            )
        if self.sigma_freeze <= float(sigma.max()) <= self.sigma_start:
            extra = problem.observed_variance(x0, sigma)
            problem.likelihood.fit(x0, problem.residual(x0), extra)


class MeasureDecay:
    """Measures the decays of the room on the estimate, for the report alone.

    Args:
        sigma_start: Above this level nothing is done.
        n_updates: Updates at each level.
    """

    def __init__(self, sigma_start: float = 1e-3, n_updates: int = 15) -> None:
        self.sigma_start, self.n_updates = sigma_start, n_updates

    def update(self, x0: Sources, sigma: Tensor, problem: Problem) -> None:
        """See class."""
        if float(sigma.max()) <= self.sigma_start:
            likelihood = problem.likelihood
            noise = likelihood.noise if isinstance(likelihood, LateReverberation) else likelihood
            power = noise.variance / noise.stft.window_energy
            prediction_of(problem.degradation).measure(x0, self.n_updates, power.expand(len(x0), -1, -1))


def prediction_of(degradation: Degradation) -> LatePrediction:
    """The prediction of a degradation.

    Raises:
        ConfigError: It is another one.
    """
    if not isinstance(degradation, LatePrediction):
        raise ConfigError(
            f"There is nothing to predict in {type(degradation).__name__}. Set degradation to "
            "diffsr.degradations.LatePrediction, or leave UpdatePrediction and MeasureDecay out."
        )
    return degradation
