"""Scores of single crops, kept in a file so that a long validation can be interrupted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from diffsr import __version__
from diffsr.diffusion import Prior
from diffsr.diffusion.fingerprint import prior_sha1
from diffsr.diffusion.validation import validation_scores
from diffsr.errors import DataError
from diffsr.io.atomic import unwritable

Scores = dict[str, float]


class ScoreFile:
    """One JSON line for each crop: `key`, `crop_s`, `talker`, `scores`. Lines that are cut short count not.

    Args:
        path: The file, made with the first crop; None to keep nothing.

    Raises:
        DataError: The file cannot be read.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._known: dict[str, Scores] = {}
        try:
            lines = path.read_text(encoding="utf-8").splitlines() if path and path.exists() else []
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"Cannot read the scores in {path} ({error}). Remove the file.") from error
        for line in lines:
            try:
                row = json.loads(line)
                self._known[row["key"]] = dict(row["scores"])
            except (ValueError, KeyError, TypeError):
                continue

    def get(self, key: str) -> Scores | None:
        """Scores of a crop that is done."""
        return self._known.get(key)

    def add(self, key: str, crop_s: float, talker: str, scores: Scores) -> None:
        """Keep the scores of a crop.

        Raises:
            DataError: The file cannot be written.
        """
        self._known[key] = scores
        if self.path is None:
            return
        line = json.dumps({"key": key, "crop_s": crop_s, "talker": talker, "scores": scores})
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"\n{line}\n")  # the line before may have been cut short
        except OSError as error:
            raise unwritable(self.path, error) from error


def score_crops(
    prior: Prior,
    crops: Sequence[Tensor],
    talkers: Sequence[str],
    kept: ScoreFile | None = None,
    on_crop: Callable[[int], None] | None = None,
) -> list[Scores]:
    """Scores of each crop, one at a time; crop `i` meets the same noise whatever the other crops are.

    Args:
        prior: In eval mode; computes where its weights are.
        crops: Speech [T] at the prior's rate and level.
        talkers: Who speaks in each of them.
        kept: Where crops that are done are found, and new ones noted.
        on_crop: Called with the number of finished crops.

    Returns:
        Name -> value as in `diffsr.diffusion.validation`, one for each crop.

    Raises:
        DataError: The file of `kept` cannot be written.
    """
    kept = kept or ScoreFile()
    device = next(prior.parameters()).device
    # Each kind of device has random numbers of its own.
    origin = f"{__version__}/{prior_sha1(prior)}/{device.type}"
    found = []
    for index, (crop, talker) in enumerate(zip(crops, talkers, strict=True)):
        key = hashlib.sha1(f"{origin}/{index}".encode() + crop.numpy().tobytes()).hexdigest()
        scores = kept.get(key)
        if scores is None:
            values = validation_scores(prior, crop[None].to(device), seed=index)
            scores = {name: float(value) for name, value in values.items()}
            kept.add(key, crop.shape[-1] / prior.rate_hz, talker, scores)
        found.append(scores)
        if on_crop is not None:
            on_crop(index + 1)
    return found
