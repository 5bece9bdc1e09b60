"""A measured room response in the form of a simulated one: aligned, cut, with its direct path apart.

What comes earlier than 2.5 ms before the direct path is cut, the response ends where it meets its noise, and
the direct response is a window of 1 ms before to 2.5 ms after the direct path.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from diffsr.errors import DataError
from diffsr.signal.levels import power_db
from diffsr.signal.room_acoustics import direct_path_sample

LEAD_S = 0.0025
"""Kept before the direct path."""
BEFORE_S, AFTER_S = 0.001, 0.0025
"""The direct part of a response reaches this far to both sides of its direct path."""
QUIET_BEFORE_DB = -10.0
"""All energy before the direct part, over that of the direct part, is at most this."""
STRONGEST_LATER_DB = 3.0
"""The strongest later part of the same length, over the direct part, is at most this."""
_FADE_S = 0.0005
_END_FADE_S = 0.01
_BLOCK_S = 0.02
_NOISE_MARGIN_DB = 3.0


def clear_direct_path(response: Tensor, rate_hz: int) -> int:
    """Position of the direct path in the first channel of a response, [C, T].

    Raises:
        DataError: The direct path does not stand out: too much comes before it, or a later part is stronger.
    """
    power = response[0].double().square()
    onset = direct_path_sample(response[0], rate_hz)
    start, stop = max(0, onset - round(BEFORE_S * rate_hz)), onset + round(AFTER_S * rate_hz)
    direct = float(power[start:stop].sum())
    if direct <= 0:
        raise DataError("it is silent")
    before_db = power_db(float(power[:start].sum()) / direct)
    if before_db > QUIET_BEFORE_DB:
        raise DataError(
            f"the energy before its direct path is {before_db:.1f} dB of that of the direct path, "
            f"expected at most {QUIET_BEFORE_DB:.0f} dB"
        )
    later = F.pad(power[stop:], (0, stop - start)).unfold(0, stop - start, 1).sum(-1)
    later_db = power_db(float(later.max()) / direct)
    if later_db > STRONGEST_LATER_DB:
        raise DataError(
            f"a reflection is {later_db:.1f} dB stronger than its direct path, expected at most "
            f"{STRONGEST_LATER_DB:.0f} dB"
        )
    return onset


def align(response: Tensor, onset: int, rate_hz: int) -> tuple[Tensor, Tensor]:
    """Full and direct response, [C, T] and [C, T'], with the direct path at `LEAD_S`.

    Args:
        response: [C, T].
        onset: Position of the direct path.
        rate_hz: Sample rate.
    """
    lead, after = round(LEAD_S * rate_hz), round(AFTER_S * rate_hz)
    full = F.pad(response, (max(0, lead - onset), after))[:, max(0, onset - lead) :]
    full = full[:, : max(lead + after, lead + _length(full[0, lead:], rate_hz))].clone()
    ramp_in = lead - round(BEFORE_S * rate_hz)
    full[:, :ramp_in] *= _ramp(ramp_in)
    direct = full[:, : lead + after].clone()
    fade = round(_FADE_S * rate_hz)
    direct[:, -fade:] *= _ramp(fade).flip(0)
    end = min(round(_END_FADE_S * rate_hz), full.shape[-1] - lead - after)
    if end > 0:
        full[:, -end:] *= _ramp(end).flip(0)
    return full, direct


def _length(response: Tensor, rate_hz: int) -> int:
    """Where a response that starts with its direct path, [T], meets the noise at its end, in samples.

    The last tenth counts as noise. Where it is no noise but decay, or silence, little or nothing is lost.
    """
    block = round(_BLOCK_S * rate_hz)
    level = response[: len(response) // block * block].double().square().unflatten(0, (-1, block)).mean(-1)
    if len(level) < 10:
        return len(response)
    noise = float(level[-max(1, len(level) // 10) :].mean())
    low = level <= noise * 10 ** (_NOISE_MARGIN_DB / 10)
    return int(low.to(torch.uint8).argmax() + 1) * block


def _ramp(n_samples: int) -> Tensor:
    """Rising half of a Hann window, [T]."""
    return 0.5 - 0.5 * torch.cos(math.pi * (torch.arange(n_samples) + 0.5) / n_samples)
