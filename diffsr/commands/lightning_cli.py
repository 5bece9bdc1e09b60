"""LightningCLI with run folders: the configuration decides where a run lives and whether it goes on."""

from __future__ import annotations

import argparse
import copy
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Checkpoint, WeightAveraging
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from omegaconf.errors import OmegaConfBaseException

from diffsr.callbacks import AtomicCheckpoints, AveragedWeights, LastCheckpoint, RunConfig, TrainingProgress
from diffsr.commands.guards import EXAMPLES, check_model, has_own
from diffsr.commands.loggers import direct_loggers
from diffsr.commands.precision import TellPrecision, suited_precision
from diffsr.commands.run_folder import Budget, Run, find_run, finished, resume_from
from diffsr.errors import CheckpointError, ConfigError, DiffsrError
from diffsr.parse_errors import explain

# Tells the processes that Lightning starts for further devices which folder the first one chose.
RUN_VARIABLE = "DIFFSR_RUN_FOLDER"
OWN_KEYS = ("config", "runs", "resume", "ckpt_path")


class AlreadyFinished(Exception):  # noqa: N818 - good news, not an error
    """There is nothing left to train."""

    def __init__(self, run: Run, reached: str) -> None:
        super().__init__(reached)
        self.run = run
        self.reached = reached


class RunCLI(LightningCLI):
    """Parses the configuration of one verb and builds model, data and trainer inside a run folder.

    Args:
        verb: fit, validate, test or predict.
        arguments: The command line after the verb.
    """

    run_folder: Run
    ckpt_path: Path | None = None

    def __init__(self, verb: str, arguments: Sequence[str]) -> None:
        self.verb = verb
        self.arguments = list(arguments)
        super().__init__(
            args=self.arguments,
            run=False,
            save_config_callback=None,
            trainer_defaults={"inference_mode": False} if verb in ("predict", "test") else None,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            parser_kwargs={
                "prog": f"diffsr {verb}",
                "description": DESCRIPTIONS[verb],
                "parser_mode": "omegaconf+",
                "exit_on_error": False,
                "allow_abbrev": False,
            },
        )

    # --- parsing

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Options of our own, beside model, data, trainer and seed_everything."""
        parser.add_argument("--runs", type=str, default="runs", help="Folder of all run folders.")
        parser.add_argument(
            "--resume",
            type=str,
            default="auto",
            help="fit: auto continues this run where it stopped, never starts over beside it; or a .ckpt.",
        )
        if self.verb in ("validate", "test"):
            parser.add_argument(
                "--ckpt_path",
                type=str,
                default=None,
                help="Checkpoint to score; the run's last one when not given.",
            )
        # under every verb, so that the config.yaml of a run can be given to all of them
        parser.add_class_arguments(AveragedWeights, "ema")
        parser.add_class_arguments(LastCheckpoint, "checkpoint")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:  # noqa: ANN401
        """Parse; every mistake becomes one sentence.

        Raises:
            ConfigError: Names the key, the file and the line where that can be told.
        """
        files = config_files(args)
        try:
            self.config = parser.parse_args([_nested_null(_quoted_path(argument)) for argument in args])
        except UnicodeDecodeError as error:
            named = ", ".join(str(path) for path in files)
            raise ConfigError(f"{named}: not UTF-8 text ({error}). Save it as UTF-8.") from error
        except argparse.ArgumentError as error:
            raise ConfigError(explain(str(error), files, EXAMPLES[self.verb])) from error
        except OmegaConfBaseException as error:
            first, _, rest = str(error).partition("\n")
            key = next((line.split(":")[1].strip() for line in rest.splitlines() if "full_key" in line), "")
            raise ConfigError(explain(f"{key + ': ' if key else ''}{first}", files)) from error
        self.config_files = files
        seed = self.config.get("seed_everything")
        if not isinstance(seed, bool) and isinstance(seed, int) and not 0 <= seed < 2**32:
            raise ConfigError(f"seed_everything is {seed}; expected a whole number from 0 to {2**32 - 1}.")
        check_model(self.verb, self.config.model.class_path, files)

    # --- the run folder

    def before_instantiate_classes(self) -> None:
        """Choose the run folder, and stop here when there is nothing to do.

        Raises:
            AlreadyFinished: The run has reached the limits it is given.
        """
        # this object's parser also fills in defaults: what is saved is what is run
        dumped = yaml.safe_load(self.parser.dump(self.config, skip_unset=False, format="yaml"))
        self.values: dict[str, Any] = {k: v for k, v in dumped.items() if k not in OWN_KEYS}
        if missing := list(missing_values(self.values)):
            options = " ".join(f"--{key}=..." for key in missing)
            raise ConfigError(
                f"{' and '.join(str(path) for path in self.config_files)}: {' and '.join(missing)} must be "
                f"given, on the command line ({options}) or in another --config file."
            )
        self.run_folder = find_run(self.values, self.config_files, self.config.runs)
        if self.verb == "fit":
            self._choose_start()
        elif self.verb in ("validate", "test") and self._is_trained:
            self.ckpt_path = self._checkpoint_to_score()
        self.config = copy.deepcopy(self.config)
        if self.verb == "fit" or self.config.trainer.get("logger"):
            direct_loggers(self.config.trainer, self.run_folder)
        else:
            self.config.trainer["logger"] = False

    def instantiate_classes(self) -> None:
        """Build model, data and trainer.

        Raises:
            DiffsrError: As a class raised it, or a ConfigError with the reason a class gave.
        """
        try:
            super().instantiate_classes()
        except (ValueError, TypeError) as error:  # jsonargparse wraps what classes raise
            cause = _root(error)
            if isinstance(cause, DiffsrError):
                raise cause from None
            if isinstance(cause, ValueError | TypeError | AssertionError) and cause is not error:
                raise ConfigError(_one_line_report(cause, self.config_files)) from error
            raise

    def _choose_start(self) -> None:
        chosen = os.environ.get(RUN_VARIABLE) if "LOCAL_RANK" in os.environ else None
        run, resume = self.run_folder, self.config.resume
        if chosen:
            run = Run(Path(chosen), run.experiment, run.hash)
            resume = "auto" if resume == "never" else resume
        if resume == "auto" and self.config.trainer.get("fast_dev_run"):
            self.run_folder, self.ckpt_path = run, None  # a trial of the code, which nothing is written of
            return
        if resume == "auto" and (reached := finished(run, self.budget)) is not None:
            raise AlreadyFinished(run, reached)
        self.run_folder, self.ckpt_path = resume_from(run, resume, self.budget)
        os.environ[RUN_VARIABLE] = str(self.run_folder.path)

    def _checkpoint_to_score(self) -> Path:
        given = self.config.ckpt_path
        path = Path(given).expanduser() if given else self.run_folder.checkpoint
        if not path.is_file():
            raise CheckpointError(
                f"{path}: no such checkpoint. Give one with --ckpt_path PATH, or train this first: "
                f"diffsr fit --config {self.config_files[0] if self.config_files else 'FILE'}"
            )
        return path

    @property
    def budget(self) -> Budget:
        """How long this configuration trains."""
        return Budget.of(self.values["trainer"])

    @property
    def _is_trained(self) -> bool:
        """Whether the model has weights of its own, so that scoring it needs a checkpoint."""
        return has_own(self.config.model.class_path, "training_step")

    # --- the trainer

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:  # noqa: ANN401 - Lightning's signature
        """Build the trainer with our callbacks, inside the run folder.

        Raises:
            ConfigError: The trainer rejects its options.
        """
        section = self.config_init["trainer"]
        kwargs["default_root_dir"] = str(self.run_folder.path)
        kwargs["callbacks"] = [*(section.get("callbacks") or []), *self._callbacks(section)]
        asked, accelerator = section.get("precision"), str(section.get("accelerator") or "auto")
        kwargs["precision"] = suited_precision(asked, accelerator, self.arguments)
        if kwargs["precision"] != asked:
            kwargs["callbacks"].append(TellPrecision())
        plugins = section.get("plugins") or []
        plugins = plugins if isinstance(plugins, list) else [plugins]
        kwargs["plugins"] = [*plugins, AtomicCheckpoints()]
        if self.verb != "fit":
            kwargs["enable_checkpointing"] = False
            if section.get("enable_progress_bar") is None:
                kwargs["enable_progress_bar"] = sys.stderr.isatty()
        try:
            return super().instantiate_trainer(**kwargs)
        except (MisconfigurationException, ValueError, TypeError, RuntimeError, ModuleNotFoundError) as error:
            raise ConfigError(f"trainer: {error}") from error

    def _callbacks(self, section: Any) -> list[Any]:  # noqa: ANN401 - a jsonargparse namespace
        given = section.get("callbacks") or []
        callbacks: list[Any] = []
        if self.verb in ("fit", "predict") and not section.get("fast_dev_run"):
            command = [self.verb, *self.arguments]
            identity = self.run_folder.identity
            callbacks.append(
                RunConfig(self.parser, self.config, self.values, identity, command, self.ckpt_path)
            )
        if self.verb != "fit":
            return callbacks
        if not any(isinstance(callback, WeightAveraging) for callback in given):
            callbacks.append(self.config_init["ema"])
        if section.get("enable_checkpointing") is not False:
            if not any(isinstance(callback, LastCheckpoint) for callback in given):
                callbacks.append(self.config_init["checkpoint"])
        elif any(isinstance(callback, Checkpoint) for callback in given):
            raise ConfigError(
                "trainer.enable_checkpointing is false, but trainer.callbacks has a checkpoint."
            )
        if section.get("enable_progress_bar") is not False:
            callbacks.append(TrainingProgress())
        return callbacks


def missing_values(section: Any, key: str = "") -> Iterator[str]:  # noqa: ANN401 - YAML
    """Dotted keys whose value is `???`: to be given by the user."""
    if section == "???":
        yield key
    elif isinstance(section, dict):
        for name, value in section.items():
            yield from missing_values(value, f"{key}.{name}" if key else str(name))


def _root(error: BaseException) -> BaseException:
    """The first cause, or the error of ours on the way to it, whose words are for the user."""
    while error.__cause__ is not None and not isinstance(error, DiffsrError):
        error = error.__cause__
    return error


def _one_line_report(cause: BaseException, files: Sequence[Path]) -> str:
    frame = cause.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    owner = type(frame.tb_frame.f_locals.get("self")).__name__ if frame else ""
    where = f"{owner}: " if owner and owner != "NoneType" else ""
    return f"{where}{cause} ({', '.join(str(path) for path in files)})"


DESCRIPTIONS = {
    "fit": "Train a speech prior. The same command again continues where the run stopped.",
    "validate": "Score a trained prior on the validation speech.",
    "test": "Run an experiment on a test corpus.",
    "predict": "Restore the recordings of a folder by an experiment file.",
}


def _quoted_path(argument: str) -> str:
    """Write `--a=[b]` as `--a=./[b]` where there is such a path, as YAML would read a list in it."""
    name, _, value = argument.partition("=")
    if not (name.startswith("--") and value and os.path.exists(value)):
        return argument
    try:
        is_list = isinstance(yaml.safe_load(value), list)
    except yaml.YAMLError:
        is_list = False
    return f"{name}=./{value}" if is_list else argument


def _nested_null(argument: str) -> str:
    """Write `--a.init_args.b.c=null` as JSON: inside a dataclass jsonargparse takes it for the text None."""
    keys = re.fullmatch(
        r"(--.+\.init_args\.(?!init_args\b)\w+)\.(?!init_args=|class_path=)(\w+)=null", argument
    )
    return f"{keys[1]}={json.dumps({keys[2]: None})}" if keys else argument


def config_files(arguments: Sequence[str]) -> list[Path]:
    """Paths given by --config or -c, in order."""
    found: list[Path] = []
    for i, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in ("--config", "-c"):
            value = value if equals else "".join(arguments[i + 1 : i + 2])
            if value:
                found.append(Path(value).expanduser())
    return found
