"""Finished sections of a long recording on the disk, so that a run that is stopped loses none."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path

from diffsr.errors import CheckpointError
from diffsr.io.digest import digest_of
from diffsr.io.weights import load_tensors, read_notes, save_tensors
from diffsr.restoration.physics import Physics
from diffsr.restoration.recording import Posed
from diffsr.restoration.result import Restoration
from diffsr.signal.stft import STFT

_NAMED = re.compile(r"\.?[0-9a-f]{40}(\.[0-9a-f]+\.part)?\.safetensors")


class KeptSections:
    """A folder of sections, each under a checksum of what it was made from.

    Args:
        folder: It is made when there is something to keep.
        made_from: Checksum of the whole recording and of everything else that the results depend on.
        stft: Of the noise power among the physics.
    """

    def __init__(self, folder: Path, made_from: str, stft: STFT) -> None:
        self.folder, self.made_from, self.stft = folder, made_from, stft

    def load(self, posed: Posed) -> Restoration | None:
        """A section that is there; None where it is not, or cannot be read."""
        path = self._path(posed)
        try:
            if not path.exists():
                return None
            tensors = {name: tensor.clone() for name, tensor in load_tensors(path, "section").items()}
            notes = json.loads(read_notes(path)["restoration"])
            values = {name: tensors[f"physics.{name}"] for name in notes.pop("physics")}
            places = posed.rows.tolist()
            channels = [posed.channels[place] for place in places]
            physics = Physics(channels, places, posed.prior_hz, self.stft, values) if places else None
            return Restoration(tensors["wave"], samples=tensors.get("samples"), physics=physics, **notes)
        except (CheckpointError, OSError, LookupError, TypeError, ValueError):
            return None

    def save(self, posed: Posed, restoration: Restoration) -> None:
        """Keep a section; where the disk does not take it, it is not kept."""
        values = {} if restoration.physics is None else restoration.physics.values
        tensors = {"wave": restoration.wave, **{f"physics.{name}": value for name, value in values.items()}}
        if restoration.samples is not None:
            tensors["samples"] = restoration.samples
        kept = ("rate_hz", "n_calls", "seconds", "raises_peaks")
        notes = {"physics": list(values), **{name: getattr(restoration, name) for name in kept}}
        with contextlib.suppress(OSError):
            save_tensors(tensors, self._path(posed), {"restoration": json.dumps(notes)})

    def _path(self, posed: Posed) -> Path:
        # Not of waves at the prior's rate and level, whose last digits depend on the number of threads.
        return self.folder / f"{digest_of(self.made_from, posed.start_s, posed.end_s)}.safetensors"


def remove_sections(folder: Path) -> bool:
    """Take away a folder of kept sections, but for what is not theirs; whether any was there."""
    found = False
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if _NAMED.fullmatch(path.name):
                path.unlink(missing_ok=True)
                found = True
        folder.rmdir()
    return found
