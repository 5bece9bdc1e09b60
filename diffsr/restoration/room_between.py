"""A room that was found twice: among the talkers, and by each of them."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from diffsr.degradations import BlindRoom
from diffsr.signal.room_acoustics import rt60_s


def halfway(described: Mapping[str, Tensor], times_s: Tensor, room: BlindRoom) -> dict[str, Tensor]:
    """Physics whose T60 is the geometric mean of its own and of another one.

    A search among talkers takes what it cannot tell for reverberation, and finds a room too long; a talker
    who was told apart has lost some of his, and his room is found too short (docs/joint.md). All bands of a
    room are changed by one factor; levels stay. Of the response only the decays are kept, so the room must be
    one that has no phases of its own (that of `LatePrediction`).

    Args:
        described: That of recordings and restarts, see `BlindRoom.describe`: name -> `[K, R, ...]`.
        times_s: The other T60 `[K]`, NaN where there is none.
        room: As it was described.
    """
    if "rt60_s" not in described:
        return dict(described)
    shape, n_sources = described["rt60_s"].shape[:2], described["rt60_s"].shape[2]
    own = rt60_s(described["room_response"][:, :, :, 0], room.rate_hz).nanmean(-1)
    factor = (times_s.to(own)[:, None] / own).sqrt().nan_to_num(1.0)
    if bool(times_s.isnan().all()):
        return dict(described)
    other = BlindRoom(room.rate_hz, room.longest_rt60_s)
    other.reset(own.new_zeros(own.numel(), 1, 1), n_sources)
    bands = (described["rt60_s"] * factor[..., None, None], described["room_level_db"])
    other.take_over(*(values.flatten(0, 1) for values in bands))
    return {**described, **{name: value.unflatten(0, shape) for name, value in other.describe().items()}}
