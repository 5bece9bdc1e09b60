"""A room around the talker, alone or with noise."""

from __future__ import annotations

from diffsr.tasks.restoration import RestorationModule


class DereverbModule(RestorationModule):
    """Removes the reverberation of an unknown or a known room. Arguments: `RestorationModule`.

    The `degradation` says which: `LatePrediction` and `BlindRoom` are found in each recording, `RoomFile` is
    a measured response. With noise the `likelihood` is `NMFNoise`.
    """
