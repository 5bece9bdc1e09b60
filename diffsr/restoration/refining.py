"""Talkers that were told apart are restored once more, each as a recording of one talker."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from diffsr.diffusion import WindowedPrior
from diffsr.recipes import Recipe
from diffsr.restoration.solving import joined, solve
from diffsr.samplers import EachTalker
from diffsr.samplers.annealed import OnStep


def refined(
    tracks: Tensor,
    ids: Sequence[str],
    prior: WindowedPrior,
    each: EachTalker,
    seed: int,
    on_step: OnStep | None = None,
) -> tuple[Tensor, list[int]]:
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
        The talkers `[K, S, T]` at the level of their tracks, and the calls of the prior for each recording.
    """
    n_talkers = tracks.shape[1]
    result = tracks.flatten(0, 1).clone()
    level = each.levels(result, prior.rate_hz)
    heard = (level > 0).nonzero()[:, 0].tolist()
    scale = prior.sigma_data / level[heard, None]
    recipe = Recipe(each.sampler, each.likelihood, each.degradation, each.n_samples, joiner=each.joiner)
    names = [f"{ids[place // n_talkers]}/{place % n_talkers}" for place in heard]
    solved = solve(result[heard] * scale, names, prior, recipe, seed, each.n_samples, on_step)
    is_joined = each.joiner is not None and each.n_samples > 1 and heard
    found = (joined(solved, recipe, prior.rate_hz) if is_joined else solved.x.mean(1))[:, 0] / scale
    n_calls = [0] * len(tracks)
    for place, track in enumerate(heard):
        n_calls[track // n_talkers] += solved.n_calls[place]
        if place not in solved.failed:
            result[track] = found[place]
    return result.unflatten(0, tracks.shape[:2]), n_calls
