"""Posterior samples of many channels in one batch: second tries, and talkers that are told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from diffsr.diffusion import ToldPrior, WindowedPrior
from diffsr.recipes import Recipe
from diffsr.samplers import AnnealedSampler, LittleNoise, Problem, RowNoise
from diffsr.samplers.annealed import OnStep
from diffsr.samplers.divergence import DivergedError
from diffsr.samplers.ranking import best_restart
from diffsr.typing import Denoiser

FIRST_PARTS = 9
"""Of ten, which are shown as done before it is known whether there is little noise; mostly there is not."""


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


def solve(
    waves: Tensor,
    ids: Sequence[str],
    prior: Denoiser,
    recipe: Recipe,
    seed: int,
    n_samples: int = 1,
    on_step: OnStep | None = None,
) -> Solved:
    """Posterior samples of channels `[K, T]` that are at the level of the prior, each as if it were alone.

    Where a recipe tells voices, the later restarts know those that the first ones have found. Where it has
    another way for little noise, recordings of one talker that turn out to have little are done again.
    """
    if not ids:
        nothing = waves.new_zeros(0, n_samples, recipe.n_sources, waves.shape[-1])
        return Solved(nothing, [], {}, {}, torch.empty(0, n_samples))
    little = recipe.little_noise if recipe.n_sources == 1 else None
    if little is None:
        return _restarts(waves, ids, prior, recipe, seed, n_samples, on_step)
    steps = part_of(on_step, 0, FIRST_PARTS + 1, FIRST_PARTS)
    solved = _restarts(waves, ids, prior, recipe, seed, n_samples, steps)
    return _with_little_noise(solved, little, waves, ids, prior, recipe, seed, on_step)


def _restarts(
    waves: Tensor,
    ids: Sequence[str],
    prior: Denoiser,
    recipe: Recipe,
    seed: int,
    n_samples: int,
    on_step: OnStep | None,
) -> Solved:
    """All samples, of which the later ones know the voices that the first ones have found."""
    n_first = n_samples
    if recipe.voices is not None and recipe.n_sources > 1:
        n_first = recipe.voices.n_untold(prior, n_samples, waves.shape[-1])
    n_passes = 2 if 0 < n_first < n_samples else 1
    first, later = range(n_first), range(n_first, n_samples)
    found: list[Solved] = []
    if first:
        found += [_tried(waves, ids, prior, recipe, seed, first, part_of(on_step, 0, n_passes))]
    if later and recipe.voices is not None and isinstance(prior, WindowedPrior):
        tracks = joined(found[0], recipe, prior.rate_hz) if found else waves[:, None]
        told = recipe.voices.told(prior, recipe.voices.voices(tracks), len(later))
        steps = part_of(on_step, n_passes - 1, n_passes)
        found += [_tried(waves, ids, told, recipe, seed, later, steps)]
    return found[0] if len(found) == 1 else found[0].and_more(found[1])


def _with_little_noise(
    solved: Solved,
    little: LittleNoise,
    waves: Tensor,
    ids: Sequence[str],
    prior: Denoiser,
    recipe: Recipe,
    seed: int,
    on_step: OnStep | None,
) -> Solved:
    """Channels that turned out to have little noise done again for that; they do not fail by it."""
    is_found = little.is_found(waves, solved.x[:, :, 0].mean(1), prior.rate_hz)
    some = [k for k in is_found.nonzero()[:, 0].tolist() if k not in solved.failed]
    if not some:
        if on_step is not None:
            on_step(1, 1)
        return solved
    restarts = range(solved.x.shape[1])
    steps = part_of(on_step, FIRST_PARTS, FIRST_PARTS + 1)
    other = replace(
        recipe,
        sampler=little.sampler(recipe.sampler),
        likelihood=little.likelihood,
        degradation=recipe.degradation.of(some, len(waves)),
    )
    again = _tried(waves[some], [ids[k] for k in some], prior, other, seed, restarts, steps)
    done = [place for place in range(len(some)) if place not in again.failed]
    in_vain = [0] * len(ids)
    for place in again.failed:
        in_vain[some[place]] = again.n_calls[place]
    return solved.with_again(again.of(done), [some[place] for place in done]).with_calls(in_vain)


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


def part_of(on_step: OnStep | None, number: int, n_parts: int, length: int = 1) -> OnStep | None:
    """Progress of one of several parts, or of `length` of them, as that of the whole."""
    if on_step is None or n_parts == 1:
        return on_step
    whole = on_step
    return lambda done, total: whole(number * total + length * done, n_parts * total)


def _tried(
    waves: Tensor,
    ids: Sequence[str],
    prior: Denoiser,
    recipe: Recipe,
    seed: int,
    restarts: range,
    on_step: OnStep | None,
) -> Solved:
    """Channels in which the sampler diverges are tried once more with smaller steps (`gentler`)."""
    solved = _solve(recipe.sampler, waves, ids, prior, recipe, seed, restarts, on_step)
    if not solved.failed:
        return solved
    lost = sorted(solved.failed)
    known = prior.of(lost, len(restarts)) if isinstance(prior, ToldPrior) else prior
    gentler = recipe.sampler.gentler()
    gentler.initialiser = gentler.initialiser.of(lost)
    other = replace(recipe, degradation=recipe.degradation.of(lost, len(waves)))
    again = _solve(gentler, waves[lost], [ids[k] for k in lost], known, other, seed, restarts, None)
    return solved.with_again(again, lost)


def _solve(
    sampler: AnnealedSampler,
    waves: Tensor,
    ids: Sequence[str],
    prior: Denoiser,
    recipe: Recipe,
    seed: int,
    restarts: range,
    on_step: OnStep | None,
) -> Solved:
    n_samples = len(restarts)
    noise = RowNoise(seed, ids, n_samples, restarts.start, antithetic=recipe.n_sources == 1)
    problem = Problem.pose(
        waves[:, None], prior, recipe.degradation, recipe.likelihood, noise, n_samples, recipe.n_sources
    )
    message, lost = "", torch.zeros(len(problem.y), dtype=torch.bool)
    try:
        samples = sampler.sample(problem, sampler.start(problem), on_step)
    except DivergedError as error:
        samples, message = error.samples, str(error)
        lost[error.rows] = True
    rows = (len(waves), n_samples)
    # One lost sample spoils a mean, and is only left out where one of them is chosen.
    spoilt = lost.unflatten(0, rows)
    spoilt = spoilt.all(1) if recipe.n_sources > 1 else spoilt.any(1)
    failed = dict.fromkeys(spoilt.nonzero()[:, 0].tolist(), message)
    scores = torch.full(lost.shape, math.nan)
    if recipe.n_sources > 1:
        scores = recipe.ranker(problem, samples.x).float().cpu()
    scores = scores.masked_fill(lost, -math.inf).unflatten(0, rows)
    x = samples.x.unflatten(0, rows)
    described = {name: value.unflatten(0, rows) for name, value in _described(problem).items()}
    n_calls = samples.n_calls + (prior.n_told if isinstance(prior, ToldPrior) else 0)
    return Solved(x, [n_calls * n_samples] * len(waves), described, failed, scores)


def _described(problem: Problem) -> dict[str, Tensor]:
    """The physics of each row on the CPU, `[rows, ...]`; what the rows share is repeated."""
    found = problem.likelihood.describe() | problem.degradation.describe()
    n_rows = problem.y.shape[0]
    return {
        name: value.detach().cpu().expand(n_rows, *value.shape[1:]).clone() for name, value in found.items()
    }
