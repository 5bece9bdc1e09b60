"""A room as linear prediction: what is heard now is the talker and what the recording's own past predicts."""

from __future__ import annotations

import torch
from torch import Tensor

from diffsr.degradations.blind_room import BlindRoom
from diffsr.degradations.decay_fit import DecayFit
from diffsr.degradations.mixing import Mixing
from diffsr.signal.stft import STFT
from diffsr.signal.wpe import predict, stack_past

HOP_S = 0.008
LEAST_POWER = 1e-10
"""Variance of a bin in the weights of the fit."""
BINS_AT_ONCE = 32
"""Memory follows bins times taps."""


class LatePrediction(Mixing):
    """`Y_n = X_n + sum_k G_k Y_(n - delay - k)` in each bin, one microphone: the model of WPE.

    Given the filters G the room adds a known signal, so that everything made for additive mixtures holds.
    G is found in closed form (`fit`); it starts as 0. Filters say little about the room itself, so a
    `BlindRoom` is kept beside them, whose decays are measured on the estimate (`measure`): its response has
    the decays of the room, not its phases. `describe` tells of it; the estimate does not depend on it.

    Args:
        taps: Length of the filter in frames of 8 ms.
        delay: Frames between a frame and the newest that predicts it.
        rate_hz: Sample rate.
    """

    def __init__(self, taps: int = 40, delay: int = 2, rate_hz: int = 16000) -> None:
        super().__init__()
        self.taps, self.delay, self.rate_hz = taps, delay, rate_hz
        hop_samples = round(HOP_S * rate_hz)
        self.stft = STFT(4 * hop_samples, hop_samples)
        self.room = BlindRoom(rate_hz)
        self.late = self.spec = torch.empty(0)

    def reset(self, y: Tensor, n_sources: int) -> None:
        """No late reverberation.

        Raises:
            ConfigError: There is more than one microphone, see `BlindRoom`.
        """
        super().reset(y, n_sources)
        self.room.reset(y, n_sources)
        self.decays = DecayFit(y[:, 0], self.stft.to(y.device), self.rate_hz)
        self.late = torch.zeros_like(y)
        self.spec = self.stft.to(y.device)(y[:, 0])

    def forward(self, x: Tensor) -> Tensor:
        """`[rows, S, T] -> [rows, 1, T]`: the talkers and the late reverberation."""
        return super().forward(x) + self.late

    def measure(self, x0: Tensor, n_updates: int, noise: Tensor | None = None) -> None:
        """Measure the decays on an estimate `[rows, S, T]`; the updates go on from those before.

        `noise` is the power of a sample in the bins and frames of any STFT, see `DecayFit.update`.
        """
        self.decays.update(x0, n_updates, noise)
        self.room.set_decays(*self.decays.of_bands())

    def describe(self) -> dict[str, Tensor]:
        """Those of the room beside it, see `BlindRoom.describe`."""
        return self.room.describe()

    def fit(self, x0: Tensor, variance: Tensor) -> None:
        """M-step: filters that best predict what the talkers leave of the recording.

        A little regularised, `G ~ CN(0, 1)`, so that bins without sound and rounding have no say.

        Args:
            x0: Estimated sources `[rows, S, T]`.
            variance: Of what neither they nor the past explain, broadcastable to `[rows, F, N]`.
        """
        left = self.spec - self.stft(x0.sum(1))
        power = variance.expand_as(self.spec.real).clamp_min(LEAST_POWER)
        # Row by row: products of matrices round otherwise in batches.
        rows = [
            self.stft.inverse(self._predicted(*row), x0.shape[-1])
            for row in zip(self.spec, left, power, strict=True)
        ]
        self.late = torch.stack(rows)[:, None]

    def _predicted(self, spec: Tensor, target: Tensor, power: Tensor) -> Tensor:
        """Prediction of one row, all `[F, N]`."""
        found = []
        for bins in torch.arange(len(spec), device=spec.device).split(BINS_AT_ONCE):
            past = stack_past(spec[bins, None], self.taps, self.delay).to(torch.complex128)
            prior = torch.ones(past.shape[:2], dtype=torch.float64, device=past.device)
            late = predict(target[bins, None].to(torch.complex128), past, power[bins, None].double(), prior)
            found.append(late[:, 0])
        return torch.cat(found).to(spec)
