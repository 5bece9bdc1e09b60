"""How noise goes on over time: it lasts, drifts, ticks, or comes in bursts."""

from __future__ import annotations

import torch
from torch import Tensor

from diffsr.noise.chance import between, by_ratio, smooth_curves

MOST_EVENTS_HZ = 12.0
QUIET_DB = -60.0


def random_courses_db(n: int, n_frames: int, frames_hz: float, rng: torch.Generator) -> Tensor:
    """Levels over time, `[n, N]`: a fifth lasts, a fifth drifts, a fifth ticks, the others burst."""
    kind = torch.randint(5, (n,), generator=rng, device=rng.device)
    drift = smooth_curves(by_ratio(3, 250, n, rng), n_frames, rng) * between(2, 8, n, rng)[:, None]
    events = _events_db(kind == 3, n_frames, frames_hz, rng)
    return torch.where((kind >= 2)[:, None], events, drift * (kind == 1)[:, None])


def _events_db(is_regular: Tensor, n_frames: int, frames_hz: float, rng: torch.Generator) -> Tensor:
    """Sounds that rise, stay and fall, at random times or regularly; the loudest counts, `[n, N]`."""
    n, most = len(is_regular), int(MOST_EVENTS_HZ * n_frames / frames_hz) + 1
    rate_hz, order = by_ratio(0.3, MOST_EVENTS_HZ, n, rng)[:, None], torch.arange(most, device=rng.device)
    at_random = torch.rand(n, most, generator=rng, device=rng.device) * n_frames
    period = frames_hz / rate_hz
    regular = period * (torch.rand(n, 1, generator=rng, device=rng.device) + order)
    start = torch.where(is_regular[:, None], regular, at_random)
    is_there = order < (rate_hz * n_frames / frames_hz).clamp_min(1)
    level = between(0, 8, n, rng)[:, None] * torch.randn(n, most, generator=rng, device=rng.device)
    rise, stay, fall = (part[:, None, None] for part in _shape(n, frames_hz, rng))
    after = torch.arange(n_frames, device=rng.device) - start[:, :, None]
    shape = torch.where(after < 0, 30 * after / rise, -30 * (after - stay).clamp_min(0) / fall)
    heard = torch.where(is_there[:, :, None], shape + level[:, :, None], QUIET_DB)
    return heard.amax(1).clamp_min(QUIET_DB)


def _shape(n: int, frames_hz: float, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Frames for 30 dB up, of staying, and for 30 dB down, `[n]` each; many rise at once or do not stay."""
    rise, stay = by_ratio(0.3, 30, n, rng), by_ratio(0.3, 60, n, rng)
    is_sudden, is_short = (torch.rand(n, generator=rng, device=rng.device) < share for share in (0.4, 0.5))
    fall = by_ratio(0.02, 1.0, n, rng) * frames_hz
    return torch.where(is_sudden, 0.3, rise), torch.where(is_short, 0.0, stay), fall
