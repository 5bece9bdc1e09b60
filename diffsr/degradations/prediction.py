"""A room as linear prediction: what is heard now is the talker and what the recording's own past predicts."""

from __future__ import annotations

import torch
from torch import Tensor

from diffsr.degradations.blind_room import BlindRoom
from diffsr.degradations.mixing import Mixing
from diffsr.errors import ConfigError
from diffsr.signal.stft import STFT
from diffsr.signal.wpe import predict, stack_past

HOP_S = 0.008
LEAST_POWER = 1e-10


class LatePrediction(Mixing):
    """`Y_n = X_n + sum_k G_k Y_(n - delay - k)` in each bin, one microphone: the model of WPE.

    Given the filters G the room adds a known signal, so that everything made for additive mixtures holds.
    G is found in closed form (`fit`); it starts as 0. Filters say little about the room itself, so a
    `BlindRoom` is kept beside them, which can be fitted to the finished estimate (`UpdateRoom`) and is what
    `describe` tells; the estimate does not depend on it.

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
            ConfigError: There is more than one microphone.
        """
        super().reset(y, n_sources)
        if y.shape[1] != 1:
            raise ConfigError(
                f"LatePrediction has one microphone, found {y.shape[1]} channels. Restore each by itself."
            )
        self.room.reset(y, n_sources)
        self.late = torch.zeros_like(y)
        self.spec = self.stft.to(y.device)(y[:, 0])

    def forward(self, x: Tensor) -> Tensor:
        """`[rows, S, T] -> [rows, 1, T]`: the talkers and the late reverberation."""
        return super().forward(x) + self.late

    def describe(self) -> dict[str, Tensor]:
        """Those of the room beside it, see `BlindRoom.describe`."""
        return self.room.describe()

    def fit(self, x0: Tensor, variance: Tensor) -> None:
        """M-step: filters that best predict what the talkers leave of the recording.

        Args:
            x0: Estimated sources `[rows, S, T]`.
            variance: Of what neither they nor the past explain, broadcastable to `[rows, F, N]`.
        """
        spec = self.spec
        left = spec - self.stft(x0.sum(1))
        power = variance.expand_as(spec.real).clamp_min(LEAST_POWER)
        n_samples = x0.shape[-1]
        rows = []
        for row in range(len(spec)):
            found = []
            for bins in torch.arange(spec.shape[1], device=spec.device).split(32):
                target, weight = left[row, bins, None], power[row, bins, None]
                past = stack_past(spec[row, bins, None], self.taps, self.delay)
                found.append(predict(target.to(torch.complex128), past.to(torch.complex128), weight.double()))
            rows.append(self.stft.inverse(torch.cat(found)[:, 0].to(spec), n_samples))
        self.late = torch.stack(rows)[:, None]
