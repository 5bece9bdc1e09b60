"""Training of a noise listener on clean speech and imagined noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffsr.noise import ImaginedNoise, NoiseListener
from diffsr.noise.card import listener_card
from diffsr.noise.loss import listening_loss, slow_error
from diffsr.tasks.devices import means_over_devices
from diffsr.tasks.small_network import SmallNetworkModule

DB = 10 / math.log(10)


class ListenerModule(SmallNetworkModule):
    """Trains a listener to tell noise from speech, without any recorded noise.

    Each batch of clean speech gets noise that is imagined anew (`noise.imagined`). The budget is
    `trainer.max_steps`, `max_epochs` or `max_time`, whichever is nearest to its end.

    Args:
        listener: The listener to train.
        noise: What noise is imagined; the defaults of `ImaginedNoise` when not given.
        start: Listener whose weights to start from, a name that ships, a folder or a checkpoint; None for
            random ones.
        learning_rate: Peak learning rate of AdamW.
        warmup: Share of the budget with a rising learning rate.
        weight_decay: Of AdamW, for matrices.
        seed: Seed of the noise; that of step i does not depend on how training was interrupted.

    Raises:
        CheckpointError: There is no listener to start from, or it has other sizes.
    """

    def __init__(
        self,
        listener: NoiseListener,
        noise: ImaginedNoise | None = None,
        start: str | None = None,
        learning_rate: float = 2e-3,
        warmup: float = 0.04,
        weight_decay: float = 0.02,
        seed: int = 0,
    ) -> None:
        super().__init__(learning_rate, warmup, weight_decay, seed)
        self.listener, self.noise = listener, noise or ImaginedNoise()
        if start is not None:
            self.start_from(start)
        self._squares: list[Tensor] = []

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Loss of `wave [B, T]`."""
        power, noise = self._noisy(batch["wave"], self.step_rng(batch_idx))
        loss = listening_loss(self.listener.log_power(power), noise)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(power))
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Hear noise that is the same at every validation."""
        power, noise = self._noisy(batch["wave"], torch.Generator(self.device).manual_seed(batch_idx))
        heard = self.listener.log_power(power)
        self._squares.append(slow_error(heard, noise).square().mean((1, 2)))
        self.log("valid/loss", listening_loss(heard, noise), batch_size=len(power), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        """RMS error of the drifting level in dB, over the items of all devices."""
        squares, self._squares = torch.cat([torch.empty(0, device=self.device), *self._squares]), []
        for mean in means_over_devices(self, {"square": squares}).values():
            self.log("valid/level_error_db", DB * mean.sqrt(), sync_dist=True)

    @property
    def network(self) -> NoiseListener:
        """See the base."""
        return self.listener

    def card(self) -> str:
        """See the base."""
        return listener_card(self.listener, self.facts())

    def _noisy(self, wave: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Powers of noisy speech and of its noise; in single precision, as powers span more than bfloat16."""
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            return self.noise(wave.float(), self.listener.stft, self.listener.rate_hz, rng)
