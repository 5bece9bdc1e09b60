"""Finished sections of a long recording on the disk, so that a run that is stopped loses none."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path

from diffsr.errors import CheckpointError
from diffsr.io.digest import digest_of
from diffsr.io.weights import load_tensors, read_notes, save_tensors
from diffsr.restoration.physics import Physics
from diffsr.restoration.recording import Posed
from diffsr.restoration.result import Restoration
from diffsr.signal.stft import STFT

PHYSICS = "physics."


class KeptSections:
    """A folder of sections, each under a checksum of what it was made from.

    Args:
        folder: It is made when there is something to keep.
        made_with: Checksum of everything else that the result depends on.
        stft: Of the noise power among the physics.
    """

    def __init__(self, folder: Path, made_with: str, stft: STFT) -> None:
        self.folder, self.made_with, self.stft = folder, made_with, stft

    def load(self, posed: Posed) -> Restoration | None:
        """A section that is there; None where it is not, or cannot be read."""
        path = self._path(posed)
        if not path.exists():
            return None
        try:
            tensors = load_tensors(path, "section")
            notes = json.loads(read_notes(path)["restoration"])
        except (CheckpointError, KeyError, ValueError):
            return None
        values = {
            name.removeprefix(PHYSICS): tensor for name, tensor in tensors.items() if name.startswith(PHYSICS)
        }
        places = posed.rows.tolist()
        channels = [posed.channels[place] for place in places]
        physics = Physics(channels, places, posed.prior_hz, self.stft, values) if places else None
        return Restoration(tensors["wave"], samples=tensors.get("samples"), physics=physics, **notes)

    def save(self, posed: Posed, restoration: Restoration) -> None:
        """Keep a section; where the disk does not take it, it is not kept."""
        physics, samples = restoration.physics, restoration.samples
        tensors = {"wave": restoration.wave, **({} if samples is None else {"samples": samples})}
        if physics is not None:
            tensors |= {PHYSICS + name: value for name, value in physics.values.items()}
        notes = {
            name: getattr(restoration, name) for name in ("rate_hz", "n_calls", "seconds", "raises_peaks")
        }
        with contextlib.suppress(OSError):
            save_tensors(tensors, self._path(posed), {"restoration": json.dumps(notes)})

    def _path(self, posed: Posed) -> Path:
        recorded = replace(posed, seconds=0.0)  # the only part that differs from run to run
        return self.folder / f"{digest_of(self.made_with, recorded)}.safetensors"
