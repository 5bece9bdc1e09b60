"""Energy decay, reverberation time and direct-to-reverberant ratio of room impulse responses.

    decay(n) = 10 log10( sum_{m >= n} h_m^2 / sum_m h_m^2 )        Schroeder 1965, doi:10.1121/1.1909343
    T60      = 60 dB / slope of decay(n) between -5 and -25 dB      T20 of ISO 3382-1

A measured response ends in noise, which bends the decay. `rt60_s` therefore stops the integration where
the decay meets the noise and adds the energy that an exponential decay would still have had there
(Lundeby et al. 1995, "Uncertainties of measurements in room acoustics").
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

ONSET_RANGE_DB = 10.0
"""The direct path is the first peak at most this far below the largest one (side lobes of a sinc: -13 dB)."""
ONSET_PEAK_S = 0.0005
"""A peak is the largest sample within this time after the first that is in range."""
BLOCK_S = 0.01
"""Blocks in which the noise at the end of a response is looked for."""
NOISE_MARGIN_DB = 10.0
"""The decay must reach this far below the fitted range before it meets the noise (ISO 3382-1)."""


def energy_decay_db(response: Tensor) -> Tensor:
    """Energy that is still to come, in dB relative to the whole, [..., T] -> [..., T].

    0 at the start; -inf after the last sample that is not zero, NaN for silence.
    """
    left = _energy_left(response)
    return (10.0 * (left / left[..., :1]).log10()).to(response.dtype)


def rt60_s(response: Tensor, rate_hz: int, fit_db: tuple[float, float] = (-5.0, -25.0)) -> Tensor:
    """Reverberation time from a line through the energy decay, [..., T] -> float32 [...].

    Args:
        response: Room impulse responses.
        rate_hz: Their sample rate.
        fit_db: Range of the decay that the line is fitted to: T20 by default, (-5, -35) is T30.

    Returns:
        Seconds for 60 dB; NaN for silence, for samples that are not finite, and where the decay does
        not reach the end of the range 10 dB before it meets the noise or the end of the response.
    """
    rows = response.detach().reshape(-1, response.shape[-1]).to("cpu", torch.float64)
    times = [_rt60_of_row(row, rate_hz, fit_db) for row in rows]
    return torch.tensor(times, dtype=torch.float32, device=response.device).reshape(response.shape[:-1])


def drr_db(
    response: Tensor, rate_hz: int, onset_samples: Tensor | None = None, direct_s: float = 0.0025
) -> Tensor:
    """Energy around the direct path over all other energy, in dB, [..., T] -> [...].

    Args:
        response: Room impulse responses.
        rate_hz: Their sample rate.
        onset_samples: Sample of the direct path, int [...]; None to look for it (`direct_path_sample`).
        direct_s: The direct part reaches this far to either side of the onset.

    Returns:
        The ratio; inf without reverberation, NaN for silence.

    References:
        Eaton et al. 2016, the ACE challenge, doi:10.1109/TASLP.2016.2577502.
    """
    found = _direct_paths(response, rate_hz) if onset_samples is None else onset_samples
    onset = found.to(response.device)
    half = round(direct_s * rate_hz)
    distance = torch.arange(response.shape[-1], device=response.device) - onset[..., None]
    power = response.square()
    is_direct = distance.abs() <= half
    return 10.0 * ((power * is_direct).sum(-1) / (power * ~is_direct).sum(-1)).log10()


def direct_path_sample(response: Tensor, rate_hz: int) -> int:
    """Position of the first clear peak of one response, [T]: the direct path, where there is one.

    The first sample within 10 dB of the largest peak starts it, the largest sample of the next 0.5 ms
    is it. An earlier peak may be lower than a later reflection, but not by more than these 10 dB.
    """
    size = response.abs().nan_to_num()
    if size.numel() == 0:
        return 0
    start = int((size >= size.max() * 10.0 ** (-ONSET_RANGE_DB / 20.0)).to(torch.uint8).argmax())
    return start + int(size[start : start + max(1, round(ONSET_PEAK_S * rate_hz)) + 1].argmax())


def _direct_paths(response: Tensor, rate_hz: int) -> Tensor:
    rows = response.detach().reshape(-1, response.shape[-1])
    found = [direct_path_sample(row, rate_hz) for row in rows]
    return torch.tensor(found, dtype=torch.long).reshape(response.shape[:-1])


def _energy_left(response: Tensor) -> Tensor:
    # In float64: the tail is a hundred million times smaller than the whole. MPS has no float64.
    power = (response.cpu() if response.device.type == "mps" else response).double().square()
    return power.flip(-1).cumsum(-1).flip(-1).to(response.device)


def _rt60_of_row(response: Tensor, rate_hz: int, fit_db: tuple[float, float]) -> float:
    if not bool(response.isfinite().all()) or not bool(response.any()):
        return math.nan
    power = response[direct_path_sample(response, rate_hz) :].square()
    end, missing = _knee(power, max(1, round(BLOCK_S * rate_hz)))
    left = _energy_left(power[:end].sqrt()) + missing
    decay = 10.0 * (left / left[0]).log10()
    high, low = fit_db
    # Beyond the knee lie the missing energy and the noise: the range must end well above them.
    if missing > 0 and 10.0 * math.log10(missing / float(left[0])) > low - NOISE_MARGIN_DB:
        return math.nan
    inside = ((decay <= high) & (decay >= low)).nonzero()[:, 0]
    if len(inside) < 2 or float(decay[-1]) > low:
        return math.nan
    return -60.0 / (_slope(inside.double(), decay[inside]) * rate_hz)


def _slope(x: Tensor, y: Tensor) -> float:
    """Slope of the line through points, by least squares."""
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / x.square().sum())


def _knee(power: Tensor, block: int) -> tuple[int, float]:
    """Where a decay meets the noise, in samples, and the energy of an endless decay after that.

    The end of the response counts as noise at first. A decay that is simply cut there meets its own
    last level at the very end, so such a response is used as a whole. Where nothing stands out of the
    noise, the missing energy is infinite.
    """
    n_blocks = len(power) // block
    shortest = max(1, n_blocks // 10)
    level = power[: n_blocks * block].unflatten(0, (n_blocks, block)).mean(-1)
    level = level.clamp_min(1e-30 * float(power.max()))
    level_db, noise_from = 10.0 * level.log10(), n_blocks - shortest
    knee = len(power), 0.0
    for _ in range(5 if n_blocks else 0):
        noise_db = 10.0 * math.log10(float(level[noise_from:].mean()))
        if float(level_db.max()) < noise_db + NOISE_MARGIN_DB:
            return len(power), math.inf
        stop = int((level_db >= noise_db + 6.0).to(torch.uint8).cumprod(0).sum())
        start = max(0, min(stop - 3, int((level_db[:stop] > noise_db + 30.0).sum())))
        if stop - start < 3:
            break
        decay_db = -_slope(torch.arange(start, stop, dtype=torch.float64), level_db[start:stop])
        if decay_db <= 0:
            break
        above_db = float(level_db[start:stop].mean()) - noise_db
        end = min(n_blocks, max(stop, round((start + stop - 1) / 2 + above_db / decay_db)))
        knee = end * block, 10.0 ** (noise_db / 10.0) * block * 10.0 / (math.log(10.0) * decay_db)
        noise_from = min(n_blocks - shortest, end + round(5.0 / decay_db))
    return knee
