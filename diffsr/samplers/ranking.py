"""Which of several restarts to keep where a mean makes no sense: restarts swap their talkers.

Nothing here sees a reference: a ranker knows the recording, the model and the restarts.
"""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from diffsr.evaluation.permutation import best_assignment, pairwise_si_sdr_db
from diffsr.samplers.problem import Problem
from diffsr.typing import Sources

LIMIT_DB = 60.0
"""SI-SDR beyond which two restarts are the same, or have nothing in common; silence has nothing in common."""


class Ranker(ABC):
    """A score for each restart; the restart of an item with the largest is its result."""

    sure_above: float | None = None
    """The score above which two talkers without noise and room are told apart for sure; None: not known."""

    @abstractmethod
    def __call__(self, problem: Problem, x: Sources) -> Tensor:
        """Sources `[rows, S, T]` of a problem -> scores `[rows]`, NaN where there is none."""


class Agreement(Ranker):
    """The restart that agrees most with the others of its item.

    Mean SI-SDR in dB over the other restarts, each after the best order of its talkers. Wrong solutions are
    wrong in many ways and right ones alike. It needs two restarts or more; a single one has no score.
    """

    def __call__(self, problem: Problem, x: Sources) -> Tensor:
        """See `Ranker`."""
        scores = torch.full((len(x),), math.nan)
        for item in problem.item_of_row.unique().tolist():
            rows = (problem.item_of_row == item).nonzero()[:, 0]
            scores[rows.cpu()] = mean_agreement_db(x[rows])
        return scores


def mean_agreement_db(restarts: Tensor) -> Tensor:
    """Mean SI-SDR of each restart with all others, `[R, S, T] -> [R]`; NaN for a single one."""
    n = len(restarts)
    pairs = torch.zeros(n, n, dtype=torch.float64)
    for a in range(n):
        for b in range(a):
            pairs[a, b] = pairs[b, a] = _agreement_db(restarts[a], restarts[b])
    return (pairs.sum(1) / (n - 1) if n > 1 else torch.full((1,), math.nan)).float()


def nearness_db(restarts: Tensor, made: Tensor) -> Tensor:
    """Mean SI-SDR of restarts `[R, S, T]` with what was made of all of them `[S, T]`, in dB, `[R]`.

    Each after the best order of its talkers. Where a mean is better than most of its parts, the part next to
    it is among the better ones (docs/separation.md, "Ranking").
    """
    return torch.stack([_agreement_db(one, made) for one in restarts])


def best_restart(scores: Sequence[float]) -> int:
    """The place of the largest score, the first of equal ones. NaN is above -inf, which is a lost restart."""
    known = [-sys.float_info.max if math.isnan(score) else score for score in scores]
    return known.index(max(known))


def in_order_of(restarts: Tensor, chosen: int) -> Tensor:
    """The restarts `[R, S, T]`, each with its talkers in the order of the chosen one."""
    orders = [best_assignment(one, restarts[chosen]) for one in restarts]
    return torch.stack([one[list(order)] for one, order in zip(restarts, orders, strict=True)])


def confidence(restarts: Tensor, chosen: int) -> float | None:
    """How sure the chosen restart is of who is who, from 0 to 1; None for a single restart.

    By how much the squared correlation of its talkers with their own in another restart exceeds that with
    the talkers they are not, mean over the other restarts: 1 where all restarts found the same separate
    talkers; 0 where they share nothing, or where each talker is the whole mixture.

    Args:
        restarts: `[R, S, T]`, with the talkers in one order, see `in_order_of`.
        chosen: Its place among them.
    """
    others = [k for k in range(len(restarts)) if k != chosen]
    if not others:
        return None
    margins = [_margin(pairwise_si_sdr_db(restarts[k], restarts[chosen])) for k in others]
    return min(max(sum(margins) / len(margins), 0.0), 1.0)


def _agreement_db(one: Tensor, other: Tensor) -> Tensor:
    """Mean SI-SDR of the talkers `[S, T]` with those of another restart, in the best order."""
    ordered = one[list(best_assignment(one, other))]
    return _limited(pairwise_si_sdr_db(ordered, other).diagonal()).mean()


def _margin(si_sdr_db: Tensor) -> float:
    """Mean squared correlation on the diagonal of `[S, S]`, less that beside it."""
    squared = 1.0 / (1.0 + 10.0 ** (-_limited(si_sdr_db) / 10.0))
    n = len(squared)
    own = squared.diagonal().mean()
    other = (squared.sum() - squared.diagonal().sum()) / max(n * (n - 1), 1)
    return float(own - other)


def _limited(si_sdr_db: Tensor) -> Tensor:
    return si_sdr_db.cpu().double().nan_to_num(-LIMIT_DB).clamp(-LIMIT_DB, LIMIT_DB)
