"""The one place where commands write to the terminal."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

from diffsr.errors import ConfigError


def say(text: str = "") -> None:
    """Write a line of results to stdout."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Write a line of news (not of results) to stderr."""
    sys.stderr.write(f"diffsr: {text}\n")
    sys.stderr.flush()


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one message, like all others."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage."""
        raise ConfigError(f"{message}. See `{self.prog} --help`.")
