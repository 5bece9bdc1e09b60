"""Many recordings of one length, explained in one batch that fits the memory."""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import torch

from diffsr.diffusion import WindowedPrior
from diffsr.errors import AudioError, DiffsrError
from diffsr.recipes import Recipe
from diffsr.restoration.one_talker import finish_talker, solve_talker
from diffsr.restoration.posterior import Posterior
from diffsr.restoration.progress import part_of
from diffsr.restoration.recording import Posed
from diffsr.restoration.result import Restoration, UnfinishedError
from diffsr.restoration.several_talkers import finish_talkers, solve_talkers
from diffsr.restoration.solved import Solved
from diffsr.samplers.annealed import OnStep

TOO_LONG = (
    "The recording is too long for this device's memory: cut it, or take shorter sections (--section_s 30 on "
    "the command line; of one talker), ask for fewer samples, or use the CPU (--device cpu)."
)


Member = TypeVar("Member", bound=Hashable)


def batches(lengths: Mapping[Member, int], size: int) -> list[list[Member]]:
    """Members of equal length, at most `size` together: member -> length becomes lists of members."""
    of_length: dict[int, list[Member]] = {}
    found: list[list[Member]] = []
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
    problem: DiffsrError = AudioError(TOO_LONG)
    try:
        return _restored(posed, prior, recipe, seed, n_samples, on_step)
    except DiffsrError as error:
        problem = error.with_traceback(None)  # which holds on to the memory
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # Outside of the handlers, which hold on to the memory.
    if len(posed) == 1:
        return [problem]
    try:
        halves = _halves(posed, recipe)
    except DiffsrError as error:
        return [error] * len(posed)
    done: list[Restoration | DiffsrError] = []
    for number, (half, theirs) in enumerate(halves):
        steps = part_of(on_step, number, len(halves))
        done += restore_batch(half, prior, theirs, seed, n_samples, steps)
    return done


def _restored(
    posed: Sequence[Posed],
    prior: WindowedPrior,
    recipe: Recipe,
    seed: int,
    n_samples: int,
    on_step: OnStep | None,
) -> list[Restoration | DiffsrError]:
    """All at once; raises what `restore_batch` answers."""
    started = time.perf_counter()
    waves = torch.cat([one.waves for one in posed])
    ids = [row_id for one in posed for row_id in one.row_ids]
    scaled = recipe.degradation.at_scale(torch.cat([one.scale[:, 0] for one in posed]))
    posterior = Posterior(waves, ids, prior, replace(recipe, degradation=scaled), seed, n_samples)
    solve, finish = solve_talker, finish_talker
    if recipe.n_sources > 1:
        solve, finish = solve_talkers, finish_talkers
    solved, made = solve(posterior, on_step)
    results: list[Restoration | DiffsrError] = []
    first = 0
    for one in posed:
        rows = range(first, first + len(one.rows))
        first = rows.stop
        seconds = one.seconds + (time.perf_counter() - started) / len(posed)
        found, tracks = solved.of(rows), None if made is None else made[list(rows)]
        results.append(_told(finish(one, found, tracks, posterior, seconds), found))
    return results


def _halves(posed: Sequence[Posed], recipe: Recipe) -> list[tuple[Sequence[Posed], Recipe]]:
    """Two halves of recordings; what was given for each goes with it.

    Raises:
        DataError: What was given is not for so many.
    """
    half, n_channels = len(posed) // 2, sum(len(one.rows) for one in posed)
    n_first = sum(len(one.rows) for one in posed[:half])
    parts = ((posed[:half], range(n_first)), (posed[half:], range(n_first, n_channels)))
    return [
        (part, replace(recipe, degradation=recipe.degradation.of(channels, n_channels)))
        for part, channels in parts
    ]


def _told(restoration: Restoration, solved: Solved) -> Restoration | UnfinishedError:
    """As it is, or as an error where the sampler diverged twice."""
    if not solved.failed:
        return restoration
    message = next(iter(solved.failed.values()))
    return UnfinishedError(f"{message} A second try with smaller steps did not help.", restoration)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of the machine or the device does not suffice."""
    if isinstance(error, RuntimeError):  # PyTorch has a class of it for CUDA and words for CPU and MPS
        return "out of memory" in str(error) or "can't allocate memory" in str(error)
    return isinstance(error, MemoryError)
