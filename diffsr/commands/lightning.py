"""The verbs of LightningCLI: fit, validate, test, predict."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from diffsr.commands.guards import check_arguments, check_data
from diffsr.commands.lightning_cli import RUN_VARIABLE, AlreadyFinished, RunCLI
from diffsr.commands.run_folder import Reached, remove_if_empty
from diffsr.commands.terminal import note
from diffsr.errors import CheckpointError, ConfigError

UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR}


def run(verb: str, arguments: Sequence[str]) -> int:
    """Run one verb.

    Returns:
        Exit code: 0 done (or nothing left to do), 130 stopped by Ctrl-C, 143 by SIGTERM.

    Raises:
        DiffsrError: The configuration, the data or a checkpoint does not work.
    """
    check_arguments(verb, arguments)
    quieten()
    with _clean_up():
        try:
            cli = RunCLI(verb, arguments)
        except AlreadyFinished as found:
            return _nothing_left(found)
        except OSError as error:
            _tell_unwritten(error, "the folder of the run")
            raise
        try:
            return _fit(cli) if verb == "fit" else _score_or_predict(cli)
        except MisconfigurationException as error:
            raise ConfigError(str(error)) from error
        except ValueError as error:
            if "val_check_interval" not in str(error):
                raise
            raise ConfigError(
                f"{error} Count batches over epochs with --trainer.check_val_every_n_epoch=null."
            ) from error
        except RuntimeError as error:
            if cli.ckpt_path is None or "loading state_dict" not in str(error):
                raise
            raise _misfit(cli, error) from error
        except OSError as error:
            _tell_unwritten(error, cli.run_folder.path)
            raise
        finally:
            remove_if_empty(cli.run_folder.path)


def _tell_unwritten(error: OSError, where: Path | str) -> None:
    """Raise what to tell of a place that cannot be written; nothing of other errors."""
    if error.errno in UNWRITABLE:
        raise ConfigError(
            f"{error.filename or where} cannot be written ({error.strerror}). Free some disk space or choose "
            "another place with --runs DIR."
        ) from error


class EndsAtSigterm(Callback):
    """Ends a prediction at SIGTERM: Lightning takes note of it and predicts on."""

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signal over from Lightning, which has just taken it."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, _end)


def _end(*_: object) -> None:
    raise SIGTERMException


def _misfit(cli: RunCLI, error: RuntimeError) -> CheckpointError:
    """What to tell of a checkpoint of another model; the error of PyTorch names all tensors, line by line."""
    first = str(error).strip().splitlines()[1:2]
    return CheckpointError(
        f"{cli.ckpt_path}: its weights do not fit this model ({''.join(first).strip()[:200]}). Give a "
        "checkpoint of the same model, or the configuration that belongs to this one."
    )


def _score_or_predict(cli: RunCLI) -> int:
    scoring = {"ckpt_path": cli.ckpt_path, "weights_only": True}
    options = {"return_predictions": False} if cli.verb == "predict" else scoring
    check_data(cli.verb, cli.datamodule)
    cli.trainer.callbacks.append(EndsAtSigterm())  # type: ignore[attr-defined]
    try:
        getattr(cli.trainer, cli.verb)(cli.model, datamodule=cli.datamodule, **options)
    except SIGTERMException:
        return 143
    except SystemExit:
        if not cli.trainer.interrupted:
            raise
        raise KeyboardInterrupt from None  # Lightning's answer to Ctrl-C says nothing
    return 0


def _fit(cli: RunCLI) -> int:
    trainer, folder = cli.trainer, cli.run_folder
    trial = trainer.fast_dev_run  # type: ignore[attr-defined]
    if trainer.is_global_zero and not trial:
        folder.mark.unlink(missing_ok=True)  # what comes now may be stopped before it is finished
    try:
        # weights_only: a checkpoint of somebody else must not run code
        trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=cli.ckpt_path, weights_only=True)
    except SIGTERMException:
        return _stopped(cli, 143)
    except SystemExit:
        if not trainer.interrupted:
            raise
        return _stopped(cli, 130)  # Lightning's answer to Ctrl-C
    except KeyboardInterrupt:
        return _stopped(cli, 130)
    if trainer.is_global_zero and not trial and folder.checkpoint.is_file():
        elapsed = [callback.time_elapsed() for callback in _timers(trainer)]
        Reached(trainer.global_step, trainer.current_epoch, max(elapsed, default=None), cli.budget).write(
            folder
        )
        note(f"done after {trainer.global_step} steps: {folder.path}{_prior_hint(cli)}")
    return 0


def _stopped(cli: RunCLI, code: int) -> int:
    folder = cli.run_folder
    if cli.trainer.is_global_zero:
        if folder.checkpoint.is_file():
            # --resume never starts over, --resume FILE from that file.
            same = "give the same command again, or: " if cli.config.resume == "auto" else ""
            note(
                f"stopped at step {cli.trainer.global_step}; the state is saved. To continue, {same}diffsr "
                f"fit --config {folder.path / 'config.yaml'}"
            )
        else:
            note("stopped before the first step; nothing to continue from.")
    return code


def _nothing_left(found: AlreadyFinished) -> int:
    folder = found.run
    prior = f"; the prior is {folder.prior}" if folder.prior.is_dir() else ""
    note(
        f"{folder.path} is trained already ({found.reached}){prior}. Train longer with a larger "
        "trainer.max_steps or trainer.max_time, or start over with --resume never."
    )
    return 0


def _prior_hint(cli: RunCLI) -> str:
    prior = cli.run_folder.prior
    return f"\n  restore recordings with: diffsr restore IN OUT --prior {prior}" if prior.is_dir() else ""


def _timers(trainer: Trainer) -> list[Timer]:
    return [callback for callback in trainer.callbacks if isinstance(callback, Timer)]  # type: ignore[attr-defined]


@contextlib.contextmanager
def _clean_up() -> Iterator[None]:
    """Leave the process group, signals and the environment as they were.

    Lightning switches Ctrl-C off when it stops, and leaves the process group of gloo to the end of the
    interpreter, where its threads now and then abort the process ("terminate called without an active
    exception").
    """
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        os.environ.pop(RUN_VARIABLE, None)
        with contextlib.suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGINT, before)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def quieten() -> None:
    """Silence advice that is no news for our users; warnings about their settings stay."""
    for pattern in (
        ".*does not have many workers.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*callbacks used to create the checkpoint need to be provided.*",
        ".*LightningCLI's args parameter.*",
        ".*isinstance\\(treespec, LeafSpec\\).*",
        ".*`lightning_logs`.*",
        ".*is smaller than the logging interval.*",
        ".*is not supported by the model summary.*",
        ".*predict returned None.*",  # results go to files
        ".*your dataloader is not resumable.*",  # crops are drawn anew from (seed, epoch, index)
    ):
        warnings.filterwarnings("ignore", message=pattern)
    if not sys.flags.dev_mode:
        for name in ("utilities.rank_zero", "trainer.connectors.checkpoint_connector"):
            logging.getLogger(f"lightning.pytorch.{name}").setLevel(logging.WARNING)
        logging.getLogger("lightning.fabric.utilities.seed").setLevel(logging.WARNING)
