"""One rendered room on disk: responses and the numbers that made them, with a checksum."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from diffsr.errors import DataError
from diffsr.io.atomic import replacing
from diffsr.simulation.plan import Room, room_from_row
from diffsr.simulation.responses import Responses

HEADER_BYTES = 4096
"""More than what a file holds besides samples."""


def room_to_text(room: Room) -> str:
    """The room as one line of JSON."""
    return json.dumps(asdict(room))


def room_from_text(text: str) -> Room:
    """The room of a line of `room_to_text`.

    Raises:
        ValueError, TypeError: The text is of another kind.
    """
    return room_from_row(json.loads(text))


def write_room(path: Path, room: Room, responses: Responses, rate_hz: int) -> None:
    """Write a room completely or not at all.

    Raises:
        OSError: The file cannot be written.
    """
    tensors = {"full": responses.full.contiguous(), "direct": responses.direct.contiguous()}
    known = {
        "room": asdict(room),
        "rate_hz": rate_hz,
        "onset_samples": responses.onset_samples,
        "crc32": _checksum(tensors),
    }
    # One entry: safetensors writes several in an order of its own, and equal rooms should be equal files.
    content = safetensors.torch.save(tensors, metadata={"diffsr": json.dumps(known)})
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def read_room(path: Path) -> tuple[Room, Responses, int]:
    """The room, its responses and their rate.

    Raises:
        DataError: The file is missing, damaged or of another kind.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            known = json.loads((file.metadata() or {})["diffsr"])
            tensors = {name: file.get_tensor(name) for name in ("full", "direct")}
        room, rate_hz = room_from_row(known["room"]), int(known["rate_hz"])
        onsets = tuple(known["onset_samples"])
    except (OSError, safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path} is not a room that can be read ({error})") from error
    if known.get("crc32") != _checksum(tensors):
        raise DataError(f"{path} is damaged (its checksum differs)")
    return room, Responses(tensors["full"], tensors["direct"], onsets), rate_hz


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    value = 0
    for name in sorted(tensors):
        value = zlib.crc32(tensors[name].numpy().data, value)
    return f"{value:08x}"
