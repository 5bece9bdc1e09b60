"""Training of a speech prior."""

from __future__ import annotations

import logging
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from diffsr.callbacks.export import PriorExport
from diffsr.callbacks.listening import PriorSamples
from diffsr.callbacks.pieces import PieceExport
from diffsr.diffusion import LogNormalLevels, Prior
from diffsr.diffusion.loss import denoising_loss
from diffsr.diffusion.pieces import Start, fill, read_start
from diffsr.diffusion.schedule import NoiseLevels
from diffsr.diffusion.validation import band_losses, validation_scores
from diffsr.tasks.budget import budget_used
from diffsr.tasks.devices import log_means, step_seed
from diffsr.tasks.learning_rate import Schedule, check_learning_rate, learning_rate_factor, piece_factor
from diffsr.tasks.optimizer import adamw
from diffsr.tasks.talkers import TalkerCondition

_log = logging.getLogger(__name__)


class PriorModule(LightningModule):
    """Trains a denoiser of clean speech over all noise levels, in one go or in pieces.

    The budget is `trainer.max_steps`, `max_epochs` or `max_time`, whichever is nearest to its end. The
    schedule `cosine` rises linearly over the first `warmup` of the budget and falls to zero at its end.
    `constant` is for a piece of a training: a rise over `warmup_steps`, then no change; `decay` is for the
    last piece: it falls from there to zero.

    Args:
        prior: The prior to train.
        levels: Distribution of the noise levels; log-normal around the level of speech when not given.
        learning_rate: Peak learning rate of AdamW.
        warmup: Share of the budget with a rising learning rate, for `cosine`.
        weight_decay: Of AdamW.
        seed: Seed of the training noise; the noise of step i does not depend on how training was interrupted.
        start: Where the weights come from: what a piece left (`<run>/piece`), or any prior. Random when None.
        schedule: `cosine`, `constant` or `decay`.
        warmup_steps: Steps with a rising learning rate, for `constant` and `decay`.
        speaker_encoder: Folder of the encoder that tells the network whose voice a crop is, from the
            `reference` of its batch; the network needs a `speaker_width`. None for an unconditional prior.
        speaker_dropout: Share of the crops whose talker is not told, so that the prior stays unconditional
            as well.
        compile: Compile the network where it pays, which is on CUDA devices.
        storage: How the exported prior keeps its weights.
        n_samples: Unconditional samples that are drawn when training ends.

    Raises:
        CheckpointError: `start` or `speaker_encoder` is not there or does not fit.
        ConfigError: An argument is out of range.
    """

    def __init__(
        self,
        prior: Prior,
        levels: NoiseLevels | None = None,
        learning_rate: float = 1e-3,
        warmup: float = 0.03,
        weight_decay: float = 0.01,
        seed: int = 0,
        start: str | None = None,
        schedule: Schedule = "cosine",
        warmup_steps: int = 100,
        speaker_encoder: str | None = None,
        speaker_dropout: float = 0.3,
        compile: bool = False,
        storage: Literal["float32", "bfloat16"] = "float32",
        n_samples: int = 4,
    ) -> None:
        super().__init__()
        check_learning_rate(learning_rate, warmup)
        self.prior = prior
        self.levels = levels or LogNormalLevels()
        self.learning_rate, self.warmup, self.weight_decay = learning_rate, warmup, weight_decay
        self.seed, self.schedule, self.warmup_steps = seed, schedule, warmup_steps
        self.compile_network, self.storage, self.n_samples = compile, storage, n_samples
        self.talkers = TalkerCondition(speaker_encoder, prior.speaker_width, prior.rate_hz, speaker_dropout)
        self._start = None if start is None else _started(prior, start)
        self._validation: list[dict[str, Tensor]] = []

    @property
    def history(self) -> tuple[dict[str, Any], ...]:
        """The pieces of this training before this one."""
        return () if self._start is None else self._start.history

    @property
    def initial_average(self) -> tuple[dict[str, Tensor], int] | None:
        """The average to go on from, by the names of `state_dict`, and the updates in it."""
        if self._start is None:
            return None
        average = {f"prior.{name}": tensor for name, tensor in self._start.average.items()}
        return {**self.state_dict(), **average}, self._start.n_averaged

    def on_fit_start(self) -> None:
        """Compile the network, where asked for and of use."""
        if self.compile_network and self.device.type == "cuda":
            self.prior.network.compile()

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Loss of one batch of clean speech: `wave [B, T]`, and `reference [B, T']` of the same talkers."""
        wave = batch["wave"]
        rng = torch.Generator(wave.device).manual_seed(self._step_seed(batch_idx))
        sigma = self.levels.sample(wave.shape[0], rng)
        loss = denoising_loss(self.prior, wave, sigma, rng, self.talkers.draw(batch, rng)).mean()
        self.log("train/loss", loss, prog_bar=True, batch_size=wave.shape[0])
        return loss

    def _step_seed(self, batch_idx: int) -> int:
        """See `step_seed`; the steps of the pieces before count, too."""
        step = self.global_step + (0 if self._start is None else self._start.steps)
        return step_seed(self, self.seed, step, batch_idx)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Loss in each noise band and gain of plain denoising, on fixed items with fixed noise.

        Nobody is told who speaks, but for the losses with names in `told_`, over the items with a reference.
        """
        wave = batch["wave"]
        with torch.compiler.set_stance("force_eager"):  # shapes of their own are not worth compiling
            scores = validation_scores(self.prior, wave, seed=batch_idx)
            if self.talkers.encoder is not None and "reference" in batch:
                speaker, known = self.talkers.embed(batch["reference"])
                told = band_losses(self.prior, wave, batch_idx, speaker)
                told["loss"] = torch.stack(list(told.values())).mean(0)
                scores |= {f"told_{name}": loss.where(known, torch.nan) for name, loss in told.items()}
        self._validation.append(scores)

    def on_validation_epoch_end(self) -> None:
        """Means over the items of all devices."""
        parts, self._validation = self._validation, []
        scores = {name: torch.cat([part[name] for part in parts]) for name in (parts[0] if parts else ())}
        log_means(self, scores)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW without decay of vectors, and the learning rate of `schedule`."""
        return adamw(self, self.learning_rate, self.weight_decay, self._learning_rate_factor)

    def _learning_rate_factor(self, step: int) -> float:
        progress = budget_used(self.trainer, step)
        if self.schedule == "cosine":
            return learning_rate_factor(progress, self.warmup)
        return piece_factor(progress, step, self.warmup_steps, last=self.schedule == "decay")

    def configure_callbacks(self) -> list[Callback]:
        """What a training leaves behind: the prior, a start for the next piece, what it sounds like."""
        callbacks: list[Callback] = [PriorExport()]
        given = self.trainer.callbacks  # type: ignore[attr-defined]
        if not any(isinstance(callback, PieceExport) for callback in given):
            callbacks.append(PieceExport())
        return [*callbacks, PriorSamples(self.n_samples)] if self.n_samples else callbacks

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Store the configuration of the prior, so that the checkpoint loads without its YAML."""
        checkpoint["diffsr_prior"] = self.prior.config


def _started(prior: Prior, source: str) -> Start:
    """Load `source` into `prior`; say what it did not have."""
    start, missing = fill(read_start(source), prior)
    prior.load_state_dict(start.raw)
    if missing:
        _log.warning(
            "%s has no %s: trained from their initial values (%d of %d tensors)",
            source,
            ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else ""),
            len(missing),
            len(start.raw),
        )
    return start
