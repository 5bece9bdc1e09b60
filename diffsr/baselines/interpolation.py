"""Lost samples by classical interpolation: cubic splines, straight lines, and autoregressive models."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffsr.baselines.base import as_recording, for_every_talker
from diffsr.signal.damage import TOLERANCE, estimate_threshold, find_gaps

Samples = NDArray[np.float64]
Mask = NDArray[np.bool_]

ORDER = 32
N_ITERATIONS = 3
CONTEXT_S = 0.064
BLOCK_S = 0.032
LONGEST_S = 0.1
"""Longer runs get straight lines: predicted samples have died away, and the equations grow."""
_RIDGE = 1e-9
HIGHEST_RATIO = 4.0
"""Samples are put up to this much above the level at which they were clipped; splines swing far beyond."""


class Declip:
    """Clipped samples of the first microphone are lost and interpolated, then kept above the level.

    The level is that at which samples pile up; without one the recording passes unchanged.

    Args:
        method: `cubic` (spline through the others), `linear` or `ar` (see `autoregressive`).
    """

    def __init__(self, method: str = "cubic") -> None:
        self.name, self._fill = f"declip_{method}", FILLS[method]

    def __call__(self, observation: Tensor, rate_hz: int, n_talkers: int) -> Tensor:
        """See `System`."""
        wave = as_recording(observation, n_talkers)[:1]
        level = float(estimate_threshold(wave[None])[0]) if wave.numel() else float("nan")
        lost = wave[0].abs() >= (1 - TOLERANCE) * level
        filled = _filled(wave[0], lost, rate_hz, self._fill)
        beyond = (filled * wave[0].sign()).clamp(level, HIGHEST_RATIO * level) * wave[0].sign()
        return for_every_talker(torch.where(lost, beyond, wave[0]), n_talkers)

    def describe(self) -> dict[str, str]:
        """See `System`."""
        return _describe(self.name)


class FillGaps:
    """Runs of zeros of the first microphone are lost and interpolated.

    Args:
        method: `linear` or `ar` (see `autoregressive`).

    References:
        Janssen, Veldhuis and Vries 1986, IEEE TASSP 34(2), for `ar`.
    """

    def __init__(self, method: str = "ar") -> None:
        self.name, self._fill = f"gaps_{method}", FILLS[method]

    def __call__(self, observation: Tensor, rate_hz: int, n_talkers: int) -> Tensor:
        """See `System`."""
        wave = as_recording(observation, n_talkers)[:1]
        lost = find_gaps(wave[None], rate_hz)[0] if wave.numel() else torch.zeros(0, dtype=torch.bool)
        return for_every_talker(_filled(wave[0], lost, rate_hz, self._fill), n_talkers)

    def describe(self) -> dict[str, str]:
        """See `System`."""
        return _describe(self.name)


def linear(wave: Samples, lost: Mask, rate_hz: int) -> Samples:
    """A straight line through each run of lost samples."""
    times = np.arange(len(wave))
    return np.interp(times, times[~lost], wave[~lost])


def cubic(wave: Samples, lost: Mask, rate_hz: int) -> Samples:
    """A cubic spline through the samples that are left."""
    from scipy.interpolate import CubicSpline

    times = np.arange(len(wave))
    if (~lost).sum() < 4:
        return linear(wave, lost, rate_hz)
    return np.asarray(CubicSpline(times[~lost], wave[~lost])(times))


def autoregressive(wave: Samples, lost: Mask, rate_hz: int) -> Samples:
    """The samples with the least error of linear prediction, alternating with its coefficients.

    In blocks of 32 ms with 64 ms around them, order 32, three iterations. A block ends with a run; runs of
    more than 100 ms get straight lines.
    """
    context, block, longest = (round(s * rate_hz) for s in (CONTEXT_S, BLOCK_S, LONGEST_S))
    ends = np.flatnonzero(np.diff(np.concatenate([[False], lost, [False]]).astype(int)))
    is_long = np.zeros(len(wave), dtype=bool)
    for start, end in ends.reshape(-1, 2):
        is_long[start:end] = end - start > longest
    wave, lost = np.where(is_long, linear(wave, lost, rate_hz), wave), lost & ~is_long
    out, done = np.where(lost, 0.0, wave), 0
    for first in np.flatnonzero(lost).tolist():
        if first < done:
            continue
        done = min(first + block, len(wave))
        while done < len(wave) and lost[done]:
            done += 1
        start, end = max(first - context, 0), min(done + context, len(wave))
        known = out[start:end]
        # Blocks before this one are filled already.
        missing = lost[start:end] & (np.arange(start, end) >= first)
        solved = _least_prediction_error(known, missing)
        out[first:done] = solved[first - start : done - start]
    return out


def _least_prediction_error(wave: Samples, missing: Mask) -> Samples:
    from scipy.linalg import solve, solve_toeplitz

    order = min(ORDER, len(wave) // 3)
    x = wave.copy()
    if order < 1 or missing.all() or not wave.any():
        return x
    places = np.flatnonzero(missing)
    lag = np.abs(places[:, None] - np.arange(len(x)))
    for _ in range(N_ITERATIONS):
        correlation = _correlation(x, order)
        correlation[0] *= 1 + _RIDGE
        prediction = solve_toeplitz(correlation[:-1], correlation[1:])
        of_filter = _correlation(np.concatenate([[1.0], -prediction]), order)
        # Row by row what the errors of prediction say of a missing sample.
        gram = np.concatenate([of_filter, [0.0]])[np.minimum(lag, order + 1)]
        right = -gram[:, ~missing] @ wave[~missing]
        x[missing] = solve(gram[:, missing], right, assume_a="pos")
    return x


def _correlation(x: Samples, order: int) -> Samples:
    """Of lags 0 to order."""
    return np.array([x[: len(x) - lag] @ x[lag:] for lag in range(order + 1)])


def _filled(
    wave: Tensor, lost: Tensor, rate_hz: int, fill: Callable[[Samples, Mask, int], Samples]
) -> Tensor:
    if not bool(lost.any()) or bool(lost.all()):
        return wave
    filled = fill(wave.double().numpy(), lost.numpy(), rate_hz)
    return torch.where(lost, torch.from_numpy(filled).to(wave), wave)


def _describe(name: str) -> dict[str, str]:
    settings = f"order {ORDER}, {N_ITERATIONS} iterations" if name.endswith("_ar") else "none"
    return {"system": name, "settings": settings, "output": "microphone 1"}


FILLS: dict[str, Callable[[Samples, Mask, int], Samples]] = {
    "linear": linear,
    "cubic": cubic,
    "ar": autoregressive,
}
"""Name of a method -> what fills lost samples."""
