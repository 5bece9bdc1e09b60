"""Talkers that were told apart are restored once more, each as a recording of one talker."""

from __future__ import annotations

from torch import Tensor

from diffsr.diffusion import WindowedPrior
from diffsr.recipes import Recipe
from diffsr.restoration.solving import joined, solve
from diffsr.samplers import EachTalker


def refined(
    tracks: Tensor, row_id: str, prior: WindowedPrior, each: EachTalker, seed: int
) -> tuple[Tensor, int]:
    """Restore the tracks of one recording by themselves.

    Silent tracks stay as they are, and so do those in which the sampler diverges.

    Args:
        tracks: Of the talkers `[S, T]`, at the level of the mixture.
        row_id: Identity of the recording, which the random numbers depend on.
        prior: As it is for the mixture.
        each: How.
        seed: Of the posterior samples.

    Returns:
        The talkers `[S, T]` at the level of their tracks, and the calls of the prior.
    """
    level = each.levels(tracks, prior.rate_hz)
    heard = [talker for talker, found in enumerate(level.tolist()) if found > 0]
    scale = prior.sigma_data / level[heard, None]
    recipe = Recipe(each.sampler, each.likelihood, each.degradation, each.n_samples, joiner=each.joiner)
    ids = [f"{row_id}/{talker}" for talker in heard]
    solved = solve(tracks[heard] * scale, ids, prior, recipe, seed, each.n_samples)
    made = solved.x.mean(1)
    if each.joiner is not None and each.n_samples > 1 and heard:
        made = joined(solved, recipe, prior.rate_hz)
    result = tracks.clone()
    for place, talker in enumerate(heard):
        if place not in solved.failed:
            result[talker] = made[place, 0] / scale[place]
    return result, sum(solved.n_calls)
