"""Recordings of one talker: how they are restored, and what is handed on."""

from __future__ import annotations

from torch import Tensor

from diffsr.restoration.physics import Physics
from diffsr.restoration.posterior import Posterior
from diffsr.restoration.progress import part_of
from diffsr.restoration.recording import Posed
from diffsr.restoration.refining import passed_twice
from diffsr.restoration.result import Restoration
from diffsr.restoration.solved import Solved, joined
from diffsr.restoration.solving import solve
from diffsr.restoration.whole_room import of_the_recording
from diffsr.samplers.annealed import OnStep


def solve_talker(posterior: Posterior, on_step: OnStep | None) -> tuple[Solved, Tensor | None]:
    """Samples of channels, and what is made of them `[K, 1, T]`; None takes their mean."""
    solved, made = _sampled(posterior, on_step)
    ceiling = posterior.recipe.ceiling
    if ceiling is None or not posterior.ids:
        return solved, made
    return solved, ceiling(solved.x.mean(1) if made is None else made, posterior.waves[:, None])


def _sampled(posterior: Posterior, on_step: OnStep | None) -> tuple[Solved, Tensor | None]:
    """As `solve_talker`, without a ceiling."""
    recipe = posterior.recipe
    second = recipe.second_pass
    if not posterior.ids or second is None:
        solved = solve(posterior, on_step)
        is_joined = recipe.joiner is not None and posterior.n_samples > 1 and posterior.ids
        return solved, joined(solved, recipe, posterior.rate_hz) if is_joined else None
    n_first, n_more = len(recipe.sampler.sigmas) - 1, len(second.sampler.sigmas) - 1
    n_parts = n_first + n_more  # in which all take about as long
    solved = solve(posterior, part_of(on_step, 0, n_parts, n_first))
    steps = part_of(on_step, n_first, n_parts, n_more)
    made, n_calls = passed_twice(solved, posterior, second, steps)
    return solved.with_calls(n_calls), made


def finish_talker(
    posed: Posed, solved: Solved, made: Tensor | None, posterior: Posterior, seconds: float
) -> Restoration:
    """One recording, back at its rate and level.

    `made [K, 1, T]` is what was made of the samples; None takes their mean.
    """
    recipe = posterior.recipe
    samples, out_hz = posed.put_back(solved.x[:, :, 0], recipe.degradation.extends_band)
    result = mean_of(samples)
    if made is not None and len(posed.rows):
        result = posed.put_back(made, recipe.degradation.extends_band)[0][0]
    places = posed.rows.tolist()
    channels = [posed.channels[place] for place in places]
    stft = recipe.likelihood.stft
    found = of_the_recording(solved.described, posed.early, stft)
    return Restoration(
        result,
        out_hz,
        max(solved.n_calls, default=0),
        seconds,
        recipe.degradation.raises_peaks,
        samples if posterior.n_samples > 1 else None,
        Physics.of(channels, places, posed.prior_hz, stft, found, posed.scale) if places else None,
    )


def mean_of(samples: Tensor) -> Tensor:
    """Mean over the first dimension; exact where all are equal."""
    return samples[0] + (samples - samples[0]).mean(0)
