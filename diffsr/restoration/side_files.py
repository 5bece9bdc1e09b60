"""The files of a restoration, and what lies beside them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from glob import escape
from itertools import count
from pathlib import Path
from typing import Any

from diffsr.io.atomic import replacing
from diffsr.io.audio import unwritable
from diffsr.io.side_names import FAILED, RESPONSE, SAMPLES, SECTIONS

_SAMPLE, _RESTART = re.compile(r"\d+"), re.compile(r"\d+\.talker\d+")
_TALKER = re.compile(r"\.talker\d+$")


@dataclass(frozen=True)
class AudioFiles:
    """The audio of a restoration: `OUT.wav`, or for several talkers one file for each and the rest.

    Attributes:
        output: `OUT.wav`.
        n_sources: Talkers S; with several there is no `OUT.wav`.
    """

    output: Path
    n_sources: int = 1

    @property
    def files(self) -> tuple[Path, ...]:
        """`OUT.wav`; or `OUT.talker1.wav`, `OUT.talker2.wav`, ... and `OUT.residual.wav`."""
        if self.n_sources == 1:
            return (self.output,)
        talkers = [self._beside(f"talker{k}") for k in range(1, self.n_sources + 1)]
        return (*talkers, self._beside("residual"))

    @property
    def are_there(self) -> bool:
        """Whether the set is whole; one of more talkers is another set."""
        is_larger = self.n_sources > 1 and self._beside(f"talker{self.n_sources + 1}").exists()
        return all(path.exists() for path in self.files) and not is_larger

    @property
    def named(self) -> str:
        """For messages."""
        n_others = len(self.files) - 1
        return f"{self.files[0]} (and {n_others} more)" if n_others else f"{self.output}"

    @contextmanager
    def placed(self, contents: Sequence[bytes | memoryview]) -> Iterator[None]:
        """Write the set, a content for each file, under temporary names; it takes its place after the block.

        All or nothing, also where the block raises. The last file of several talkers goes first and comes
        last: a set without it is one to do again. Files of further talkers go as well.

        Raises:
            AudioError: A file cannot be written.
        """
        *_, last = files = self.files
        with ExitStack() as stack:
            try:
                # The stack puts them in place from its end: the last file is the first on it.
                places = [stack.enter_context(replacing(path)) for path in reversed(files)][::-1]
                for place, content in zip(places, contents, strict=True):
                    place.write_bytes(content)
            except OSError as error:
                raise unwritable(last, error) from error
            yield
            try:
                if self.n_sources > 1:
                    last.unlink(missing_ok=True)
                    self._remove_further_talkers()
                stack.close()
            except OSError as error:
                raise unwritable(last, error) from error

    def _remove_further_talkers(self) -> None:
        for number in count(self.n_sources + 1):
            if not (further := self._beside(f"talker{number}")).exists():
                return
            further.unlink()

    def _beside(self, name: str) -> Path:
        return self.output.with_name(f"{self.output.stem}.{name}{self.output.suffix}")


@dataclass(frozen=True)
class SideFiles:
    """Names beside the restoration `OUT.wav`.

    Where recordings of a folder differ in their suffix alone, the names begin with the whole name:
    `OUT.wav.json`.

    Attributes:
        summary: `OUT.json`: what was found out, in numbers.
        picture: `OUT.png`: the same as a picture.
        response: `OUT.response.wav`: the room response, a channel for each restored channel.
        samples: Folder `OUT.samples`: each posterior sample, where there are several.
        failed: `OUT.failed.wav`: the best estimate of a sampler that diverged; of several talkers as
            `AudioFiles` has it.
        sections: Hidden folder `.OUT.sections`: those of a long recording that are finished, until all are.
    """

    summary: Path
    picture: Path
    response: Path
    samples: Path
    failed: Path
    sections: Path

    @classmethod
    def of(cls, output: Path, has_namesake: bool = False) -> SideFiles:
        """Of the restoration `output`; see `Recording.has_namesake`."""
        name = output.name if has_namesake else output.stem
        beside = output.parent
        return cls(
            beside / f"{name}.json",
            beside / f"{name}.png",
            beside / f"{name}.{RESPONSE}.wav",
            beside / f"{name}.{SAMPLES}",
            beside / f"{name}.{FAILED}{output.suffix}",
            beside / f".{name}.{SECTIONS}",
        )

    def may_replace(self, path: Path, files: AudioFiles) -> bool:
        """Whether a file has the name of one that a restoration writes or takes away."""
        failed = self._failed_files(files)
        named = {one.resolve() for one in (*files.files, self.summary, self.picture, self.response, *failed)}
        return path.resolve() in named or path.resolve().parent == self.samples.resolve()

    def tells_of_another(self, files: AudioFiles) -> Path | None:
        """The audio of another restoration that the numbers are of, and that is still there."""
        if (told := _told(self.summary)) is None:
            return None
        name = Path(str(told.get("audio"))).name if "audio" in told else ""
        output = files.output.with_name(name or files.output.name)
        first = AudioFiles(output, 2 if "talkers" in told else 1).files[0]
        return first if first != files.files[0] and first.exists() else None

    def of_somebody_else(self, has_picture: bool) -> Path | None:
        """A file in the place of numbers or picture that no restoration seems to have written."""
        if _told(self.summary) is not None:
            return None
        places = (self.summary, self.picture) if has_picture else (self.summary,)
        return next((path for path in places if path.exists()), None)

    def remove_earlier(self, files: AudioFiles, has_summary: bool, has_physics: bool) -> None:
        """Take away what an earlier restoration has left beside the audio, as it tells of other audio.

        Not its samples; the rest only where the numbers are those of a restoration to these files.

        Args:
            files: The audio.
            has_summary: Whether the numbers are of this restoration.
            has_physics: Whether all but the failed estimate is.
        """
        earlier = self._failed_files(files)
        if _told(self.summary) is not None and self.tells_of_another(files) is None:
            earlier += [] if has_physics else [self.response, self.picture]
            earlier += [] if has_physics or has_summary else [self.summary]
        for path in earlier:
            path.unlink(missing_ok=True)

    def _failed_files(self, files: AudioFiles) -> list[Path]:
        """Names of the best estimate of a sampler that diverged, and such files of more talkers."""
        names = list(AudioFiles(self.failed, files.n_sources).files)
        if files.n_sources > 1:
            further = self.failed.parent.glob(f"{escape(self.failed.stem)}.talker*{self.failed.suffix}")
            names += [path for path in further if _TALKER.search(path.stem)]
        return names

    def remove_samples(self, files: AudioFiles) -> None:
        """Take away the posterior samples of an earlier restoration of this kind, and an empty folder."""
        named = _SAMPLE if files.n_sources == 1 else _RESTART
        for earlier in self.samples.glob(f"*{files.output.suffix}"):
            if named.fullmatch(earlier.stem) and not earlier.is_dir():
                earlier.unlink(missing_ok=True)
        with suppress(OSError):  # it is not there, or something else lies in it
            self.samples.rmdir()


def _told(summary: Path) -> dict[str, Any] | None:
    """What a summary holds; None where it is not one of a restoration."""
    with suppress(OSError, ValueError, RecursionError):  # no file, or no JSON
        found = json.loads(summary.read_text(encoding="utf-8"))
        if isinstance(found, dict) and "network_calls" in found:
            return found
    return None
