"""Systems by name: the baselines, and the tasks of this project with a prior."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from torch import Tensor

import diffsr
from diffsr.baselines import BASELINES, System, make_baseline
from diffsr.benchmark.oracle import NOTHING, Known, check_prior, informed
from diffsr.benchmark.recipe_digest import recipe_digest
from diffsr.diffusion.fingerprint import calibration_sha1, prior_sha1
from diffsr.diffusion.prior import DEFAULT
from diffsr.errors import ConfigError, DataError

if TYPE_CHECKING:
    from diffsr.recipes import Recipe
    from diffsr.restoration.physics import Physics


class Restored(NamedTuple):
    """What a system makes of an item.

    Attributes:
        estimate: Of each talker, [S, T].
        n_calls: How often a network was called.
        responses: Of the room, where the system estimates it, [S', L].
        rate_hz: Rate of the responses.
    """

    estimate: Tensor
    n_calls: int
    responses: Tensor | None = None
    rate_hz: int = 0


class Runnable(Protocol):
    """What the benchmark runs. It hears the observation and never a reference."""

    label: str
    """Name of its folder and its rows."""
    device: str
    oracle: tuple[str, ...]
    """What it is told beside the observation, see `benchmark.oracle`; nothing but for oracles."""

    def settings(self) -> dict[str, str]:
        """Everything that decides its results."""
        ...

    def restore(
        self, observation: Tensor, rate_hz: int, n_talkers: int, item_id: str, known: Known = NOTHING
    ) -> Restored:
        """Restore the recording [C, T]."""
        ...


class Baseline:
    """A system of `diffsr.baselines`."""

    device = "cpu"
    oracle: tuple[str, ...] = ()

    def __init__(self, system: System) -> None:
        self.label, self._system = system.name, system

    def settings(self) -> dict[str, str]:
        """See `Runnable`."""
        return {**self._system.describe(), "system": self._system.name, "diffsr": diffsr.__version__}

    def restore(
        self, observation: Tensor, rate_hz: int, n_talkers: int, item_id: str, known: Known = NOTHING
    ) -> Restored:
        """See `Runnable`."""
        return Restored(self._system(observation, rate_hz, n_talkers), 0)


class OwnTask:
    """A task of this project. What a task for one talker gives is the estimate of every talker.

    Tasks for several, and experiments that say how many talkers there are, restore as many as an item has.

    Args:
        task: One of `diffsr.recipes.TASKS` or `TALKER_TASKS`.
        prior: A prior folder, a run folder, or a checkpoint.
        preset: fast, default or quality, or the path of an experiment, whose recipe is taken.
        device: cpu, cuda, mps or auto.
        seed: Of the posterior samples; each item has random numbers of its own.
        overrides: Changes of the experiment, see `diffsr.recipe_file.load_recipe`.
        oracle: What of each item is told, see `benchmark.oracle`.
        precision: auto, float32 or bfloat16.

    Raises:
        CheckpointError: The prior cannot be had.
        ConfigError: No such preset or device, or overrides without an experiment.
    """

    def __init__(
        self,
        task: str,
        prior: str | Path,
        preset: str,
        device: str,
        seed: int,
        overrides: Sequence[str] = (),
        oracle: tuple[str, ...] = (),
        precision: str = "auto",
    ) -> None:
        from diffsr.api import Restorer

        changes = [*overrides, *_untold_room(preset, oracle)]
        own = _own_recipe(task, preset, changes)
        self._restorer = Restorer(
            prior,
            task=task,
            preset="default" if own else preset,
            seed=seed,
            device=device,
            channels=0,
            recipe=own,
            precision=precision,
        )
        check_prior(oracle, self._restorer.prior)
        self._task = task
        self._recipe, self.oracle = self._restorer.recipe, oracle
        self.device = str(self._restorer.device)
        self.label = _label(task, preset, overrides, oracle)
        self._settings = {
            "system": task,
            "preset": recipe_digest(preset, changes) if own else preset,
            "seed": str(seed),
            "prior": prior_sha1(self._restorer.prior)[:12],
            "calibration": calibration_sha1(self._restorer.prior)[:12] or "none",
            "device": self._restorer.device.type,
            "diffsr": diffsr.__version__,
            **({"precision": "bfloat16"} if self._restorer.in_bfloat16 else {}),
            **({"oracle": ",".join(oracle)} if oracle else {}),
        }

    def settings(self) -> dict[str, str]:
        """See `Runnable`."""
        return dict(self._settings)

    def restore(
        self, observation: Tensor, rate_hz: int, n_talkers: int, item_id: str, known: Known = NOTHING
    ) -> Restored:
        """See `Runnable`."""
        own_hz = self._restorer.prior.rate_hz
        recipe = self._recipe_for(n_talkers)
        if not known.is_nothing:
            recipe = informed(recipe, known, observation, rate_hz, own_hz)
        if recipe is not self._restorer.recipe:
            self._restorer.use(recipe)
        done = self._restorer.restore(observation, rate_hz, item_id)
        wave: Tensor = done.wave
        estimate = wave.expand(n_talkers, -1) if wave.shape[0] == 1 else wave
        is_told = known.responses is not None
        return Restored(estimate, done.n_calls, None if is_told else _responses(done.physics), own_hz)

    def _recipe_for(self, n_talkers: int) -> Recipe:
        """The recipe for as many talkers as an item has; that for one talker stays as it is.

        Raises:
            ConfigError: A task for several talkers and an item of one.
        """
        from diffsr.recipes import check_talkers

        if self._recipe.n_sources == 1:
            return self._recipe
        check_talkers(self._task, n_talkers, of_experiment=True)
        return replace(self._recipe, n_sources=n_talkers)


def _responses(physics: Physics | None) -> Tensor | None:
    """Estimated at the first microphone by the first posterior sample, [S, L]."""
    found = None if physics is None else physics.values.get("room_response")
    return None if found is None else found[0, 0, :, 0]


def _own_recipe(task: str, preset: str, overrides: Sequence[str]) -> Recipe | None:
    """The recipe of a preset that is a file; None for one that has a name.

    Raises:
        ConfigError: The file cannot be used, is for another task or for one talker where there are
            several, or there are overrides and no file.
    """
    from diffsr.experiment_file import is_recipe_file
    from diffsr.recipe_file import load_recipe
    from diffsr.restoration.choice import check_experiment, for_talkers

    if is_recipe_file(preset):
        check_experiment(task, preset)
        return for_talkers(load_recipe(preset, overrides), task, preset)
    if overrides:
        raise ConfigError(
            f"--set {overrides[0]}: the preset {preset} is no file. Give an experiment, such as --preset "
            "experiments/enhance/default.yaml."
        )
    return None


def _untold_room(preset: str, oracle: Sequence[str]) -> list[str]:
    """What leaves out the file of a response that an experiment asks for, where the items tell theirs."""
    from diffsr.experiment_file import asks_for_room, is_recipe_file

    is_asked = "room" in oracle and is_recipe_file(preset) and asks_for_room(preset)
    return ["degradation=null"] if is_asked else []


def _label(task: str, preset: str, overrides: Sequence[str], oracle: Sequence[str]) -> str:
    """Such as `enhance-depse_il+n_steps=60+oracle-noise`."""
    changed = [re.sub(r"[^\w.=-]+", "_", text.rpartition(".init_args.")[2]) for text in overrides]
    parts = [f"{task}-{Path(preset).stem}", *changed, *(f"oracle-{name}" for name in oracle)]
    return "+".join(parts)


def known_systems() -> list[str]:
    """Names of all systems."""
    from diffsr.recipes import TALKER_TASKS, TASKS

    return [*BASELINES, *(task for task in (*TASKS, *TALKER_TASKS) if task not in BASELINES)]


def open_system(
    name: str,
    prior: str | Path | None = None,
    preset: str | None = None,
    device: str | None = None,
    seed: int | None = None,
    overrides: Sequence[str] = (),
    oracle: tuple[str, ...] = (),
    precision: str | None = None,
) -> Runnable:
    """The system of this name.

    Args:
        name: A baseline or a task.
        prior: For tasks: a shipped prior, a prior or run folder, or a checkpoint; the default when None.
        preset: For tasks: fast, default (when None) or quality, or the path of an experiment.
        device: For tasks: cpu, cuda, mps or auto (when None).
        seed: For tasks: of the posterior samples; 0 when None.
        overrides: For tasks whose preset is an experiment: changes of it.
        oracle: For tasks: what of each item is told.
        precision: For tasks: auto (when None), float32 or bfloat16.

    Raises:
        ConfigError: No such system, a package is missing, or an option that it does not have.
        CheckpointError: A prior that cannot be loaded.
    """
    if name in BASELINES:
        given = {"--prior": prior, "--preset": preset, "--device": device, "--seed": seed}
        more = {"--set": tuple(overrides) or None, "--oracle": oracle or None, "--precision": precision}
        idle = [option for option, value in {**given, **more}.items() if value is not None]
        if idle:
            raise ConfigError(f"{' '.join(idle)}: the system {name} has no such option. Leave it out.")
        return Baseline(make_baseline(name))
    if name not in known_systems():
        raise ConfigError(f"There is no system {name!r}; choose one of {', '.join(known_systems())}.")
    return OwnTask(
        name,
        prior or DEFAULT,
        preset or "default",
        device or "auto",
        seed or 0,
        overrides,
        oracle,
        precision or "auto",
    )


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
