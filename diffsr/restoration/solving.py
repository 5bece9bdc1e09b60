"""Posterior samples of many channels in one batch: second tries, and talkers that are told."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from diffsr.diffusion import PersonalPrior, WindowedPrior
from diffsr.restoration.posterior import Posterior
from diffsr.restoration.progress import part_of
from diffsr.restoration.solved import Solved, joined
from diffsr.samplers import LittleNoise, Problem, RowNoise
from diffsr.samplers.annealed import OnStep
from diffsr.samplers.divergence import DivergedError

FIRST_PARTS = 9
"""Of ten, which are shown as done before it is known whether there is little noise; mostly there is not."""


def solve(posterior: Posterior, on_step: OnStep | None = None) -> Solved:
    """Sample a posterior.

    Where a recipe tells voices, the later restarts know those that the first ones have found. Where it has
    another way for little noise, recordings of one talker that turn out to have little are done again.
    """
    recipe = posterior.recipe
    if not posterior.ids:
        n_samples = posterior.n_samples
        nothing = posterior.waves.new_zeros(0, n_samples, recipe.n_sources, posterior.waves.shape[-1])
        return Solved(nothing, [], {}, {}, torch.empty(0, n_samples))
    little = recipe.little_noise if recipe.n_sources == 1 else None
    if little is None:
        return _restarts(posterior, on_step)
    solved = _restarts(posterior, part_of(on_step, 0, FIRST_PARTS + 1, FIRST_PARTS))
    return _with_little_noise(solved, little, posterior, on_step)


def _restarts(posterior: Posterior, on_step: OnStep | None) -> Solved:
    """All samples, of which the later ones know the voices that the first ones have found."""
    prior, recipe, n_samples = posterior.prior, posterior.recipe, posterior.n_samples
    if recipe.voices is None or recipe.n_sources == 1:
        return _tried(posterior, on_step)
    n_first = recipe.voices.n_untold(prior, n_samples, posterior.waves.shape[-1])
    if n_first == n_samples or not isinstance(prior, WindowedPrior):
        return _tried(posterior, on_step)
    is_learnt = recipe.voices.n_calls > 0
    n_later, n_parts = n_samples - n_first, (n_first > 0) + is_learnt + 1
    found, tracks = None, posterior.waves[:, None]
    if n_first:
        found = _tried(replace(posterior, n_samples=n_first), part_of(on_step, 0, n_parts))
        tracks = joined(found, recipe, posterior.rate_hz)
    learning = part_of(on_step, n_parts - 2, n_parts) if is_learnt else None
    told = recipe.voices.told(prior, tracks, n_later, learning)
    later = replace(posterior, prior=told, n_samples=n_later, first_sample=n_first)
    more = _tried(later, part_of(on_step, n_parts - 1, n_parts))
    more = more.with_calls([recipe.voices.n_calls] * len(posterior.ids))
    return more if found is None else found.and_more(more)


def _with_little_noise(
    solved: Solved, little: LittleNoise, posterior: Posterior, on_step: OnStep | None
) -> Solved:
    """Channels that turned out to have little noise done again for that; they do not fail by it."""
    is_found = little.is_found(posterior.waves, solved.x[:, :, 0].mean(1), posterior.rate_hz)
    some = [k for k in is_found.nonzero()[:, 0].tolist() if k not in solved.failed]
    if not some:
        if on_step is not None:
            on_step(1, 1)
        return solved
    theirs = posterior.of(some)
    sampler = little.sampler(theirs.recipe.sampler)
    other = replace(theirs.recipe, sampler=sampler, likelihood=little.likelihood)
    again = _tried(replace(theirs, recipe=other), part_of(on_step, FIRST_PARTS, FIRST_PARTS + 1))
    done = [place for place in range(len(some)) if place not in again.failed]
    in_vain = [0] * len(posterior.ids)
    for place in again.failed:
        in_vain[some[place]] = again.n_calls[place]
    return solved.with_again(again.of(done), [some[place] for place in done]).with_calls(in_vain)


def _tried(posterior: Posterior, on_step: OnStep | None) -> Solved:
    """Channels in which the sampler diverges are tried once more with smaller steps (`gentler`)."""
    solved = _sampled(posterior, on_step)
    if not solved.failed:
        return solved
    lost = sorted(solved.failed)
    theirs = posterior.of(lost)
    gentler = replace(theirs.recipe, sampler=theirs.recipe.sampler.gentler())
    return solved.with_again(_sampled(replace(theirs, recipe=gentler), None), lost)


def _sampled(posterior: Posterior, on_step: OnStep | None) -> Solved:
    """All samples in one run of the sampler."""
    prior, recipe, n_samples = posterior.prior, posterior.recipe, posterior.n_samples
    several = recipe.n_sources > 1
    noise = RowNoise(posterior.seed, posterior.ids, n_samples, posterior.first_sample, antithetic=not several)
    y = posterior.waves[:, None]
    problem = Problem.pose(
        y, prior, recipe.degradation, recipe.likelihood, noise, n_samples, recipe.n_sources
    )
    message, lost = "", torch.zeros(len(problem.y), dtype=torch.bool)
    try:
        samples = recipe.sampler.sample(problem, recipe.sampler.start(problem), on_step)
    except DivergedError as error:
        samples, message = error.samples, str(error)
        lost[error.rows] = True
    rows = (len(y), n_samples)
    # One lost sample spoils a mean, and is only left out where one of them is chosen.
    spoilt = lost.unflatten(0, rows)
    spoilt = spoilt.all(1) if several else spoilt.any(1)
    failed = dict.fromkeys(spoilt.nonzero()[:, 0].tolist(), message)
    scores = torch.full(lost.shape, math.nan)
    if several:  # what was lost is nothing that others agree with
        heard = samples.x.masked_fill(lost.to(samples.x.device)[:, None, None], math.nan)
        scores = recipe.ranker(problem, heard).float().cpu()
    scores = scores.masked_fill(lost, -math.inf).unflatten(0, rows)
    x = samples.x.unflatten(0, rows)
    described = {name: value.unflatten(0, rows) for name, value in _described(problem).items()}
    n_calls = samples.n_calls + (prior.n_told if isinstance(prior, PersonalPrior) else 0)
    return Solved(x, [n_calls * n_samples] * len(y), described, failed, scores)


def _described(problem: Problem) -> dict[str, Tensor]:
    """The physics of each row on the CPU, `[rows, ...]`; what the rows share is repeated."""
    found = problem.likelihood.describe() | problem.degradation.describe()
    n_rows = problem.y.shape[0]
    return {
        name: value.detach().cpu().expand(n_rows, *value.shape[1:]).clone() for name, value in found.items()
    }
