"""A second search for several talkers, from what the first restarts gave together."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from torch import Tensor

from diffsr.diffusion import WindowedPrior
from diffsr.errors import ConfigError
from diffsr.samplers.annealed import AnnealedSampler
from diffsr.samplers.balanced import balanced
from diffsr.samplers.initialise import Initialiser
from diffsr.samplers.problem import Problem
from diffsr.samplers.telling import Telling
from diffsr.typing import Denoiser, Sources


class FromTracks(Initialiser):
    """Tracks that are there already, with noise of the first level that cancels in their sum.

    Args:
        tracks: Of the talkers of each recording `[K, S, T]`, at the level of the prior.
        share: Share of the noise that the prior is told, as in `BalancedRenoise`.
    """

    def __init__(self, tracks: Sources, share: float = 1.0) -> None:
        self.tracks, self.share = tracks, share

    def of(self, items: Sequence[int]) -> FromTracks:
        """Their tracks alone."""
        return FromTracks(self.tracks[list(items)], self.share)

    def __call__(self, problem: Problem, sigma_max: float) -> Sources:
        """See `Initialiser`."""
        start = self.tracks.to(problem.y)[problem.item_of_row]
        return start + sigma_max * self.share * balanced(problem.noise.normal_like(start))


class SecondSearch:
    """How several talkers are searched for once more, from the joined restarts of a first search.

    What the first restarts give together is better than any of them, and starts the others at a level where
    they can still change their mind about moments, but hardly about who is who. They err elsewhere than the
    first, so what is made of all of them is better than what was made of half (docs/separation_trials.md).
    As many restarts as the first search has; samples, scores and physics of the first are reported.

    Args:
        sampler: The loop; its own initialiser counts for nothing.
        share: Share of the noise in the first state.
        voices: How its restarts are told the voices of the tracks that they start from; None tells nobody.

    Raises:
        ConfigError: A share that is not above 0.
    """

    def __init__(self, sampler: AnnealedSampler, share: float = 0.8, voices: Telling | None = None) -> None:
        if not share > 0:
            raise ConfigError(f"SecondSearch has share = {share:g}; expected a number above 0.")
        self.sampler, self.share, self.voices = sampler, share, voices

    @property
    def n_calls(self) -> int:
        """Calls of the prior for a recording before the search begins, where voices are known."""
        return 0 if self.voices is None else self.voices.n_calls

    def sampler_from(self, tracks: Tensor) -> AnnealedSampler:
        """The loop that starts from the tracks of recordings `[K, S, T]`."""
        twin = copy.copy(self.sampler)
        twin.initialiser = FromTracks(tracks, self.share)
        return twin

    def prior_for(self, tracks: Tensor, prior: Denoiser, n_restarts: int) -> Denoiser:
        """The prior, which knows the voices of the tracks of recordings `[K, S, T]` if it can."""
        if self.voices is None or not isinstance(prior, WindowedPrior):
            return prior
        if not self.voices.takes(prior, tracks.shape[-1]):
            return prior
        return self.voices.told(prior, tracks, n_restarts)
