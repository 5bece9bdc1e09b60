"""What was found out about a recording beside its speech: noise, room, gain and device."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffsr.restoration.spread import variance_of
from diffsr.signal.levels import power_db
from diffsr.signal.room_acoustics import drr_db, rt60_s
from diffsr.signal.stft import STFT

NOISE_POWER, ROOM_RESPONSE = "noise_power", "room_response"
POWER_OF_LEVEL = {NOISE_POWER: 2, "clipping_threshold": 1}
"""Quantities that grow with the level of the recording, and with which power of it."""
_BY_THEMSELVES = (NOISE_POWER, ROOM_RESPONSE)
_OF_ROOM = ("rt60_s", "rt60_at_limit", "room_level_db", "band_hz", "early_reflections_db")


@dataclass(frozen=True)
class Physics:
    """Estimates of the observation model for the K channels that were restored, each with R samples.

    Attributes:
        channels: Their numbers in the recording, or `mean`.
        places: Their places among the channels of the restoration.
        rate_hz: Rate of the prior, at which they were estimated.
        stft: That of `noise_power`.
        values: Name with unit -> `[K, R, ...]`, as `Degradation.describe` and `Likelihood.describe` have
            them, at the level of the recording: `noise_power [K, R, F, N]` in STFT bins,
            `room_response [K, R, S, C, L]`, `rt60_s`, `gain_db`, `cutoff_hz` ...
    """

    channels: Sequence[int | str]
    places: Sequence[int]
    rate_hz: int
    stft: STFT
    values: Mapping[str, Tensor]

    @classmethod
    def of(
        cls,
        channels: Sequence[int | str],
        places: Sequence[int],
        rate_hz: int,
        stft: STFT,
        values: Mapping[str, Tensor],
        scale: Tensor,
    ) -> Physics:
        """From values at the level of the prior, where the recording was multiplied by `scale [K, 1]`."""
        back = {name: scale[:, 0].cpu() ** -power for name, power in POWER_OF_LEVEL.items()}
        levelled = {
            name: value * back[name].reshape(-1, *[1] * (value.ndim - 1)) if name in back else value
            for name, value in values.items()
        }
        return cls(channels, places, rate_hz, stft, levelled)

    @property
    def frequency_hz(self) -> Tensor:
        """Centres of the bins `[F]`."""
        return torch.arange(self.stft.n_bins) * (self.rate_hz / self.stft.n_fft)

    @property
    def noise_psd(self) -> Tensor | None:
        """Power spectral density of the noise, mean over time and samples, `[K, F]`.

        One-sided, in squares of full scale per Hz, so that its integral over frequency is the mean square.
        None for models without noise power.
        """
        power = self.values.get(NOISE_POWER)
        if power is None:
            return None
        return one_sided_psd(power.mean((1, 3)).expand(-1, self.stft.n_bins), self.stft, self.rate_hz)

    @property
    def noise_level_db(self) -> Tensor | None:
        """RMS of the noise in dB re full scale, `[K]`."""
        psd = self.noise_psd
        return None if psd is None else power_db(psd.sum(1) * self.rate_hz / self.stft.n_fft)

    @property
    def room_response(self) -> Tensor | None:
        """Response from the first talker to the first microphone, of the first sample, `[K, L]`.

        Its direct path is at 0 with the factor 1. The first sample stands for all, as phases average out.
        """
        response = self.values.get(ROOM_RESPONSE)
        return None if response is None else response[:, 0, 0, 0]

    def summary(self) -> list[dict[str, Any]]:
        """One dictionary of numbers and lists for each channel, rounded, for JSON."""
        return [self._summary(place) for place in range(len(self.channels))]

    def _summary(self, place: int) -> dict[str, Any]:
        found: dict[str, Any] = {"channel": self.channels[place]}
        psd, level_db, response = self.noise_psd, self.noise_level_db, self.room_response
        if psd is not None and level_db is not None:
            found["noise"] = {
                "level_db": _number(level_db[place]),
                "frequency_hz": _list(self.frequency_hz),
                "psd_db_per_hz": _list(power_db(psd[place])),
            }
        if response is not None:
            at_start = torch.tensor(0)
            found["room"] = {
                "rt60_s": _number(rt60_s(response[place], self.rate_hz)),
                "drr_db": _number(drr_db(response[place], self.rate_hz, at_start)),
            }
        for name, value in self.values.items():
            if name in _BY_THEMSELVES:
                continue
            home = found["room"] if name in _OF_ROOM and "room" in found else found
            home |= _of_samples(f"{name}_of_bands" if name == "rt60_s" else name, value[place])
        return found


def _of_samples(name: str, value: Tensor) -> dict[str, Any]:
    """Mean over the samples `[R, ...]`, and their standard deviation where they differ."""
    if value.dtype == torch.bool:
        return {f"{name}_share": _number(value.float().mean())}
    flat = value.float().reshape(len(value), -1)
    found = {name: _plain(flat.mean(0))}
    if len(flat) > 1 and bool((flat != flat[0]).any()):
        found[f"{name}_std"] = _plain(variance_of(flat).sqrt())
    return found


def one_sided_psd(bin_power: Tensor, stft: STFT, rate_hz: int) -> Tensor:
    """Mean power of STFT bins `[..., F]` -> power per Hz whose integral over frequency is the mean square."""
    both = torch.full((stft.n_bins,), 2.0)
    both[0] = 1.0  # 0 Hz and half the rate have no mirror image
    if stft.n_fft % 2 == 0:
        both[-1] = 1.0
    return both * bin_power / (stft.window_energy * rate_hz)


def _plain(values: Tensor) -> float | None | list[float | None]:
    return _number(values[0]) if len(values) == 1 else _list(values)


def _list(values: Tensor) -> list[float | None]:
    return [_number(value) for value in values]


def _number(value: Tensor) -> float | None:
    """Four digits; None (null in JSON) for what cannot be told."""
    found = float(value)
    return float(f"{found:.4g}") if math.isfinite(found) else None
