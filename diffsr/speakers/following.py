"""Where the voices of two tracks change places, found by a voice tracker in recordings of any length."""

from __future__ import annotations

import torch
from torch import Tensor

from diffsr.signal.windows import window_starts
from diffsr.speakers.consistency import evidence, sign_of, signs
from diffsr.speakers.crossing import cut_tracks
from diffsr.speakers.tracking import STACKED, VoiceTracker

WINDOW = 168
"""Times that a tracker hears at once, 8 s; half of them are those of the next window, too."""
N_CUTS, CUTS_HZ = 16, 8.0
"""How many times the tracks are heard, each time cut at random, and how often a second."""
LOUDEST = 3.0
"""Power over its mean beyond which a time counts no more."""


def importance(power_of_both: Tensor) -> Tensor:
    """Weight of times by the power of both tracks over its mean, like `[B, N]`: that of the amplitude."""
    return power_of_both.clamp(0, LOUDEST).sqrt()


def order_evidence(tracker: VoiceTracker, tracks: Tensor, cost: float = 0.0) -> tuple[Tensor, Tensor]:
    """What a tracker says of the order of two tracks `[R, 2, T]`.

    Args:
        tracker: For their rate.
        tracks: What is not finite counts as silence.
        cost: What a change of places takes, in times that are beyond doubt.

    Returns:
        Evidence of every 48 ms, above 0 for one order and below for the other, and its weight, `[R, N]` each.
    """
    power = tracker.bands(torch.where(tracks.isfinite(), tracks, 0.0))
    n_times = power.shape[-1] // STACKED
    power = power[..., : n_times * STACKED]
    heard = power.sum((1, 2)).unflatten(-1, (n_times, STACKED)).mean(-1)
    weight = importance(heard / heard.mean(-1, keepdim=True).clamp_min(torch.finfo(heard.dtype).tiny))
    total, count = torch.zeros_like(weight), torch.zeros_like(weight)
    for start in window_starts(n_times, WINDOW, WINDOW // 2):
        here = slice(start, start + WINDOW)
        direction = directions(tracker, power[..., start * STACKED : (start + WINDOW) * STACKED])
        found = evidence(direction, weight[:, here], cost)
        # Which order is the positive one is free in each window: the one that goes on with what is known.
        total[:, here] += sign_of((total[:, here] * found).sum(-1))[:, None] * found
        count[:, here] += 1
    return total / count, weight


def directions(tracker: VoiceTracker, power: Tensor) -> Tensor:
    """What a tracker says of tracks that are cut at random, put back and side by side, `[R, n, N_CUTS * E]`.

    A search leaves no seam where its tracks change places, and what goes on without a seam sounds like one
    voice. With seams in other places each time all that is left to go by is the voices.

    Args:
        tracker: For their rate.
        power: `[R, 2, M, N]` with N a multiple of 3, see `VoiceTracker`.
    """
    n_times = power.shape[-1] // STACKED
    often = CUTS_HZ * tracker.hop_samples / tracker.rate_hz
    drawn = torch.rand(N_CUTS, n_times, generator=torch.Generator().manual_seed(0)).to(power.device)
    cuts = 1.0 - 2.0 * ((drawn < often).cumsum(1) % 2)
    found = []
    for cut in cuts:
        tracks = cut_tracks(power, cut.repeat_interleave(STACKED).expand(len(power), -1))
        found.append(cut[:, None] * tracker(tracks))
    return torch.cat(found, dim=-1) / N_CUTS**0.5


def changed_places(tracker: VoiceTracker, tracks: Tensor, cost: float = 0.0) -> Tensor:
    """Where the voices of two tracks `[R, 2, T]` have changed places, bool `[R, T]`; the longer side stays.

    Recordings below 48 ms stay as they are.
    """
    n_samples = tracks.shape[-1]
    if n_samples < tracker.hop_samples:
        return torch.zeros(len(tracks), n_samples, dtype=torch.bool, device=tracks.device)
    found, weight = order_evidence(tracker, tracks, cost)
    sign = signs(found, cost)
    changed = sign * sign_of((sign * weight).sum(-1))[:, None] < 0
    last = changed.shape[1] - 1
    # A frame is centred on its time, so that the three of a time reach half a frame further to both sides.
    at = (
        torch.arange(n_samples, device=tracks.device) + tracker.bands.hop_samples // 2
    ) // tracker.hop_samples
    return changed[:, at.clamp_max(last)]
