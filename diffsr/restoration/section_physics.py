"""What was found in the sections of a recording, as that of all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from diffsr.restoration.physics import NOISE_POWER, ROOM_RESPONSE, Physics
from diffsr.signal.room_acoustics import rt60_s


def mean_noise(physics: Physics) -> Physics:
    """With the mean of the noise over its frames in place of each, which of an hour would fill memory."""
    values = dict(physics.values)
    if (power := values.get(NOISE_POWER)) is not None:
        values[NOISE_POWER] = power.mean(-1, keepdim=True)
    return replace(physics, values=values)


def over_sections(parts: Sequence[Physics]) -> Physics | None:
    """Means over sections of equal length (`mean_noise`), each of those that have the channel; None of none.

    The noise has one frame for each section, its mean there. The response is that of the section whose
    reverberation time is the median, as phases of several would cancel.
    """
    if not parts:
        return None
    channels = {
        place: channel for one in parts for place, channel in zip(one.places, one.channels, strict=True)
    }
    places = sorted(channels)
    values = {name: _over(name, parts, places) for name in parts[0].values}
    return replace(parts[0], channels=[channels[place] for place in places], places=places, values=values)


def _over(name: str, parts: Sequence[Physics], places: Sequence[int]) -> Tensor:
    """One value of all channels `[K, R, ...]`."""
    per_channel = [
        [one.values[name][list(one.places).index(place)] for one in parts if place in one.places]
        for place in places
    ]
    if name == ROOM_RESPONSE:
        return torch.stack([_median_response(found, parts[0].rate_hz) for found in per_channel])
    if name == NOISE_POWER:
        of_each = [torch.cat(found, -1) for found in per_channel]
        longest = max(one.shape[-1] for one in of_each)
        return torch.stack([_repeated_to(one, longest) for one in of_each])
    mean = _mean_level if name.endswith("_db") else _mean
    return torch.stack([mean(found) for found in per_channel])


def _mean(found: Sequence[Tensor]) -> Tensor:
    """Of what can be told; of yes and no what most say."""
    mean = torch.stack([one.float() for one in found]).nanmean(0)
    return mean >= 0.5 if found[0].dtype == torch.bool else mean.to(found[0].dtype)


def _mean_level(found: Sequence[Tensor]) -> Tensor:
    """Of levels in dB: that of the mean power, as minus infinity is no power."""
    return 10 * _mean([10 ** (one / 10) for one in found]).log10()


def _median_response(found: Sequence[Tensor], rate_hz: int) -> Tensor:
    """`[R, S, C, L]` of the section whose reverberation time is the median."""
    times = [float(rt60_s(one[0, 0, 0], rate_hz)) for one in found]
    order = sorted(range(len(found)), key=lambda number: (times[number] != times[number], times[number]))
    n_told = sum(time == time for time in times)
    return found[order[max(n_told - 1, 0) // 2]]


def _repeated_to(power: Tensor, n_frames: int) -> Tensor:
    """With the mean over its frames in place of those of sections where the channel was silent."""
    missing = power.mean(-1, keepdim=True).expand(*power.shape[:-1], n_frames - power.shape[-1])
    return torch.cat([power, missing], -1)
