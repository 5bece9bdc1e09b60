"""Pairs of clean voices whose tracks change places, leak and lose parts, to train a tracker on.

Each track has a share of each voice in every band: no mixture is made, and none is heard.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from diffsr.speakers.crossing import crossed, cut_tracks, either, smoothed
from diffsr.speakers.pair_bands import PairBands

PART_BANDS, PART_FRAMES = (2, 30), (3, 30)
"""Size of a part that is exchanged in some bands alone."""
FADES = (1, 3, 5, 9)
"""Frames over which tracks change places."""


@dataclass(frozen=True)
class Exchanges:
    """How a pair of voices becomes two tracks; each pair is drawn anew.

    Attributes:
        often_hz: Range of how often a second the tracks change places, log-uniform.
        steady: Share of the pairs whose tracks stay.
        late: Share of the voices that begin late.
        late_share: By how much of the time, at most.
        level: Standard deviation of the logarithm of the power of each voice.
        colour: The same over the bands of a voice, at most.
        parts_hz: How many parts a second are exchanged in some bands alone, at most.
        leak: The largest share of a voice that the other track has.
        cuts_hz: Range of how often a second they are cut, to change places at a seam, log-uniform.
        floor: Range of the noise floor of both tracks relative to their mean power, log-uniform.
    """

    often_hz: tuple[float, float] = (0.15, 5.0)
    steady: float = 0.1
    late: float = 0.4
    late_share: float = 0.25
    level: float = 0.35
    colour: float = 0.8
    parts_hz: float = 7.5
    leak: float = 0.25
    cuts_hz: tuple[float, float] = (2.0, 16.0)
    floor: tuple[float, float] = (1.7e-5, 1.5e-3)


@dataclass(frozen=True)
class Plan:
    """What becomes of two voices `[B, 2, M, N]`, and what is true then.

    Attributes:
        gain: Of the power of each voice in each band `[B, 2, M, N]`.
        exchanged: Share of each voice that is in the other track `[B, 2, M, N]`.
        cut: 1 or -1 at each frame, another order of the tracks, whose changes leave a seam, `[B, N]`.
        floor: Power of the floor of both tracks `[B, M]`, where the mean power of a voice is 1.
        sign: 1 at frames where the first voice is in the first track, -1 where it is in the second, `[B, N]`.
        heard: Power of both voices at each frame over its mean, `[B, N]`.
    """

    gain: Tensor
    exchanged: Tensor
    cut: Tensor
    floor: Tensor
    sign: Tensor
    heard: Tensor

    def first(self, count: int) -> Plan:
        """That of the first pairs alone."""
        return Plan(*(getattr(self, field.name)[:count] for field in fields(self)))

    def of_powers(self, power: Tensor) -> Tensor:
        """Powers of the tracks, as if powers could be exchanged; without the floor."""
        return crossed(self.gain * power, self.exchanged)

    def of_spectra(self, spec: Tensor, band_of_bin: Tensor) -> Tensor:
        """The tracks of the spectra of the voices, `[B, 2, F, N]`, whose bins have the given bands `[F]`."""
        gain = self.gain.sqrt()[:, :, band_of_bin]
        return crossed(gain * spec, self.exchanged[:, :, band_of_bin])

    def of_waves(self, waves: Tensor, bands: PairBands) -> Tensor:
        """The tracks `[B, 2, T]` of the voices `[B, 2, T]`, exchanged in these bands."""
        return bands.stft.inverse(self.of_spectra(bands.stft(waves), bands.band_of_bin), waves.shape[-1])

    def finish(self, power: Tensor) -> Tensor:
        """The powers of tracks as they are when they are cut and have a noise floor."""
        return cut_tracks(power, self.cut) + self.floor[:, None, :, None]


def make_plan(power: Tensor, frames_hz: float, how: Exchanges, rng: torch.Generator) -> Plan:
    """Draw what becomes of voices with these powers `[B, 2, M, N]`, at 1 / `frames_hz` seconds a frame."""
    draw = _Draw(power, rng)
    gain = _gains(power, how, draw)
    heard = (gain * power).sum(1).mean(1)
    leak = _leak(how, draw)[:, :, None]
    parts = _parts(round(how.parts_hz * draw.n_frames / frames_hz), draw)[:, None]
    floor = draw.between(*how.floor)[:, None] * (0.5 * draw.curve(draw.n_bands, 20)).exp()
    often_hz = draw.between(*how.often_hz) * (draw.uniform() >= how.steady)
    sign, cut = (draw.order(often / frames_hz) for often in (often_hz, draw.between(*how.cuts_hz)))
    width = FADES[int(torch.randint(len(FADES), (), generator=rng, device=rng.device))]
    turned = 0.5 - 0.5 * smoothed(sign, width)[:, None, None]
    heard = heard / heard.mean(-1, keepdim=True).clamp_min(1e-12)
    return Plan(gain, either(either(leak, parts), turned), cut, floor, sign * cut, heard)


class _Draw:
    """Random numbers for pairs of one size."""

    def __init__(self, like: Tensor, rng: torch.Generator) -> None:
        self.n_pairs, _, self.n_bands, self.n_frames = like.shape
        self._rng = rng

    def uniform(self, *shape: int) -> Tensor:
        """`[B, *shape]`."""
        return torch.rand(self.n_pairs, *shape, generator=self._rng, device=self._rng.device)

    def normal(self, *shape: int) -> Tensor:
        """`[B, *shape]`."""
        return torch.randn(self.n_pairs, *shape, generator=self._rng, device=self._rng.device)

    def between(self, low: float, high: float) -> Tensor:
        """Log-uniform, `[B]`."""
        return low * (high / low) ** self.uniform()

    def curve(self, size: int, step: int) -> Tensor:
        """A smooth curve of unit variance at every `step`-th place, `[B, size]`."""
        nodes = self.normal(1, size // step + 2)
        return F.interpolate(nodes, size=size, mode="linear", align_corners=True)[:, 0]

    def order(self, often: Tensor) -> Tensor:
        """1 or -1 at each frame, which changes as often a frame as `[B]` says, `[B, N]`."""
        return 1.0 - 2.0 * ((self.uniform(self.n_frames) < often[:, None]).cumsum(-1) % 2)

    def spans(self, count: int, size: int, length: tuple[int, int]) -> Tensor:
        """Which of `size` places lie in each of `count` random spans, bool `[B, count, size]`."""
        start = self.uniform(count, 1) * size
        stop = start + length[0] + self.uniform(count, 1) * (length[1] - length[0])
        place = torch.arange(size, device=start.device)
        return (place >= start.floor()) & (place < stop)


def _gains(power: Tensor, how: Exchanges, draw: _Draw) -> Tensor:
    """Of voices at about one level, coloured anew, some of them late; `[B, 2, M, N]`."""
    level = power.mean((2, 3), keepdim=True).clamp_min(1e-12)
    tilt = torch.stack([draw.curve(draw.n_bands, 20) for _ in range(2)], dim=1)
    change = how.level * draw.normal(2, 1) + how.colour * draw.uniform(2, 1) * tilt
    begins = (draw.uniform(2, 1) < how.late) * how.late_share * draw.uniform(2, 1).square() * draw.n_frames
    is_there = torch.arange(draw.n_frames, device=power.device) >= begins
    return change.exp()[..., None] * is_there[:, :, None] / level


def _leak(how: Exchanges, draw: _Draw) -> Tensor:
    """Share of each voice in the other track, which changes, `[B, 2, N]`."""
    most = how.leak * draw.uniform(2, 1).square()
    return most * torch.stack([(2 * draw.curve(draw.n_frames, 16)).sigmoid() for _ in range(2)], dim=1)


def _parts(most: int, draw: _Draw) -> Tensor:
    """Share of each bin that is exchanged, none, half or all, `[B, M, N]`, in as many parts at most."""
    bands = draw.spans(most, draw.n_bands, PART_BANDS).float()
    count = most * draw.uniform(1).square()
    is_used = torch.arange(most, device=bands.device) < count
    share = is_used * torch.where(draw.uniform(most) < 1 / 3, 0.5, 1.0)
    frames = draw.spans(most, draw.n_frames, PART_FRAMES).float()
    return ((share[..., None] * bands).transpose(1, 2) @ frames).clamp_max(1.0)
