"""The one place where commands write to the terminal."""

from __future__ import annotations

import argparse
import os
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

from diffsr.errors import ConfigError

if TYPE_CHECKING:
    from tqdm import tqdm

NEWS_EVERY_S = 30.0
"""Between lines of progress, with the time left, where there is no terminal."""


def say(text: str = "") -> None:
    """Write a line of results to stdout; what it cannot show, such as of a file name, is escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Write a line of news (not of results) to stderr."""
    sys.stderr.write(f"diffsr: {text}\n")
    sys.stderr.flush()


def names_of(text: str | None) -> tuple[str, ...] | None:
    """The names of an option that separates them by commas; None where it is not given."""
    return None if text is None else tuple(name.strip() for name in text.split(",") if name.strip())


class Progress:
    """One line of a terminal with how much is done and the time left; elsewhere a line every half minute.

    What was done before the first call took no time and does not count for what is left. Where less is done
    than before, something else has begun, and the time left is that of it.

    Args:
        doing: Such as `scoring`.
        unit: What is counted, in the plural.
    """

    def __init__(self, doing: str, unit: str = "items") -> None:
        self._doing, self._unit = doing, unit
        self._bar: tqdm[NoReturn] | None = None
        self._told_s = time.monotonic()
        self._first: tuple[float, int] | None = None
        self._done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def __call__(self, done: int, total: int, name: str = "") -> None:
        """`done` of `total` are finished, `name` is where it is."""
        if done < self._done:
            self._close()
            self._first = None
        self._done = done
        if not sys.stderr.isatty():
            self._tell(done, total, name)
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                desc=self._doing,
                total=total,
                initial=done,
                file=sys.stderr,
                bar_format=f"{{desc}} {{n_fmt}}/{{total_fmt}} {self._unit} |{{bar}}| {{remaining}} left",
                smoothing=0.05,  # files and rooms differ in size
                leave=False,
                dynamic_ncols=True,
            )
        self._bar.update(done - self._bar.n)
        if name:
            self._bar.set_description_str(f"{self._doing} {name}:")  # redraws

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _tell(self, done: int, total: int, name: str) -> None:
        """A line of news when it is time for one."""
        now_s = time.monotonic()
        if self._first is None:
            self._first = (now_s, done)
        started_s, before = self._first
        if now_s - self._told_s >= NEWS_EVERY_S:
            self._told_s = now_s
            left_s = (now_s - started_s) / (done - before) * (total - done) if done > before else None
            left = "" if left_s is None else f", {left_s / 60:.1f} min left"
            note(f"{self._doing}: {done}/{total} {self._unit}{f', {name}' if name else ''}{left}")


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one message, like all others."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:  # noqa: ANN401 - as argparse has it
        """As argparse does; `--output=~/a`, which no shell expands, is in the home folder."""
        found = super().parse_args(args, namespace)
        for name, value in vars(found).items():
            if isinstance(value, str) and value.startswith("~/"):
                setattr(found, name, os.path.expanduser(value))
        return found

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage."""
        raise ConfigError(f"{message}. See `{self.prog} --help`.")
