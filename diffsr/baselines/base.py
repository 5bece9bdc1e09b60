"""What a system to compare with is, and what all of them need."""

from __future__ import annotations

import importlib
from importlib import metadata
from types import ModuleType
from typing import Protocol

from torch import Tensor

from diffsr.errors import ConfigError


class System(Protocol):
    """Restores one recording as it is: no training, no knowledge of the scene but the number of talkers.

    Systems are deterministic, change no global state and keep the time axis: delays are compensated.
    """

    name: str

    def __call__(self, observation: Tensor, rate_hz: int, n_talkers: int) -> Tensor:
        """Estimates of the talkers at the first microphone.

        A system with a single output returns it once for every talker, because that is all that its
        user would have.

        Args:
            observation: Recording [C, T], full scale 1.
            rate_hz: Its sample rate.
            n_talkers: Number of talkers S.

        Returns:
            float32 [S, T] on the CPU, of the same length and aligned with the recording.

        Raises:
            ValueError: The recording is not [C, T] with C > 0, or `n_talkers` is below 1.
        """
        ...

    def describe(self) -> dict[str, str]:
        """Name, package versions and settings, for the file of results."""
        ...


def as_recording(observation: Tensor, n_talkers: int) -> Tensor:
    """The recording, checked, as float32 [C, T] on the CPU.

    Raises:
        ValueError: It is not [C, T] with C > 0, or `n_talkers` is below 1.
    """
    if observation.ndim != 2 or observation.shape[0] == 0 or not observation.is_floating_point():
        raise ValueError(
            f"The recording has shape {list(observation.shape)} and type {observation.dtype}; "
            "expected floating-point [microphones, samples]."
        )
    if n_talkers < 1:
        raise ValueError(f"n_talkers is {n_talkers}; expected 1 or more.")
    return observation.detach().float().cpu()


def for_every_talker(wave: Tensor, n_talkers: int) -> Tensor:
    """A single output [T] as the estimate of every talker, float32 [S, T]."""
    return wave.float().expand(n_talkers, -1).contiguous()


def require(module: str, package: str, system: str) -> ModuleType:
    """Import a module that only the baselines need.

    Raises:
        ConfigError: The package is missing, or does not load on this machine.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"{system} needs the package {package}: pip install 'diffsr[baselines]' ({error})"
        ) from error
    except OSError as error:  # a compiled library that is not there or is built for another machine
        raise ConfigError(f"{system} cannot use the package {package} on this machine: {error}") from error


def version_of(package: str) -> str:
    """Version of an installed package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"
