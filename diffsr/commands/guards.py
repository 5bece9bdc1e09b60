"""Combinations of verb, experiment and option that can only be mistakes."""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Sequence
from pathlib import Path

from diffsr.errors import ConfigError
from diffsr.parse_errors import PRIOR_EXAMPLE

TASK_EXAMPLE = "experiments/enhance/default.yaml"
SCENE_EXAMPLE = "experiments/enhance/whamr.yaml"
EXAMPLES = {
    "fit": PRIOR_EXAMPLE,
    "validate": PRIOR_EXAMPLE,
    "test": SCENE_EXAMPLE,
    "predict": TASK_EXAMPLE,
}
"""Verb -> an experiment that it can run."""
STEPS = {
    "fit": "training_step",
    "validate": "validation_step",
    "test": "test_step",
    "predict": "predict_step",
}


def check_arguments(verb: str, arguments: Sequence[str]) -> None:
    """Reject `--ckpt_path` where it would do something else than it says.

    Raises:
        ConfigError: With the corrected command.
    """
    found = _take(arguments, "--ckpt_path")
    if found is None or verb in ("validate", "test"):
        return
    value, rest = found
    if verb == "predict":
        right = shlex.join(["diffsr", verb, *rest, f"--model.init_args.prior={value}"])
        raise ConfigError(
            "predict takes no --ckpt_path: Lightning would run the training module stored in it instead of "
            f"the task. A prior is part of the task's configuration:\n  {right}"
        )
    right = shlex.join(["diffsr", verb, *rest, f"--resume={value}"])
    raise ConfigError(f"{verb} takes no --ckpt_path; a training continues from a checkpoint with:\n  {right}")


def check_model(verb: str, class_path: str, config_files: Sequence[Path]) -> None:
    """Reject a task under `fit` and a prior under `predict`.

    Raises:
        ConfigError: Names the file and both commands.
    """
    step = STEPS[verb]
    if has_own(class_path, step):
        return
    where = str(config_files[0]) if config_files else "the configuration"
    trains = has_own(class_path, "training_step")
    if verb in ("fit", "predict"):
        fit = f"diffsr fit --config {where if trains else PRIOR_EXAMPLE}"
        predict = (
            f"diffsr predict --config {TASK_EXAMPLE if trains else where} "
            "--model.init_args.prior=PRIOR --data.init_args.input=RECORDINGS"
        )
        does = "trains a prior and restores nothing" if trains else "restores recordings and trains nothing"
        raise ConfigError(
            f"{where}: its model {class_path} {does}, so {verb} cannot run it.\n"
            f"  to train a prior:      {fit}\n  to restore recordings: {predict}"
        )
    raise ConfigError(f"{where}: its model {class_path} has nothing to {verb} (no {step}).")


def check_data(verb: str, data: object) -> None:
    """Reject recordings without references where something is to be scored.

    Raises:
        ConfigError: Names the data and what to give.
    """
    from lightning.pytorch import LightningDataModule

    kind = type(data)
    own = getattr(kind, "test_dataloader", None)
    if verb == "test" and own is LightningDataModule.test_dataloader:
        raise ConfigError(
            f"test scores against references, and {kind.__name__} has none. Use --data data_modules.Paired "
            f"or data_modules.Whamr (see {SCENE_EXAMPLE}), or restore the recordings with: diffsr predict."
        )


def has_own(class_path: str, method: str) -> bool:
    """Whether the class at `class_path` (a class or a method that makes one) defines a step itself."""
    from lightning.pytorch import LightningModule

    module, _, name = class_path.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    return getattr(found, method, None) is not getattr(LightningModule, method, None)


def _take(arguments: Sequence[str], option: str) -> tuple[str, list[str]] | None:
    """The value of an option and the arguments without it."""
    for i, argument in enumerate(arguments):
        if argument.startswith(option + "="):
            return argument.partition("=")[2], [*arguments[:i], *arguments[i + 1 :]]
        if argument == option:
            value = arguments[i + 1] if i + 1 < len(arguments) else "PATH"
            return value, [*arguments[:i], *arguments[i + 2 :]]
    return None
