"""Many recordings of one length, explained in one batch."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from diffsr.diffusion import WindowedPrior
from diffsr.errors import AudioError, DiffsrError
from diffsr.recipes import Recipe
from diffsr.restoration.physics import Physics
from diffsr.restoration.recording import Posed
from diffsr.restoration.refining import n_parts_of_restarts, passed_twice, searched_twice, told_apart
from diffsr.restoration.result import Restoration, UnfinishedError
from diffsr.restoration.solving import Solved, best, joined, part_of, solve
from diffsr.restoration.talkers import Talkers
from diffsr.samplers.annealed import OnStep

TOO_LONG = (
    "The recording is too long for this device's memory: cut it, ask for fewer samples, or use the CPU "
    "(--device cpu on the command line)."
)

SEARCH_PARTS = 4
"""The time of a search for several talkers, in units of that for each by himself (docs/results.md)."""


def batches(lengths: Mapping[int, int], size: int) -> list[list[int]]:
    """Members of equal length, at most `size` together: member -> length becomes lists of members."""
    of_length: dict[int, list[int]] = {}
    found: list[list[int]] = []
    for member, length in lengths.items():
        if not of_length.get(length):
            of_length[length] = []
            found.append(of_length[length])
        of_length[length].append(member)
        if len(of_length[length]) == size:
            del of_length[length]
    return found


def restore_batch(
    posed: Sequence[Posed],
    prior: WindowedPrior,
    recipe: Recipe,
    seed: int,
    n_samples: int,
    on_step: OnStep | None = None,
) -> list[Restoration | DiffsrError]:
    """Restore recordings of one length together; in halves where memory does not suffice or one is unfit.

    Returns:
        For each the restoration, an `UnfinishedError` where the sampler diverged twice, an `AudioError` where
        it is too long for the memory even by itself, or why what was given does not fit it.
    """
    started = time.perf_counter()
    waves = torch.cat([one.waves for one in posed])
    ids = [row_id for one in posed for row_id in one.row_ids]
    scale = torch.cat([one.scale[:, 0] for one in posed])
    solved = made = None
    problem: DiffsrError = AudioError(TOO_LONG)
    way = _solved_talkers if recipe.n_sources > 1 else _solved_talker
    try:
        scaled = replace(recipe, degradation=recipe.degradation.at_scale(scale))
        solved, made = way(waves, ids, prior, scaled, seed, n_samples, on_step)
    except DiffsrError as error:
        problem = error.with_traceback(None)  # which holds on to the memory
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    if solved is None and len(posed) == 1:
        return [problem]
    if solved is None:  # outside of the handler, which holds on to the memory
        return _restored_in_halves(posed, prior, recipe, seed, n_samples, on_step)
    results: list[Restoration | DiffsrError] = []
    first = 0
    for one in posed:
        rows = range(first, first + len(one.rows))
        seconds = one.seconds + (time.perf_counter() - started) / len(posed)
        found, tracks = solved.of(rows), None if made is None else made[list(rows)]
        put = _separated if recipe.n_sources > 1 else _finished
        results.append(_told(put(one, found, recipe, n_samples, seconds, tracks), found))
        first = rows.stop
    return results


def _restored_in_halves(
    posed: Sequence[Posed],
    prior: WindowedPrior,
    recipe: Recipe,
    seed: int,
    n_samples: int,
    on_step: OnStep | None,
) -> list[Restoration | DiffsrError]:
    """See `restore_batch`; what was given for each recording goes with it."""
    half, n_channels = len(posed) // 2, sum(len(one.rows) for one in posed)
    n_first = sum(len(one.rows) for one in posed[:half])
    done: list[Restoration | DiffsrError] = []
    for part, channels in ((posed[:half], range(n_first)), (posed[half:], range(n_first, n_channels))):
        try:
            theirs = replace(recipe, degradation=recipe.degradation.of(channels, n_channels))
        except DiffsrError as error:
            return [error] * len(posed)
        done += restore_batch(part, prior, theirs, seed, n_samples, on_step)
    return done


def _finished(
    posed: Posed, solved: Solved, recipe: Recipe, n_samples: int, seconds: float, made: Tensor | None
) -> Restoration:
    """One recording of one talker, back at its rate and level.

    `made [K, 1, T]` is what was made of the samples; None takes their mean.
    """
    samples, out_hz = posed.put_back(solved.x[:, :, 0], recipe.degradation.extends_band)
    result = mean_of(samples)
    if made is not None and len(posed.rows):
        result = posed.put_back(made, recipe.degradation.extends_band)[0][0]
    places = posed.rows.tolist()
    numbers = [posed.numbers[place] for place in places]
    stft = recipe.likelihood.stft
    return Restoration(
        result,
        out_hz,
        max(solved.n_calls, default=0),
        seconds,
        recipe.degradation.raises_peaks,
        samples if n_samples > 1 else None,
        Physics.of(numbers, places, posed.prior_hz, stft, solved.described, posed.scale) if places else None,
    )


def _solved_talker(
    waves: Tensor,
    ids: Sequence[str],
    prior: WindowedPrior,
    recipe: Recipe,
    seed: int,
    n_samples: int,
    on_step: OnStep | None,
) -> tuple[Solved, Tensor | None]:
    """Samples of channels `[K, T]`, and what is made of them `[K, 1, T]`; None takes their mean."""
    second = recipe.second_pass
    if not ids or second is None:
        solved = solve(waves, ids, prior, recipe, seed, n_samples, on_step)
        is_joined = recipe.joiner is not None and n_samples > 1 and ids
        return solved, joined(solved, recipe, prior.rate_hz) if is_joined else None
    n_first, n_more = len(recipe.sampler.sigmas) - 1, len(second.sampler.sigmas) - 1
    n_parts = n_first + n_more  # in which all take about as long
    solved = solve(waves, ids, prior, recipe, seed, n_samples, part_of(on_step, 0, n_parts, n_first))
    steps = part_of(on_step, n_first, n_parts, n_more)
    made, n_calls = passed_twice(solved, waves, ids, prior, recipe, second, seed, steps)
    return solved.with_calls(n_calls), made


def _solved_talkers(
    waves: Tensor,
    ids: Sequence[str],
    prior: WindowedPrior,
    recipe: Recipe,
    seed: int,
    n_samples: int,
    on_step: OnStep | None,
) -> tuple[Solved, Tensor | None]:
    """Restarts of recordings `[K, T]`, and what is made of them `[K, S, T]`; None takes the best restart."""
    is_joined, each = recipe.joiner is not None and n_samples > 1, recipe.each_talker
    if not ids or not (is_joined or each):
        return solve(waves, ids, prior, recipe, seed, n_samples, on_step), None
    n_more = 0 if each is None else 1 + n_parts_of_restarts(each, n_samples if is_joined else 0)
    n_parts = SEARCH_PARTS + n_more if n_more else 1
    search = part_of(on_step, 0, n_parts, SEARCH_PARTS)
    if is_joined and recipe.second_search is not None:
        solved, made = searched_twice(
            waves, ids, prior, recipe, recipe.second_search, seed, n_samples, search
        )
    else:
        solved = solve(waves, ids, prior, recipe, seed, n_samples, search)
        made = joined(solved, recipe, prior.rate_hz) if is_joined else best(solved)
    if each is not None:
        steps = part_of(on_step, SEARCH_PARTS, n_parts, n_more)
        made, n_calls = told_apart(made, solved, ids, prior, recipe, each, seed, steps)
        solved = solved.with_calls(n_calls)
    return solved, made


def _separated(
    posed: Posed, solved: Solved, recipe: Recipe, n_samples: int, seconds: float, tracks: Tensor | None
) -> Restoration:
    """The talkers of one recording, back at its rate and level; noise and room of the best restart.

    `tracks [K, S, T]` is what was made of the restarts, K of them heard, 1 or 0.
    """
    is_heard = len(posed.rows) > 0
    scores = solved.scores[0] if is_heard else torch.full((n_samples,), math.nan)
    restarts, made = posed.put_back_talkers(solved.x, recipe.n_sources), None
    if tracks is not None and is_heard:
        made = posed.put_back_talkers(tracks[:, None], recipe.n_sources)[0]
    is_joined = made is not None and recipe.joiner is not None and n_samples > 1
    talkers, result, restarts = Talkers.of(
        restarts, scores.tolist(), posed.wave[0], posed.rate_hz, made, is_joined
    )
    chosen = {name: value[:, [talkers.chosen]] for name, value in solved.described.items()}
    stft = recipe.likelihood.stft
    return Restoration(
        result,
        posed.rate_hz,
        max(solved.n_calls, default=0),
        seconds,
        samples=restarts if n_samples > 1 else None,
        physics=Physics.of(posed.numbers, [0], posed.prior_hz, stft, chosen, posed.scale)
        if is_heard
        else None,
        talkers=talkers,
    )


def _told(restoration: Restoration, solved: Solved) -> Restoration | UnfinishedError:
    """As it is, or as an error where the sampler diverged twice."""
    if not solved.failed:
        return restoration
    message = next(iter(solved.failed.values()))
    return UnfinishedError(f"{message} A second try with smaller steps did not help.", restoration)


def mean_of(samples: Tensor) -> Tensor:
    """Mean over the first dimension; exact where all are equal."""
    return samples[0] + (samples - samples[0]).mean(0)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of the machine or the device does not suffice."""
    if isinstance(error, RuntimeError):  # PyTorch has a class of it for CUDA and words for CPU and MPS
        return "out of memory" in str(error) or "can't allocate memory" in str(error)
    return isinstance(error, MemoryError)
