"""The M-step of late reverberation as linear prediction."""

from __future__ import annotations

import torch
from torch import Tensor

from diffsr.degradations.prediction import LatePrediction
from diffsr.samplers.problem import Problem
from diffsr.typing import Sources


class UpdatePrediction:
    """Refits what the recording's past predicts of it."""

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
        degradation = problem.degradation
        assert isinstance(degradation, LatePrediction)
        variance = problem.likelihood.variance + problem.source_variance(x0, sigma).sum(1)
        degradation.fit(x0, variance)


class UpdateLateReverberation:
    """Refits the power of the late reverberation."""

    def __init__(self, sigma_start: float = 10.0, sigma_freeze: float = 0.005) -> None:
        self.sigma_start, self.sigma_freeze = sigma_start, sigma_freeze

    def update(self, x0: Sources, sigma: Tensor, problem: Problem) -> None:
        """See class."""
        if self.sigma_freeze <= float(sigma.max()) <= self.sigma_start:
            extra = problem.source_variance(x0, sigma).sum(1)
            problem.likelihood.fit(x0, problem.residual(x0), extra)
