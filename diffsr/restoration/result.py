"""A restored recording."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffsr.errors import AudioError, DiffsrError
from diffsr.io.audio import can_hold, encoded, nearest_coding, write_audio
from diffsr.restoration.arrays import full_scale_of
from diffsr.restoration.physics import Physics
from diffsr.restoration.side_files import AudioFiles
from diffsr.restoration.spread import variance_of
from diffsr.restoration.talkers import Talkers


@dataclass(frozen=True)
class Section:
    """A part of a long recording that was restored by itself.

    Attributes:
        start_s: Where it begins.
        end_s: Where it ends, some time after the next one begins.
        physics: What was found out in it; None where nothing was restored.
    """

    start_s: float
    end_s: float
    physics: Physics | None


@dataclass(frozen=True)
class Restoration:
    """A restored recording and what it took.

    Attributes:
        wave: Restored speech: of the kind, shape and level of the input; `[C, T]` for a file. Of several
            posterior samples what the recipe makes of them, such as their mean. Of several talkers `[S, T]`.
        rate_hz: Sampling rate, that of the input; for a wider band at least that of the prior.
        n_calls: Calls of the prior, those of all samples together; of the section with most, where there are
            several.
        seconds: Wall time; of recordings that shared a batch, an equal share.
        raises_peaks: Whether peaks above full scale are part of the repair and must not be cut off.
        samples: The posterior samples `[R, ...]`, each like `wave`; None where one was drawn.
        physics: What was found out about noise, room and device; None where nothing was restored.
        talkers: Residual, ranking and levels of several talkers; None for one.
        full_scale: What stands for full scale in `wave`, `samples` and `talkers.residual`, 1 but of integers.
        subtype: Coding of the file that was restored, such as PCM_16; None of an array.
        sections: Those that a long recording was restored in; none of a recording that was not cut.
    """

    wave: Any
    rate_hz: int
    n_calls: int
    seconds: float
    raises_peaks: bool = False
    samples: Any = None
    physics: Physics | None = None
    talkers: Talkers | None = None
    full_scale: float = 1.0
    subtype: str | None = None
    sections: Sequence[Section] = ()

    def __repr__(self) -> str:
        """In one line, without the samples themselves."""
        lasts_s = self.wave.shape[-1] / self.rate_hz
        more = [name for name in ("samples", "physics", "talkers") if getattr(self, name) is not None]
        return (
            f"Restoration(wave {list(self.wave.shape)} at {self.rate_hz} Hz, {lasts_s:.2f} s; {self.n_calls} "
            f"network calls in {self.seconds:.1f} s{''.join(f'; {name}' for name in more)})"
        )

    @property
    def std(self) -> Any:  # noqa: ANN401 - of the kind of `wave`
        """Standard deviation of a posterior sample, like `wave`; None where one was drawn."""
        if self.samples is None:
            return None
        spread = variance_of(torch.as_tensor(self.samples)).sqrt()
        return spread if isinstance(self.samples, Tensor) else spread.numpy()

    def converted(self, convert: Callable[[Tensor], Any]) -> Restoration:
        """With wave and samples as `convert` makes them."""
        samples = None if self.samples is None else convert(self.samples)
        talkers = None if self.talkers is None else self.talkers.converted(convert)
        return replace(self, wave=convert(self.wave), samples=samples, talkers=talkers)

    def scaled(self, full_scale: float) -> Restoration:
        """With waves whose full scale is no longer 1."""
        return replace(self.converted(lambda wave: full_scale * wave), full_scale=full_scale)

    def save(self, path: str | Path, subtype: str | None = None) -> Path:
        """Write the audio; the suffix decides the format, `subtype` its bit depth (`PCM_24`).

        Without a subtype it has that of the file that was restored, where the format can hold it. Peaks
        above full scale are written as 32-bit floating point where the format can hold that and they are
        repaired, of several talkers, or not of integers in the first place; else they are cut off. Several
        talkers become one file each, `<name>.talker1.wav` and so on, and `<name>.residual.wav` what is left.

        Returns:
            The file, or that of the first talker.

        Raises:
            AudioError: The file cannot be written, or its format cannot hold the repaired peaks.
        """
        with self.saving(path, subtype) as saved:
            return saved

    @contextmanager
    def saving(self, path: str | Path, subtype: str | None = None) -> Iterator[Path]:
        """As `save`, but the audio is in its place only when the block ends well."""
        waves = [self._of_file(self.wave)]
        if self.talkers is not None:
            waves = [*waves[0], self._of_file(self.talkers.residual)]
        files = AudioFiles(Path(path).expanduser(), max(len(waves) - 1, 1))
        contents = [
            encoded(file, torch.atleast_2d(one), self.rate_hz, self._coding(one, file, subtype))
            for file, one in zip(files.files, waves, strict=True)
        ]
        with files.placed(contents):
            yield files.files[0]

    def save_samples(
        self, folder: str | Path, suffix: str = ".wav", subtype: str | None = None
    ) -> list[Path]:
        """Write each posterior sample as `<folder>/<number><suffix>`, from 1; nothing where one was drawn.

        Restarts of several talkers are `<number>.talker1<suffix>` and so on. Files of other names in the
        folder stay.

        Raises:
            AudioError: As `save`.
        """
        if self.samples is None:
            return []
        samples = self._of_file(self.samples)
        digits = len(str(len(samples)))
        written: list[Path] = []
        for number, sample in enumerate(samples, start=1):
            place = Path(folder).expanduser() / f"{number:0{digits}d}{suffix}"
            is_one = self.talkers is None
            places = [place] if is_one else AudioFiles(place, len(sample)).files
            for path, wave in zip(places, [sample] if is_one else sample, strict=False):
                write_audio(path, torch.atleast_2d(wave), self.rate_hz, self._coding(wave, path, subtype))
                written.append(path)
        return written

    def _of_file(self, wave: Any) -> Tensor:  # noqa: ANN401 - of the kind of `wave`
        """As files have it, full scale 1."""
        return torch.as_tensor(wave) / self.full_scale

    def _coding(self, wave: Tensor, path: Path, subtype: str | None) -> str | None:
        """Of a file, see `save`.

        Raises:
            AudioError: The format cannot hold the repaired peaks.
        """
        subtype = nearest_coding(path, self.subtype) if subtype is None else subtype
        peak = float(wave.abs().max())
        if peak <= 1.0:
            return subtype
        if self.raises_peaks and not can_hold(path, "FLOAT"):
            raise AudioError(
                f"Cannot write {path}: the repaired peaks reach {peak:.2f} times full scale, which "
                f"{path.suffix} cannot hold. Convert the recording to .wav first."
            )
        # Two talkers that cancel out may each be louder than their sum.
        is_kept = self.raises_peaks or self.talkers is not None or subtype is None
        return "FLOAT" if is_kept and can_hold(path, "FLOAT") else subtype


class UnfinishedError(DiffsrError):
    """A recording could not be restored; `best` is the last estimate that was of use."""

    def __init__(self, message: str, best: Restoration) -> None:
        super().__init__(message)
        self.best = best

    def __reduce__(self) -> tuple[type[UnfinishedError], tuple[str, Restoration]]:
        return type(self), (str(self), self.best)  # processes send it to each other


def at_scale_of(audio: Tensor | np.ndarray, result: Restoration | DiffsrError) -> Restoration | DiffsrError:
    """What became of a recording, at its own scale where it is of integers."""
    best = result.best if isinstance(result, UnfinishedError) else result
    if isinstance(best, DiffsrError) or (full_scale := full_scale_of(audio)) == 1.0:
        return result
    scaled = best.scaled(full_scale)
    return UnfinishedError(str(result), scaled) if isinstance(result, UnfinishedError) else scaled
