"""Errors that a user can act on.

Every message says what was found, what was expected and what to do. The command line prints
the message without a traceback and exits with code 2 (`DiffsrError.exit_code`).
"""

from __future__ import annotations


class DiffsrError(Exception):
    """Base of all errors whose cause lies outside the code: files, settings, weights, data."""

    exit_code = 2


class AudioError(DiffsrError):
    """A recording cannot be read, cannot be used or cannot be written."""


class ConfigError(DiffsrError):
    """An option or an experiment file asks for something that does not exist or contradicts itself."""


class CheckpointError(DiffsrError):
    """Weights are missing, damaged, or belong to another model."""


class DataError(DiffsrError):
    """A corpus or manifest is missing, empty or inconsistent."""
