"""Many recordings of one length, explained in one batch."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffsr.diffusion import Prior, WindowedPrior
from diffsr.errors import AudioError, DiffsrError
from diffsr.recipes import Recipe
from diffsr.restoration.physics import Physics
from diffsr.restoration.recording import Posed
from diffsr.restoration.result import Restoration, UnfinishedError
from diffsr.restoration.talkers import Talkers
from diffsr.samplers import AnnealedSampler, Problem, RowNoise
from diffsr.samplers.annealed import OnStep
from diffsr.samplers.divergence import DivergedError
from diffsr.typing import Denoiser

OVERLAP_S = 0.512
TOO_LONG = (
    "The recording is too long for this device's memory: cut it, ask for fewer samples, or use the CPU "
    "(--device cpu on the command line)."
)


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

    def of(self, channels: slice) -> Solved:
        """Some of the channels."""
        described = {name: value[channels] for name, value in self.described.items()}
        failed = {
            k - channels.start: text for k, text in self.failed.items() if channels.start <= k < channels.stop
        }
        return Solved(self.x[channels], self.n_calls[channels], described, failed, self.scores[channels])


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
    prior: Prior,
    recipe: Recipe,
    seed: int,
    n_samples: int,
    on_step: OnStep | None = None,
) -> list[Restoration | DiffsrError]:
    """Restore recordings of one length together; in halves where the memory does not suffice.

    Returns:
        For each the restoration, an `UnfinishedError` where the sampler diverged twice, or an `AudioError`
        where it is too long for the memory even by itself.
    """
    started = time.perf_counter()
    windowed = WindowedPrior(prior, prior.window_s, overlap_s=min(OVERLAP_S, prior.window_s / 4))
    waves = torch.cat([one.waves for one in posed])
    ids = [row_id for one in posed for row_id in one.row_ids]
    solved = None
    try:
        solved = solve(waves, ids, windowed, recipe, seed, n_samples, on_step)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    if solved is None and len(posed) == 1:
        return [AudioError(TOO_LONG)]
    if solved is None:  # outside of the handler, which holds on to the memory
        half = len(posed) // 2
        parts = (posed[:half], posed[half:])
        return [one for part in parts for one in restore_batch(part, prior, recipe, seed, n_samples, on_step)]
    results: list[Restoration | DiffsrError] = []
    first = 0
    for one in posed:
        rows = slice(first, first + len(one.rows))
        seconds = one.seconds + (time.perf_counter() - started) / len(posed)
        finish = _separated if recipe.n_sources > 1 else _finished
        results.append(_told(finish(one, solved.of(rows), recipe, n_samples, seconds), solved.of(rows)))
        first = rows.stop
    return results


def _finished(posed: Posed, solved: Solved, recipe: Recipe, n_samples: int, seconds: float) -> Restoration:
    """One recording of one talker, back at its rate and level."""
    samples, out_hz = posed.put_back(solved.x[:, :, 0], recipe.degradation.extends_band)
    places = posed.rows.tolist()
    numbers = [posed.numbers[place] for place in places]
    stft = recipe.likelihood.stft
    return Restoration(
        mean_of(samples),
        out_hz,
        max(solved.n_calls, default=0),
        seconds,
        recipe.degradation.raises_peaks,
        samples if n_samples > 1 else None,
        Physics.of(numbers, places, posed.prior_hz, stft, solved.described, posed.scale) if places else None,
    )


def _separated(posed: Posed, solved: Solved, recipe: Recipe, n_samples: int, seconds: float) -> Restoration:
    """The talkers of one recording, back at its rate and level; noise and room of the best restart."""
    is_heard = len(posed.rows) > 0
    scores = solved.scores[0] if is_heard else torch.full((n_samples,), math.nan)
    restarts, joined = posed.put_back_talkers(solved.x, recipe.n_sources), None
    if recipe.joiner is not None and is_heard and n_samples > 1:
        made = recipe.joiner(solved.x[0], scores, posed.prior_hz)
        joined = posed.put_back_talkers(made[None, None], recipe.n_sources)[0]
    talkers, result, restarts = Talkers.of(restarts, scores.tolist(), posed.wave[0], posed.rate_hz, joined)
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

    Channels in which the sampler diverges are tried once more with smaller steps (`gentler`).
    """
    if not ids:
        nothing = waves.new_zeros(0, n_samples, recipe.n_sources, waves.shape[-1])
        return Solved(nothing, [], {}, {}, torch.empty(0, n_samples))
    solved = _solve(recipe.sampler, waves, ids, prior, recipe, seed, n_samples, on_step)
    if not solved.failed:
        return solved
    lost = sorted(solved.failed)
    gentler = recipe.sampler.gentler()
    again = _solve(gentler, waves[lost], [ids[k] for k in lost], prior, recipe, seed, n_samples, None)
    for name, value in again.described.items():
        solved.described[name][lost] = value
    solved.x[lost], solved.scores[lost] = again.x, again.scores
    calls = list(solved.n_calls)
    for place, k in enumerate(lost):
        calls[k] += again.n_calls[place]
    failed = {lost[k]: message for k, message in again.failed.items()}
    return Solved(solved.x, calls, solved.described, failed, solved.scores)


def _solve(
    sampler: AnnealedSampler,
    waves: Tensor,
    ids: Sequence[str],
    prior: Denoiser,
    recipe: Recipe,
    seed: int,
    n_samples: int,
    on_step: OnStep | None,
) -> Solved:
    noise = RowNoise(seed, ids, n_samples)
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
    return Solved(x, [samples.n_calls * n_samples] * len(waves), described, failed, scores)


def _described(problem: Problem) -> dict[str, Tensor]:
    """The physics of each row on the CPU, `[rows, ...]`; what the rows share is repeated."""
    found = problem.likelihood.describe() | problem.degradation.describe()
    n_rows = problem.y.shape[0]
    return {
        name: value.detach().cpu().expand(n_rows, *value.shape[1:]).clone() for name, value in found.items()
    }


def mean_of(samples: Tensor) -> Tensor:
    """Mean over the first dimension; exact where all are equal."""
    return samples[0] + (samples - samples[0]).mean(0)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of the machine or the device does not suffice."""
    if isinstance(error, RuntimeError):  # PyTorch has a class of it for CUDA and words for CPU and MPS
        return "out of memory" in str(error) or "can't allocate memory" in str(error)
    return isinstance(error, MemoryError)
