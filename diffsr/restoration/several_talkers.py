"""Recordings of several talkers: how they are told apart, and what is handed on."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from diffsr.degradations import LatePrediction
from diffsr.restoration.physics import Physics
from diffsr.restoration.posterior import Posterior
from diffsr.restoration.progress import part_of
from diffsr.restoration.recording import Posed
from diffsr.restoration.refining import n_parts_of_restarts, searched_twice, told_apart
from diffsr.restoration.result import Restoration
from diffsr.restoration.room_between import halfway
from diffsr.restoration.solved import Solved, best, joined
from diffsr.restoration.solving import solve
from diffsr.restoration.talkers import Talkers
from diffsr.samplers.annealed import OnStep

SEARCH_PARTS = 4
"""The time of a search for several talkers, in units of that for each by himself (docs/results.md)."""


def solve_talkers(posterior: Posterior, on_step: OnStep | None) -> tuple[Solved, Tensor | None]:
    """Restarts of recordings, and what is made of them `[K, S, T]`; None takes the best restart."""
    recipe, n_samples = posterior.recipe, posterior.n_samples
    is_joined, each = recipe.joiner is not None and n_samples > 1, recipe.each_talker
    if not posterior.ids or not (is_joined or each):
        return solve(posterior, on_step), None
    n_more = 0 if each is None else 1 + n_parts_of_restarts(each, n_samples if is_joined else 0)
    n_parts = SEARCH_PARTS + n_more if n_more else 1
    search = part_of(on_step, 0, n_parts, SEARCH_PARTS)
    if is_joined and recipe.second_search is not None:
        solved, made = searched_twice(posterior, recipe.second_search, search)
    else:
        solved = solve(posterior, search)
        made = joined(solved, recipe, posterior.rate_hz) if is_joined else best(solved)
    if each is not None:
        steps = part_of(on_step, SEARCH_PARTS, n_parts, n_more)
        made, n_calls, times_s = told_apart(made, solved, posterior, each, steps)
        parts = recipe.degradation.modules()
        late = next((part for part in parts if isinstance(part, LatePrediction)), None)
        solved = solved.with_calls(n_calls)
        if late is not None:
            solved = replace(solved, described=halfway(solved.described, times_s, late.room))
    return solved, made


def finish_talkers(
    posed: Posed, solved: Solved, made: Tensor | None, posterior: Posterior, seconds: float
) -> Restoration:
    """The talkers of one recording, back at its rate and level; noise and room of the best restart.

    `made [K, S, T]` is what was made of the restarts, K of them heard, 1 or 0; None takes the best one.
    """
    recipe, n_samples = posterior.recipe, posterior.n_samples
    is_heard = len(posed.rows) > 0
    scores = solved.scores[0] if is_heard else torch.full((n_samples,), math.nan)
    restarts, tracks = posed.put_back_talkers(solved.x, recipe.n_sources), None
    if made is not None and is_heard:
        tracks = posed.put_back_talkers(made[:, None], recipe.n_sources)[0]
    is_joined = tracks is not None and recipe.joiner is not None and n_samples > 1
    talkers, result, restarts = Talkers.of(
        restarts, scores.tolist(), posed.wave[0], posed.rate_hz, tracks, is_joined
    )
    talkers = replace(talkers, sure_above=recipe.sure_above)
    physics = None
    if is_heard:
        chosen = {name: value[:, [talkers.chosen]] for name, value in solved.described.items()}
        stft = recipe.likelihood.stft
        physics = Physics.of(posed.channels, [0], posed.prior_hz, stft, chosen, posed.scale)
    return Restoration(
        result,
        posed.rate_hz,
        max(solved.n_calls, default=0),
        seconds,
        samples=restarts if n_samples > 1 else None,
        physics=physics,
        talkers=talkers,
    )
