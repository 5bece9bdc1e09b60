"""Training of a speaker encoder on clean speech."""

from __future__ import annotations

import torch
from torch import Tensor

from diffsr.errors import ConfigError
from diffsr.speakers import SpeakerEncoder
from diffsr.speakers.augmentation import SPEEDS, Disturbances, change_speed, colour, disturb
from diffsr.speakers.card import encoder_card
from diffsr.speakers.loss import contrast
from diffsr.speakers.verification import equal_error_rate
from diffsr.tasks.devices import log_means
from diffsr.tasks.redrawing import Redrawing
from diffsr.tasks.teacher import Teacher
from diffsr.tasks.voices import VoiceModule


class SpeakerModule(VoiceModule):
    """Trains an encoder to tell talkers apart, whatever the microphone, the noise and the level.

    The task is to find the reference of a crop among those of a batch. Both are played at one of three
    speeds, each of which makes another talker, and disturbed, or redrawn by a prior, independently of each
    other. Crops without a label or a reference are left out. The budget is `trainer.max_steps`, `max_epochs`
    or `max_time`, whichever is nearest to its end.

    Args:
        encoder: The encoder to train.
        disturbances: How recordings are disturbed; the defaults of `Disturbances` when not given.
        redrawing: How a prior redraws some of them, which get their colour and nothing else; None for none.
        teacher: Frozen encoder; the embeddings of crop and reference shall both be what it says of the two,
            clean and in one piece. None for none.
        start: Encoder whose weights to start from, a name that ships, a folder or a checkpoint; None for
            random ones.
        learning_rate: Peak learning rate of AdamW.
        warmup: Share of the budget with a rising learning rate.
        weight_decay: Of AdamW, for matrices.
        seed: Seed of the disturbances; those of step i do not depend on how training was interrupted.

    Raises:
        DataError: The training speech names fewer than two talkers.
        CheckpointError: There is no encoder to start from, or it has other sizes.
        ConfigError: The batches have no references, or the prior or the teacher does not go with the encoder.
    """

    learner = "a speaker encoder learns from labels of two or more"

    def __init__(
        self,
        encoder: SpeakerEncoder,
        disturbances: Disturbances | None = None,
        redrawing: Redrawing | None = None,
        teacher: Teacher | None = None,
        start: str | None = None,
        learning_rate: float = 2e-3,
        warmup: float = 0.05,
        weight_decay: float = 0.05,
        seed: int = 0,
    ) -> None:
        super().__init__(learning_rate, warmup, weight_decay, seed)
        self.encoder = encoder
        self.disturbances = disturbances or Disturbances()
        self.redrawing, self.teacher = redrawing, teacher
        if redrawing is not None:
            redrawing.check_rate(encoder.rate_hz, "the encoder")
        if teacher is not None:
            teacher.check(encoder)
        if start is not None:
            self.start_from(start)
        self._validation: list[tuple[Tensor, Tensor, Tensor]] = []

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Loss of `wave [B, T]` and `reference [B, T']` of the talkers `speaker [B]`; 0 if none is known."""
        rng = self.step_rng(batch_idx)
        known = known_rows(batch)
        if len(known) == 0:
            return self.no_loss()
        speed = torch.randint(len(SPEEDS), known.shape, generator=rng, device=known.device)
        talker = batch["speaker"][known] * len(SPEEDS) + speed
        clean = [self._played(batch[name][known], speed) for name in ("wave", "reference")]
        first, second = (self.encoder(self._another(wave, rng)) for wave in clean)
        with torch.autocast(self.device.type, enabled=False):  # cosines times 20 need single precision
            loss = contrast(first, second, talker)
            if self.teacher is not None:
                loss = loss + self.teacher.loss((first, second), torch.cat(clean, dim=-1))
        self.log("train/loss", loss, prog_bar=True, batch_size=len(known))
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Embed crops and references, disturbed in the same way at every validation."""
        known = known_rows(batch)
        if len(known) == 0:
            return
        rng = torch.Generator(self.device).manual_seed(batch_idx)
        first, second = (
            self.encoder(self._another(batch[name][known], rng)) for name in ("wave", "reference")
        )
        self._validation.append((first, second, batch["speaker"][known]))

    def on_validation_epoch_end(self) -> None:
        """Equal error rate of every crop with every reference of its device; none without labels."""
        embedded, self._validation = self._validation, []
        rates = torch.empty(0)
        if embedded:
            first, second, talker = (torch.cat(part).cpu() for part in zip(*embedded, strict=True))
            same = talker[:, None] == talker[None]
            rate = equal_error_rate((first @ second.T).flatten().float(), same.flatten())
            rates = torch.full((len(talker),), float(rate))  # a mean over devices counts their crops
        log_means(self, {"equal_error_rate": rates})

    @property
    def network(self) -> SpeakerEncoder:
        """See the base."""
        return self.encoder

    def card(self) -> str:
        """See the base."""
        return encoder_card(self.encoder, self.facts())

    def _played(self, wave: Tensor, speed: Tensor) -> Tensor:
        """Each wave at its speed, `[B, T] -> [B, T / max(SPEEDS)]`."""
        n_samples = 2 * int(wave.shape[-1] / max(SPEEDS) / 2)
        return change_speed(wave, speed, n_samples, self.encoder.rate_hz)

    def _another(self, wave: Tensor, rng: torch.Generator) -> Tensor:
        """Another recording of each wave, or what the prior makes of it, `[B, T]`."""
        rate_hz, how = self.encoder.rate_hz, self.disturbances
        if self.redrawing is None:
            return disturb(wave, rate_hz, how, rng)
        order = torch.randperm(len(wave), generator=rng, device=wave.device)
        drawn, others = order.tensor_split([round(self.redrawing.share * len(wave))])
        heard = torch.empty_like(wave)
        if len(drawn):  # transforms take no empty batches
            coloured = colour(wave[drawn], rate_hz, how.colour_db, how.low_pass, rng)
            heard[drawn] = self.redrawing(coloured[:, None], rng)[:, 0]
        if len(others):
            heard[others] = disturb(wave[others], rate_hz, how, rng)
        return heard


def known_rows(batch: dict[str, Tensor]) -> Tensor:
    """Rows of a batch whose talker has a label and a reference, int64 `[b]`.

    Raises:
        ConfigError: The batch has no references.
    """
    if "reference" not in batch:
        raise ConfigError("The batches have no references. Set data.init_args.reference_s to some seconds.")
    with_reference = batch["reference"].abs().amax(-1) > 0
    return ((batch["speaker"] >= 0) & with_reference).nonzero()[:, 0]
