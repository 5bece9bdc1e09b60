"""Training of a voice tracker on clean speech."""

from __future__ import annotations

import torch
from torch import Tensor

from diffsr.speakers.card import tracker_card
from diffsr.speakers.consistency import turned
from diffsr.speakers.exchanges import Exchanges, Plan, make_plan
from diffsr.speakers.following import importance
from diffsr.speakers.tracking import STACKED, VoiceTracker, tracking_loss
from diffsr.tasks.devices import log_means
from diffsr.tasks.redrawing import Redrawing
from diffsr.tasks.voices import VoiceModule


class TrackerModule(VoiceModule):
    """Trains a tracker to tell where two tracks exchange their voices.

    Each crop of a batch is paired with the next one of another talker, and they become two tracks that change
    places at random times (`speakers.exchanges`), by their powers alone or as a prior redraws them. Talkers
    without a label are paired with those that have one. The budget is `trainer.max_steps`, `max_epochs`
    or `max_time`, whichever is nearest to its end.

    Args:
        tracker: The tracker to train.
        exchanges: How voices become tracks; the defaults of `Exchanges` when not given.
        redrawing: How a prior redraws some of the tracks; None to leave them as they are.
        start: Tracker whose weights to start from, a name that ships, a folder or a checkpoint; None for
            random ones.
        learning_rate: Peak learning rate of AdamW.
        warmup: Share of the budget with a rising learning rate.
        weight_decay: Of AdamW, for matrices.
        seed: Seed of the exchanges; those of step i do not depend on how training was interrupted.

    Raises:
        DataError: The training speech names fewer than two talkers.
        CheckpointError: There is no tracker to start from, or it has other sizes.
        ConfigError: The prior that redraws is for another rate.
    """

    learner = "a voice tracker learns from pairs that differ"

    def __init__(
        self,
        tracker: VoiceTracker,
        exchanges: Exchanges | None = None,
        redrawing: Redrawing | None = None,
        start: str | None = None,
        learning_rate: float = 1e-3,
        warmup: float = 0.04,
        weight_decay: float = 0.02,
        seed: int = 0,
    ) -> None:
        super().__init__(learning_rate, warmup, weight_decay, seed)
        self.tracker = tracker
        self.exchanges = exchanges or Exchanges()
        self.redrawing = redrawing
        if redrawing is not None:
            redrawing.check_rate(tracker.rate_hz, "the tracker")
        if start is not None:
            self.start_from(start)
        self._wrong: list[tuple[Tensor, Tensor]] = []

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Loss of `wave [B, T]` of the talkers `speaker [B]`; 0 where no two are known to differ."""
        drawn = self._draw(batch, self.step_rng(batch_idx))
        if drawn is None:
            return self.no_loss()
        tracks, plan = drawn
        direction = self.tracker(tracks)
        with torch.autocast(self.device.type, enabled=False):  # products of directions need single precision
            loss = tracking_loss(direction, *by_token(plan))
        self.log("train/loss", loss, prog_bar=True, batch_size=len(direction))
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Find the order of tracks that change places in the same way at every validation."""
        drawn = self._draw(batch, torch.Generator(self.device).manual_seed(batch_idx))
        if drawn is None:
            return
        tracks, plan = drawn
        sign, weight = by_token(plan)
        found = 1.0 - 2.0 * turned(self.tracker(tracks), weight).float()
        agreed = (weight * sign * found).sum(-1) / weight.sum(-1)
        self._wrong.append(
            ((1 - agreed.abs()) / 2, (1 - ((weight * sign).sum(-1) / weight.sum(-1)).abs()) / 2)
        )

    def on_validation_epoch_end(self) -> None:
        """Share of the voices' power in the wrong track, as found and without exchanges."""
        wrong, self._wrong = self._wrong, []
        nothing = torch.empty(0, device=self.device)
        found, given = (torch.cat([nothing, *(pair[k] for pair in wrong)]) for k in (0, 1))
        log_means(self, {"wrong_share": found, "wrong_share_before": given})

    @property
    def network(self) -> VoiceTracker:
        """See the base."""
        return self.tracker

    def card(self) -> str:
        """See the base."""
        return tracker_card(self.tracker, self.facts())

    def _draw(self, batch: dict[str, Tensor], rng: torch.Generator) -> tuple[Tensor, Plan] | None:
        """Powers of the tracks of each crop and the next one, of another talker, and what is true of them."""
        talker = batch["speaker"]
        following = talker.roll(-1)
        rows = ((talker != following) & (talker.maximum(following) >= 0)).nonzero()[:, 0]
        if len(rows) == 0:
            return None
        bands, frames_hz = self.tracker.bands, self.tracker.rate_hz / self.tracker.bands.hop_samples
        with torch.no_grad():
            voices = _paired(bands(batch["wave"]), rows)
            plan = make_plan(voices, frames_hz, self.exchanges, rng)
            tracks = plan.of_powers(voices)
            count = 0 if self.redrawing is None else round(self.redrawing.share * len(rows))
            if self.redrawing is not None and count:
                waves = plan.first(count).of_waves(_paired(batch["wave"], rows[:count]), bands)
                tracks[:count] = bands(self.redrawing(waves, rng))
            return plan.finish(tracks), plan


def _paired(voices: Tensor, rows: Tensor) -> Tensor:
    """`[B, ...] -> [rows, 2, ...]`: these rows, each with the next one."""
    return torch.stack([voices[rows], voices.roll(-1, 0)[rows]], dim=1)


def by_token(plan: Plan) -> tuple[Tensor, Tensor]:
    """Sign and weight of a tracker's tokens, `[B, N // 3]` each; where tracks change there is no sign."""
    n_tokens = plan.sign.shape[-1] // STACKED
    sign, heard = (
        part[:, : n_tokens * STACKED].unflatten(-1, (n_tokens, STACKED)).mean(-1)
        for part in (plan.sign, plan.heard)
    )
    sign = torch.where(sign.abs() > 0.5, sign.sign(), 0.0)
    return sign, importance(heard) * (sign != 0)
