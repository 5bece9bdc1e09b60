"""Damage without noise: clipping, lost packets, missing upper bands."""

from __future__ import annotations

from diffsr.tasks.restoration import RestorationModule


class RepairModule(RestorationModule):
    """Undoes one known kind of damage; what was recorded stays. Arguments: `RestorationModule`.

    The `degradation` says which: `Clipping` and `PacketLoss` are found in each recording.
    """
