"""Systems by name: the baselines, and the tasks of this project with a prior."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

import diffsr
from diffsr.baselines import BASELINES, System, make_baseline
from diffsr.diffusion.prior import DEFAULT
from diffsr.errors import ConfigError, DataError

if TYPE_CHECKING:
    from diffsr.diffusion import Prior


class Runnable(Protocol):
    """What the benchmark runs. It hears the observation and never a reference."""

    label: str
    """Name of its folder and its rows."""
    device: str

    def settings(self) -> dict[str, str]:
        """Everything that decides its results."""
        ...

    def restore(self, observation: Tensor, rate_hz: int, n_talkers: int, item_id: str) -> tuple[Tensor, int]:
        """Estimates [S, T] of the recording [C, T], and how often a network was called."""
        ...


class Baseline:
    """A system of `diffsr.baselines`."""

    device = "cpu"

    def __init__(self, system: System) -> None:
        self.label, self._system = system.name, system

    def settings(self) -> dict[str, str]:
        """See `Runnable`."""
        return {**self._system.describe(), "system": self._system.name}

    def restore(self, observation: Tensor, rate_hz: int, n_talkers: int, item_id: str) -> tuple[Tensor, int]:
        """See `Runnable`."""
        return self._system(observation, rate_hz, n_talkers), 0


class OwnTask:
    """A task of this project. A single output is the estimate of every talker.

    Args:
        task: One of `diffsr.recipes.TASKS`.
        prior: A prior folder, a run folder, or a checkpoint.
        preset: fast, default or quality.
        device: cpu, cuda, mps or auto.
        seed: Of the posterior samples; each item has random numbers of its own.

    Raises:
        CheckpointError: The prior cannot be had.
        ConfigError: No such preset or device.
    """

    def __init__(self, task: str, prior: str | Path, preset: str, device: str, seed: int) -> None:
        from diffsr.api import Restorer

        self._restorer = Restorer(prior, task=task, preset=preset, device=device, seed=seed, channels=0)
        self.device = str(self._restorer.device)
        self.label = f"{task}-{preset}"
        self._settings = {
            "system": task,
            "preset": preset,
            "seed": str(seed),
            "prior": prior_digest(self._restorer.prior),
            "device": self._restorer.device.type,
            "diffsr": diffsr.__version__,
        }

    def settings(self) -> dict[str, str]:
        """See `Runnable`."""
        return dict(self._settings)

    def restore(self, observation: Tensor, rate_hz: int, n_talkers: int, item_id: str) -> tuple[Tensor, int]:
        """See `Runnable`."""
        done = self._restorer.restore(observation, rate_hz, item_id)
        wave: Tensor = done.wave
        return (wave.expand(n_talkers, -1) if wave.shape[0] == 1 else wave), done.n_calls


def known_systems() -> list[str]:
    """Names of all systems."""
    from diffsr.recipes import TASKS

    return [*BASELINES, *(task for task in TASKS if task not in BASELINES)]


def open_system(
    name: str,
    prior: str | Path | None = None,
    preset: str | None = None,
    device: str | None = None,
    seed: int | None = None,
) -> Runnable:
    """The system of this name.

    Args:
        name: A baseline or a task.
        prior: For tasks: a shipped prior, a prior or run folder, or a checkpoint; the default when None.
        preset: For tasks: fast, default (when None) or quality.
        device: For tasks: cpu, cuda, mps or auto (when None).
        seed: For tasks: of the posterior samples; 0 when None.

    Raises:
        ConfigError: No such system, a package is missing, or an option that it does not have.
        CheckpointError: A prior that cannot be loaded.
    """
    if name in BASELINES:
        given = {"--prior": prior, "--preset": preset, "--device": device, "--seed": seed}
        idle = [option for option, value in given.items() if value is not None]
        if idle:
            raise ConfigError(f"{' '.join(idle)}: the system {name} has no such option. Leave it out.")
        return Baseline(make_baseline(name))
    if name not in known_systems():
        raise ConfigError(f"There is no system {name!r}; choose one of {', '.join(known_systems())}.")
    return OwnTask(name, prior or DEFAULT, preset or "default", device or "auto", seed or 0)


def prior_digest(prior: Prior) -> str:
    """Checksum of the weights of a prior, wherever they lie."""
    found = hashlib.sha1(repr(sorted(prior.config.items(), key=str)).encode())
    for name, weight in sorted(prior.state_dict().items()):
        found.update(name.encode())
        found.update(weight.detach().cpu().contiguous().float().numpy().tobytes())
    return found.hexdigest()[:12]


def check_estimate(estimate: Tensor, system: Runnable, n_talkers: int, n_samples: int) -> None:
    """Refuse what cannot be scored.

    Raises:
        DataError: Another shape, or samples that are not numbers.
    """
    if tuple(estimate.shape) != (n_talkers, n_samples):
        raise DataError(
            f"{system.label} gave estimates of shape {list(estimate.shape)}, expected [talkers, samples] = "
            f"[{n_talkers}, {n_samples}]: as long as the recording. Correct the system."
        )
    if not bool(estimate.isfinite().all()):
        raise DataError(f"{system.label} gave NaN or infinite samples.")
