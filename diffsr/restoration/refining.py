"""Second restorations: talkers that were told apart each by himself or all again, one talker from halfway."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from diffsr.evaluation.permutation import best_assignment
from diffsr.recipes import Recipe
from diffsr.restoration.posterior import Posterior
from diffsr.restoration.progress import part_of
from diffsr.restoration.solved import Solved, joined
from diffsr.restoration.solving import solve
from diffsr.samplers import EachTalker, SecondPass, SecondSearch
from diffsr.samplers.annealed import OnStep
from diffsr.samplers.early_reflections import without
from diffsr.signal.room_acoustics import rt60_s
from diffsr.typing import Denoiser


class Refined(NamedTuple):
    """What restorations of each talker by himself give.

    Attributes:
        tracks: The talkers `[K, S, T]`.
        n_calls: Calls of the prior for each recording.
        rt60_s: T60 of each recording, the mean over its tracks `[K]`; NaN where none was found.
    """

    tracks: Tensor
    n_calls: list[int]
    rt60_s: Tensor


def told_apart(
    made: Tensor, solved: Solved, posterior: Posterior, each: EachTalker, on_step: OnStep | None = None
) -> Refined:
    """What is made of the restarts of recordings, each talker restored once more by himself.

    Args:
        made: The talkers `[K, S, T]`.
        solved: The restarts that they were made of.
        posterior: That of the mixtures; the joiner of its recipe joins the restarts once more.
        each: How a talker is restored.
        on_step: Called with (finished, total) after each step.

    Returns:
        What is made of all; the T60 is that of the restarts' tracks, where they are restored.
    """
    n_restarts, ids, prior, seed = solved.x.shape[1], posterior.ids, posterior.prior, posterior.seed
    if each.n_restart_samples == 0 or n_restarts == 1 or posterior.recipe.joiner is None:
        return refined(made, ids, prior, each, seed, on_step)
    n_more = n_parts_of_restarts(each, n_restarts)
    once, n_calls, _ = refined(made, ids, prior, each, seed, part_of(on_step, 0, 1 + n_more))
    names = [f"{name}/{restart}" for name in ids for restart in range(n_restarts)]
    steps = part_of(on_step, 1, 1 + n_more, n_more)
    tracks, more, times_s = refined(solved.x.flatten(0, 1), names, prior, each.of_restarts(), seed, steps)
    scores = torch.where(solved.scores == -math.inf, -math.inf, math.nan)  # what they were says nothing now
    restarts = replace(solved, x=tracks.unflatten(0, (len(made), n_restarts)), scores=scores)
    again = joined(restarts, posterior.recipe, posterior.rate_hz)
    ordered = [two[list(best_assignment(two, one))] for one, two in zip(once, again, strict=True)]
    sums = [calls + sum(more[k * n_restarts : (k + 1) * n_restarts]) for k, calls in enumerate(n_calls)]
    times_s = times_s.unflatten(0, (len(made), n_restarts)).nanmean(-1)
    return Refined((once + torch.stack(ordered)) / 2, sums, times_s)


def n_parts_of_restarts(each: EachTalker, n_restarts: int) -> int:
    """The time that the second opinion takes, in units of that for what was made of the restarts."""
    return math.ceil(n_restarts * each.n_restart_samples / each.n_samples)


def refined(
    tracks: Tensor,
    ids: Sequence[str],
    prior: Denoiser,
    each: EachTalker,
    seed: int,
    on_step: OnStep | None = None,
) -> Refined:
    """Restore the tracks of recordings by themselves.

    Silent tracks stay as they are, and so do those in which the sampler diverges.

    Args:
        tracks: Of the talkers `[K, S, T]`, at any level.
        ids: Of the recordings, which the random numbers depend on.
        prior: As it is for the mixtures.
        each: How.
        seed: Of the posterior samples.
        on_step: Called with (finished, total) after each step.

    Returns:
        The talkers at the level of their tracks.
    """
    n_talkers = tracks.shape[1]
    result = tracks.flatten(0, 1).clone()
    wave, level, _ = each.prepared(result, prior.rate_hz)
    heard = (level > 0).nonzero()[:, 0].tolist()
    scale = prior.sigma_data / level[heard, None]
    recipe = Recipe(each.sampler, each.likelihood, each.degradation, each.n_samples, joiner=each.joiner)
    names = [f"{ids[place // n_talkers]}/{place % n_talkers}" for place in heard]
    solved = solve(Posterior(wave[heard] * scale, names, prior, recipe, seed, each.n_samples), on_step)
    found = _made_of(solved, recipe, prior.rate_hz)[:, 0] / scale
    n_calls, times_s = [0] * len(tracks), torch.full((len(result),), math.nan)
    for place, track in enumerate(heard):
        n_calls[track // n_talkers] += solved.n_calls[place]
        if place not in solved.failed:
            result[track] = found[place]
            if (response := solved.described.get("room_response")) is not None:
                times_s[track] = rt60_s(response[place, :, 0, 0], prior.rate_hz).nanmean().cpu()
    shape = tracks.shape[:2]
    return Refined(result.unflatten(0, shape), n_calls, times_s.unflatten(0, shape).nanmean(-1))


def passed_twice(
    solved: Solved, posterior: Posterior, second: SecondPass, on_step: OnStep | None = None
) -> tuple[Tensor, list[int]]:
    """What is made of the samples of a first and a second restoration of one talker together.

    Channels in which the second one diverges keep the first.

    Args:
        solved: The first.
        posterior: That of the first.
        second: How the second differs.
        on_step: Called with (finished, total) after each step.

    Returns:
        The talker `[K, 1, T]`, and the calls of the prior for each channel.
    """
    recipe = posterior.recipe
    first = _made_of(solved, recipe, posterior.rate_hz)
    other = replace(recipe, sampler=second.sampler, little_noise=None)
    between = second.recording(posterior.waves, first[:, 0])
    if (early := recipe.early_reflections) is not None:  # those of the recording that were not heard in it
        between = without(between, early.heard(first[:, 0], posterior.rate_hz))
    again = solve(replace(posterior.again(), waves=between, recipe=other), on_step)
    made = _made_of(replace(solved, described={}).and_more(again), recipe, posterior.rate_hz)
    lost = sorted(again.failed)
    made[lost] = first[lost]
    return made, again.n_calls


def searched_twice(
    posterior: Posterior, second: SecondSearch, on_step: OnStep | None = None
) -> tuple[Solved, Tensor]:
    """Restarts of several talkers, and what is made of them and of those of a second search.

    Recordings in which the second one diverges keep what was made of the first.

    Args:
        posterior: That of both; the joiner of its recipe joins the restarts.
        second: How the second differs.
        on_step: Called with (finished, total) after each step.

    Returns:
        The restarts of the first, with the calls of both, and the talkers `[K, S, T]`.
    """
    recipe = posterior.recipe
    n_first, n_more = len(recipe.sampler.sigmas) - 1, len(second.sampler.sigmas) - 1
    n_parts = n_first + n_more  # restarts that are told later than others are fewer at a time
    solved = solve(posterior, part_of(on_step, 0, n_parts, n_first))
    first = joined(solved, recipe, posterior.rate_hz)
    told = second.prior_for(first, posterior.prior, posterior.n_samples)
    other = replace(recipe, sampler=second.sampler_from(first), voices=None)
    steps = part_of(on_step, n_first, n_parts, n_more)
    again = solve(replace(posterior.again(), prior=told, recipe=other), steps)
    made = joined(replace(solved, described={}).and_more(again), recipe, posterior.rate_hz)
    for lost in {*solved.failed, *again.failed}:
        made[lost] = first[lost]
    solved = solved.with_calls([second.n_calls] * len(first)) if told is not posterior.prior else solved
    return solved.with_calls(again.n_calls), made


def _made_of(solved: Solved, recipe: Recipe, rate_hz: int) -> Tensor:
    """One result of the samples of one talker, `[K, 1, T]`: as the recipe joins them, or their mean."""
    is_joined = recipe.joiner is not None and len(solved.x)
    return joined(solved, recipe, rate_hz) if is_joined else solved.x.mean(1)
