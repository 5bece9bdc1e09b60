"""What became of channels that were sampled, and what is made of their samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from diffsr.recipes import Recipe
from diffsr.samplers.ranking import best_restart


@dataclass(frozen=True)
class Solved:
    """What became of K channels with R posterior samples each.

    Attributes:
        x: The samples `[K, R, S, T]`; of channels that failed, the last estimates that were of use.
        n_calls: Calls of the prior for each channel, all samples together.
        described: The physics of each channel and sample: name -> `[K, R, ...]`.
        failed: Channels whose sampler diverged twice, with the message.
        scores: Of each sample by the ranker of the recipe `[K, R]`, NaN where there is none.
    """

    x: Tensor
    n_calls: list[int]
    described: dict[str, Tensor]
    failed: dict[int, str]
    scores: Tensor

    def of(self, channels: Sequence[int]) -> Solved:
        """Some of the channels."""
        some = list(channels)
        described = {name: value[some] for name, value in self.described.items()}
        failed = {place: self.failed[k] for place, k in enumerate(some) if k in self.failed}
        return Solved(self.x[some], [self.n_calls[k] for k in some], described, failed, self.scores[some])

    def with_again(self, again: Solved, channels: Sequence[int]) -> Solved:
        """With what became of some of the channels in another try, whose calls come on top.

        Physics that the other try does not describe stays as it was.
        """
        some = list(channels)
        rows = torch.tensor(some, dtype=torch.long)
        described = {
            name: value.index_copy(0, rows, again.described.get(name, value[some]))
            for name, value in self.described.items()
        }
        x, scores = self.x.clone(), self.scores.clone()
        x[some], scores[some] = again.x, again.scores
        n_calls = list(self.n_calls)
        for place, k in enumerate(some):
            n_calls[k] += again.n_calls[place]
        failed = {k: text for k, text in self.failed.items() if k not in some}
        failed |= {some[place]: text for place, text in again.failed.items()}
        return Solved(x, n_calls, described, failed, scores)

    def with_calls(self, n_calls: Sequence[int]) -> Solved:
        """With further calls for each channel on top."""
        return replace(self, n_calls=[a + b for a, b in zip(self.n_calls, n_calls, strict=True)])

    def and_more(self, more: Solved) -> Solved:
        """With further samples of the same channels; a channel has failed where both have."""
        described = {
            name: torch.cat([value, more.described[name]], dim=1) for name, value in self.described.items()
        }
        return Solved(
            torch.cat([self.x, more.x], dim=1),
            [a + b for a, b in zip(self.n_calls, more.n_calls, strict=True)],
            described,
            {k: text for k, text in self.failed.items() if k in more.failed},
            torch.cat([self.scores, more.scores], dim=1),
        )


def joined(solved: Solved, recipe: Recipe, rate_hz: int) -> Tensor:
    """One result of the samples of each channel, `[K, S, T]`; of a recipe without a joiner the best one."""
    if recipe.joiner is None:
        return best(solved)
    pairs = zip(solved.x, solved.scores, strict=True)
    return torch.stack([recipe.joiner(x, scores, rate_hz) for x, scores in pairs])


def best(solved: Solved) -> Tensor:
    """The sample of each channel that ranks first, `[K, S, T]`."""
    places = [best_restart(scores) for scores in solved.scores.tolist()]
    return solved.x[torch.arange(len(places)), places]
