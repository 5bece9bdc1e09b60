"""The frames in which rooms are modelled: their noise models, WPE and room responses must have the same."""

from __future__ import annotations

HOP_S = 0.008
OVERLAP = 4
"""Hops in a window, so that a window of 32 ms has an exact inverse at any rate."""


def room_frames(rate_hz: int) -> tuple[int, int]:
    """Window and hop in samples."""
    hop_samples = max(1, round(HOP_S * rate_hz))
    return OVERLAP * hop_samples, hop_samples
