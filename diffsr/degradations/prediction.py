"""A room as linear prediction: what is heard now is the talker and what the recording's own past predicts."""

from __future__ import annotations

import torch
from torch import Tensor

from diffsr.degradations.base import Degradation
from diffsr.degradations.blind_room import BlindRoom
from diffsr.degradations.decay_fit import DecayFit
from diffsr.degradations.mixing import Mixing
from diffsr.degradations.subband_room import SubbandRoom
from diffsr.errors import ConfigError
from diffsr.signal.room_frames import HOP_S, room_frames
from diffsr.signal.stft import STFT
from diffsr.signal.wpe import predict, stack_past

LEAST_POWER = 1e-10
"""Variance of a bin in the weights of the fit."""
BINS_AT_ONCE = 8
"""Memory follows bins times taps; so few stay in the cache of a core."""


class LatePrediction(Mixing):
    """`Y_n = sum_s X_sn + sum_k G_k Y_(n - delay - k) + sum_s sum_k H_sk X_s,(n - delay - k)` in each bin.

    For one microphone. G is the model of WPE: the recording's past predicts its present. What it leaves,
    responses H of the room to the talkers explain (`SubbandRoom`). Given the filters the room adds a known
    signal, so that everything made for additive mixtures holds. They are found in closed form (`fit`) and
    start as 0. They say little about the room itself, so a `BlindRoom` is kept beside them, whose decays are
    measured on the estimate (`measure`): its response has the decays of the room, not its phases. `describe`
    tells of it; the estimate does not depend on it.

    Args:
        taps: Length of G in frames of 8 ms.
        delay: Frames between a frame and the newest that predicts it.
        rate_hz: Sample rate.
        response_taps: Length of H; 0 leaves it out.
        tied: Whether the responses of several talkers share their decays, see `SubbandRoom`.

    Raises:
        ConfigError: There is no filter at all, or the newest frame that predicts one is that frame.
    """

    linear = False  # but for what the room adds, whatever the sources

    def __init__(
        self,
        taps: int = 40,
        delay: int = 2,
        rate_hz: int = 16000,
        response_taps: int = 40,
        tied: bool = True,
    ) -> None:
        super().__init__()
        if taps < 1 or delay < 1 or response_taps < 0:
            raise ConfigError(
                f"LatePrediction: taps is {taps}, delay {delay} and response_taps {response_taps}; expected "
                "1 or more of the first two, and 0 or more of the last."
            )
        self.taps, self.delay, self.rate_hz = taps, delay, rate_hz
        self.response_taps, self.tied = response_taps, tied
        self.stft = STFT(*room_frames(rate_hz))
        self.room = BlindRoom(rate_hz)
        self.late = self.spec = self.convolved = torch.empty(0)
        self.responses: SubbandRoom | None = None

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
        self.convolved = torch.zeros_like(self.spec)
        self.responses = None
        if self.response_taps:
            shape = (len(y), n_sources, self.stft.n_bins, self.response_taps)
            self.responses = SubbandRoom(*shape, self.delay, HOP_S, y.device, self.tied)

    def forward(self, x: Tensor) -> Tensor:
        """`[rows, S, T] -> [rows, 1, T]`: the talkers and the late reverberation."""
        return super().forward(x) + self.late

    def adjoint(self, r: Tensor) -> Tensor:
        """There is none, see base."""
        return Degradation.adjoint(self, r)

    def measure(self, x0: Tensor, n_updates: int, noise: Tensor | None = None) -> None:
        """Measure the decays on an estimate `[rows, S, T]`; the updates go on from those before.

        `noise` is the power of a sample in the bins and frames of any STFT, see `DecayFit.update`.
        """
        self.decays.update(x0, n_updates, noise)
        self.room.set_decays(*self.decays.of_bands())

    def describe(self) -> dict[str, Tensor]:
        """Those of the room beside it, see `BlindRoom.describe`."""
        return self.room.describe()

    def fit(
        self,
        x0: Tensor,
        variance: Tensor,
        uncertainty: Tensor | float = 0.0,
        model_of_row: Tensor | None = None,
    ) -> None:
        """M-step: filters that best explain what the talkers leave of the recording.

        A little regularised, `G ~ CN(0, 1)`, so that bins without sound and rounding have no say.

        Args:
            x0: Estimated sources `[B, S, T]`, one estimate for each set of filters.
            variance: Of what neither they nor the room explain, broadcastable to `[B, F, N]`.
            uncertainty: `E|X - X0|^2` of each, broadcastable to `[B, S, F, N]`.
            model_of_row: Which of the B sets each row takes `[rows]`, ascending from 0 to B - 1: rows of one
                recording may share one. None for a set for each row.
        """
        models = torch.arange(len(x0), device=x0.device) if model_of_row is None else model_of_row
        dry = self.stft(x0)
        power = variance.expand_as(dry[:, 0]).clamp_min(LEAST_POWER)
        vague = torch.as_tensor(uncertainty).to(power).expand(dry.shape)
        first_rows = torch.searchsorted(models, torch.arange(len(x0), device=x0.device)).tolist()
        # One by one: products of matrices round otherwise in batches.
        late = [
            self.stft.inverse(self._explained(row, *given), x0.shape[-1])
            for row, *given in zip(first_rows, dry, power, vague, strict=True)
        ]
        self.late = torch.stack(late)[models][:, None]

    def _explained(self, row: int, dry: Tensor, power: Tensor, vague: Tensor) -> Tensor:
        """Sound of the room in one row `[F, N]`: prediction, and the responses to what it leaves.

        Talkers and their uncertainty are `[S, F, N]`, power is `[F, N]`.
        """
        heard, left = self.spec[row], self.spec[row] - dry.sum(0)
        predicted = self._predicted(heard, left - self.convolved[row], power)
        if self.responses is None:
            return predicted
        self.convolved[row] = self.responses.explain(row, dry, left - predicted, power, vague)
        return predicted + self.convolved[row]

    def _predicted(self, spec: Tensor, target: Tensor, power: Tensor) -> Tensor:
        """Prediction of one row, all `[F, N]`."""
        found = []
        for bins in torch.arange(len(spec), device=spec.device).split(BINS_AT_ONCE):
            past = stack_past(spec[bins, None], self.taps, self.delay)
            prior = power.new_ones(past.shape[:2])
            found.append(predict(target[bins, None], past, power[bins, None], prior)[:, 0])
        return torch.cat(found)
