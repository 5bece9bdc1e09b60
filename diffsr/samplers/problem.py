"""One batch of recordings to explain."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from diffsr.degradations.base import Degradation
from diffsr.likelihoods import Likelihood
from diffsr.samplers.randomness import RowNoise
from diffsr.typing import Denoiser, Observation, Sources


@dataclass
class Problem:
    """Observations with the model that explains them; the prior is part of the model.

    Attributes:
        y: Observation `[rows, C, T]`, at the level the prior expects.
        prior: Denoiser.
        degradation: From sources to observation.
        likelihood: Noise model.
        noise: Random numbers of each row.
        item_of_row: Item that each row belongs to `[rows]`; restarts of an item are neighbours.
        n_sources: Talkers S.
        memory: What guidance remembers from level to level, by name; a sampler starts with it empty.
        told: The prior that knows more than `prior`, such as whose voice to expect, as soon as an M-step has
            found that; None before.
    """

    y: Observation
    prior: Denoiser
    degradation: Degradation
    likelihood: Likelihood
    noise: RowNoise
    item_of_row: Tensor
    n_sources: int = 1
    memory: dict[str, Tensor] = field(default_factory=dict)
    told: Denoiser | None = None

    @classmethod
    def pose(
        cls,
        y: Tensor,
        prior: Denoiser,
        degradation: Degradation,
        likelihood: Likelihood,
        noise: RowNoise,
        n_restarts: int = 1,
        n_sources: int = 1,
    ) -> Problem:
        """Repeat `y [B, C, T]` for each restart and start the parameters of the model from it."""
        item_of_row = torch.arange(y.shape[0], device=y.device).repeat_interleave(n_restarts)
        rows = y[item_of_row]
        problem = cls(rows, prior, degradation, likelihood, noise, item_of_row, n_sources)
        degradation.reset(rows, n_sources)
        likelihood.reset(rows, problem.model_of_row)
        return problem

    @property
    def model_of_row(self) -> Tensor:
        """Whose noise and room each row has `[rows]`: restarts of one talker share those of their recording.

        With several talkers each has its own, as one that is wrong would spoil the others.
        """
        own = torch.arange(len(self.y), device=self.y.device)
        return self.item_of_row if self.n_sources == 1 else own

    @property
    def in_bfloat16(self) -> bool:
        """Whether the prior's network computes in it, so that others within a search may, too."""
        return getattr(self.prior, "in_bfloat16", False)

    def forget(self) -> None:
        """Before a sampler begins: nothing remembered, nobody told."""
        self.memory.clear()
        self.told = None

    def denoise(self, z: Sources, sigma: Tensor) -> Sources:
        """The estimate of the prior, told or not, `[rows, S, T]` and `[rows, S]` -> `[rows, S, T]`."""
        prior = self.prior if self.told is None else self.told
        return prior.denoise(z, sigma)

    def residual(self, x: Sources) -> Observation:
        """`y - A(x)`, `[rows, C, T]`."""
        return self.y - self.degradation(x)

    def source_variance(self, x0: Tensor, sigma: Tensor) -> Tensor:
        """`E|X - X0|^2` of each source in the bins of the likelihood, broadcastable to `[rows, S, F, N]`."""
        return self.prior.uncertainty(x0, sigma[:, None].expand(x0.shape[:2]), self.likelihood.stft)

    def observed_variance(self, x0: Tensor, sigma: Tensor) -> Tensor:
        """Variance of `A(x0)` in bins, broadcastable to `[rows, F, N]`: that of the direct paths alone."""
        variance, gain = self.source_variance(x0, sigma), self.degradation.direct_gain()
        power = gain.square()[..., None, None] if isinstance(gain, Tensor) else gain**2
        return (power * variance).sum(1)
