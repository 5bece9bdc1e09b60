"""The posterior that is sampled: channels, and everything that explains them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from diffsr.diffusion import PersonalPrior
from diffsr.recipes import Recipe
from diffsr.typing import Denoiser


@dataclass(frozen=True)
class Posterior:
    """That of K channels, each as if it were alone.

    Attributes:
        waves: The channels at the level of the prior, `[K, T]`.
        ids: Their identities, which the random numbers depend on.
        prior: Of clean speech.
        recipe: How it is sampled, and what the recordings are explained by.
        seed: Of the samples.
        n_samples: R for each channel.
        first_sample: Number of the first of them, from 0: those of other numbers are other draws.
    """

    waves: Tensor
    ids: Sequence[str]
    prior: Denoiser
    recipe: Recipe
    seed: int = 0
    n_samples: int = 1
    first_sample: int = 0

    @property
    def rate_hz(self) -> int:
        """Rate of the prior, and so of the channels."""
        return self.prior.rate_hz

    def of(self, channels: Sequence[int]) -> Posterior:
        """That of some of the channels; what was given for each goes with it."""
        some = list(channels)
        sampler = copy.copy(self.recipe.sampler)
        sampler.initialiser = sampler.initialiser.of(some)
        degradation = self.recipe.degradation.of(some, len(self.waves))
        prior = self.prior.of(some, self.n_samples) if isinstance(self.prior, PersonalPrior) else self.prior
        recipe = replace(self.recipe, sampler=sampler, degradation=degradation)
        ids = [self.ids[k] for k in some]
        return replace(self, waves=self.waves[some], ids=ids, prior=prior, recipe=recipe)

    def again(self) -> Posterior:
        """With other random numbers, for another restoration of the same channels."""
        return replace(self, ids=[f"{name}/again" for name in self.ids])
