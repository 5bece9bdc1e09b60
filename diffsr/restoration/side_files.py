"""What lies beside a restored file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diffsr.io.audio import AUDIO_SUFFIXES


@dataclass(frozen=True)
class SideFiles:
    """Names beside the restoration `OUT.wav`.

    Where recordings differ in their suffix alone, the names begin with the whole name: `OUT.wav.json`.

    Attributes:
        summary: `OUT.json`: what was found out, in numbers.
        picture: `OUT.png`: the same as a picture.
        response: `OUT.response.wav`: the room response, a channel for each restored channel.
        samples: Folder `OUT.samples`: each posterior sample, where there are several.
        failed: `OUT.failed.wav`: the best estimate of a sampler that diverged.
    """

    summary: Path
    picture: Path
    response: Path
    samples: Path
    failed: Path

    @classmethod
    def of(cls, recording: Path, output: Path) -> SideFiles:
        """Of the restoration `output` of `recording`."""
        name = output.name if _has_namesake(recording) else output.stem
        beside = output.parent
        return cls(
            beside / f"{name}.json",
            beside / f"{name}.png",
            beside / f"{name}.response.wav",
            beside / f"{name}.samples",
            beside / f"{name}.failed{output.suffix}",
        )


def _has_namesake(recording: Path) -> bool:
    """Whether a recording that differs in its suffix alone lies beside this one."""
    return any(
        path.stem == recording.stem and path != recording and path.suffix.lower() in AUDIO_SUFFIXES
        for path in recording.parent.iterdir()
    )
