"""Where things lie in a run folder."""

from __future__ import annotations

from pathlib import Path


def last_checkpoint(run: str | Path) -> Path:
    """The checkpoint that a training continues from."""
    return Path(run) / "checkpoints" / "last.ckpt"


def exported_prior(run: str | Path) -> Path:
    """The prior folder that a finished training leaves behind."""
    return Path(run) / "prior"


def piece_folder(run: str | Path) -> Path:
    """What a training leaves for the next piece of it."""
    return Path(run) / "piece"
