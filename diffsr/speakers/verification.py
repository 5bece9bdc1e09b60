"""How well embeddings tell talkers apart: trials of two recordings, and the equal error rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Trials:
    """Pairs of recordings with the cosine of their embeddings.

    Attributes:
        score: float `[N]`.
        first: Talker of the first recording, int64 `[N]`.
        second: Talker of the second.
    """

    score: Tensor
    first: Tensor
    second: Tensor

    def interval(self, n_draws: int = 200, seed: int = 0) -> tuple[float, float]:
        """95 % interval of the equal error rate over the choice of talkers (bootstrap)."""
        return interval_of(self.drawn_errors(n_draws, seed))

    def drawn_errors(self, n_draws: int = 200, seed: int = 0) -> Tensor:
        """Equal error rates with talkers drawn again, `[n_draws]`.

        Those of other trials of the same talkers with the same seed are of the same draws.
        """
        rng = torch.Generator().manual_seed(seed)
        talkers, _ = torch.cat([self.first, self.second]).unique().sort()
        first, second = (torch.searchsorted(talkers, side) for side in (self.first, self.second))
        same, rates = self.first == self.second, []
        for _ in range(n_draws):
            drawn = torch.randint(len(talkers), (len(talkers),), generator=rng).bincount(
                minlength=len(talkers)
            )
            weight = torch.where(same, drawn[first], drawn[first] * drawn[second])
            rates.append(equal_error_rate(self.score, same, weight))
        return torch.tensor(rates)

    @property
    def error(self) -> float:
        """Equal error rate, see `equal_error_rate`."""
        return equal_error_rate(self.score, self.first == self.second)


def trials(embedding: Tensor, other: Tensor, talkers: Sequence[str], corpora: Sequence[str | None]) -> Trials:
    """All pairs of different recordings of one corpus.

    Pairs across corpora are left out: bandwidth and noise floor tell those apart, without the voice.

    Args:
        embedding: Embeddings of recordings, `[N, E]`, of unit norm.
        other: Embeddings of the same recordings, disturbed in another way, `[N, E]`.
        talkers: Their talkers.
        corpora: Their corpora.
    """
    talker, corpus = _numbers(talkers), _numbers(corpora)
    first, second = torch.triu_indices(len(talker), len(talker), offset=1)
    kept = corpus[first] == corpus[second]
    first, second = first[kept], second[kept]
    score = (embedding[first] * other[second]).sum(-1)
    return Trials(score, talker[first], talker[second])


def interval_of(drawn: Tensor) -> tuple[float, float]:
    """95 % interval of what was found with talkers drawn again."""
    low, high = drawn.nanquantile(torch.tensor([0.025, 0.975])).tolist()
    return low, high


def equal_error_rate(score: Tensor, same: Tensor, weight: Tensor | None = None) -> float:
    """Error at the threshold where as many of the same talkers are rejected as of different ones accepted.

    Between two thresholds both rates are joined by a straight line.

    Args:
        score: Similarities `[N]`.
        same: Whether both recordings are of one talker, bool `[N]`.
        weight: How often each pair counts, `[N]`; once when None.

    Returns:
        Share of 0..1; 0.5 is chance. NaN without both kinds of pairs.
    """
    weight = torch.ones(len(score)) if weight is None else weight
    order = score.argsort(descending=True)
    score, same, weight = score[order], same[order], weight[order].double()
    hits, alarms = (weight * same).cumsum(0), (weight * ~same).cumsum(0)
    if len(score) == 0 or hits[-1] == 0 or alarms[-1] == 0:
        return math.nan
    last = torch.cat([score[1:] != score[:-1], torch.tensor([True])])  # equal scores are accepted together
    zero = torch.zeros(1, dtype=torch.float64)
    rejected = 1 - torch.cat([zero, (hits / hits[-1])[last]])
    accepted = torch.cat([zero, (alarms / alarms[-1])[last]])
    index = int((accepted >= rejected).nonzero()[0, 0])  # both ends are there: (1, 0) and (0, 1)
    below, above = rejected[index - 1] - accepted[index - 1], accepted[index] - rejected[index]
    return float(torch.lerp(accepted[index - 1], accepted[index], below / (below + above)))


def _numbers(names: Sequence[str | None]) -> Tensor:
    known = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return torch.tensor([known[name] for name in names])
