"""Noise: one talker, no room."""

from __future__ import annotations

from diffsr.tasks.restoration import RestorationModule


class EnhanceModule(RestorationModule):
    """Removes noise, whose power is estimated from each recording itself. Arguments: `RestorationModule`."""
