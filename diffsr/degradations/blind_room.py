"""A room whose response is not known: exponential decays in bands with free phases.

    A_f[n] = s_f exp(-alpha_f n)                   magnitude of bin f in frame n, log-linear between bands
    t60_b  = ln(1000) hop / (alpha_b rate)
    h      = minimum_phase(delta + overlap_add(window irfft(A exp(j phase)))),    then h[0] = 1

The operator of BUDDy (arXiv 2405.04272, Sec. 3.2). Different here: decays and levels are estimated as
logarithms and levels count from 40 dB below the direct path, the response is a filter in time and so exact at
the borders of frames, the outermost bands reach to 0 Hz and half the rate, and the number of frames follows
the longest reverberation time. All rows, talkers and bands are computed at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from diffsr.degradations.base import Degradation
from diffsr.degradations.decay_fit import level_of
from diffsr.degradations.room_fit import fit_response
from diffsr.errors import ConfigError
from diffsr.signal.filtering import fast_length, fft_convolve, fft_correlate, minimum_phase
from diffsr.signal.room_frames import OVERLAP, room_frames
from diffsr.signal.stft import STFT

RANGE_DB = 45.0
"""The response reaches to where the longest decay has fallen so far: speech hides what comes later."""
SHORTEST_RT60_S = 0.1
FLOOR_DB = -40.0
"""Level 0 dB: the decay starts this far below the direct path, sample by sample (RMS)."""
HIGHEST_LEVEL_DB = 40.0
_SILENT_DB = -120.0
_NEPERS = math.log(10.0) / 20.0
_EDGES_HZ = (*range(0, 1000, 125), *range(1000, 3000, 250), *range(3000, 8001, 500))
"""Bands of BUDDy: its 25 lie inside of these 27 at 16 kHz."""


class RoomParameters(NamedTuple):
    """What describes rooms.

    Attributes:
        log_decay: Logarithm of alpha in nepers per frame, `[rows, S, bands]`, or `[rows, 1, bands]` if tied.
        log_level: Logarithm of the amplitude at the start, `[rows, S, bands]`.
        phase: Radians, `[rows, S, F, N]`.
    """

    log_decay: Tensor
    log_level: Tensor
    phase: Tensor


class BlindRoom(Degradation):
    """`y = sum_k h_k * x_k`, one microphone, with responses of minimum phase and unit direct path.

    `forward` is differentiable in x; the parameters change by `fit` alone. All rows start from the same
    phases (one draw for each talker), so that a row does not depend on its batch.

    Args:
        rate_hz: Sample rate.
        longest_rt60_s: Upper limit of the reverberation time; the response is as long as its first 45 dB.
        initial_rt60_s: Reverberation time at the start.
        initial_level_db: Level of the decay at the start.
        tie_decays: All talkers of a row have the same reverberation times: they are those of the room.
        lr: Step of Adam.
        betas: Decay rates of the averages of Adam.

    Raises:
        ConfigError: The longest reverberation time is not above the shortest, 0.1 s.
    """

    mixes = True

    def __init__(
        self,
        rate_hz: int = 16000,
        longest_rt60_s: float = 2.0,
        initial_rt60_s: float = 0.3,
        initial_level_db: float = 12.0,
        tie_decays: bool = False,
        lr: float = 0.1,
        betas: tuple[float, float] = (0.9, 0.99),
    ) -> None:
        super().__init__()
        if not longest_rt60_s > SHORTEST_RT60_S:
            raise ConfigError(
                f"longest_rt60_s is {longest_rt60_s:g}, expected more than the shortest reverberation time, "
                f"{SHORTEST_RT60_S:g} s."
            )
        self.rate_hz, self.tie_decays, self.lr, self.betas = rate_hz, tie_decays, lr, betas
        self.longest_rt60_s, self.initial_level_db = longest_rt60_s, initial_level_db
        self.initial_rt60_s = min(max(initial_rt60_s, SHORTEST_RT60_S), longest_rt60_s)
        n_fft, self.hop_samples = room_frames(rate_hz)
        self.n_frames = math.ceil(longest_rt60_s * RANGE_DB / 60.0 * rate_hz / self.hop_samples)
        edges = torch.tensor([hz for hz in _EDGES_HZ if hz < rate_hz / 2], dtype=torch.float64)
        centres, hz = edges[1:], torch.arange(n_fft // 2 + 1) * (rate_hz / n_fft)
        above = torch.searchsorted(centres, hz.double()).clamp(1, len(centres) - 1)
        share = ((hz - centres[above - 1]) / (centres[above] - centres[above - 1])).clamp(0, 1)
        self.register_buffer("band_hz", centres.float(), persistent=False)
        self.register_buffer("above", above, persistent=False)
        self.register_buffer("share", share.float(), persistent=False)
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.parameters_of_rows: RoomParameters | None = None
        self._optimiser: torch.optim.Adam | None = None
        self._response: Tensor | None = None

    band_hz: Tensor
    above: Tensor
    share: Tensor
    window: Tensor

    def reset(self, y: Tensor, n_sources: int) -> None:
        """Short, quiet decays in all bands, and random phases.

        Raises:
            ConfigError: There is more than one microphone.
        """
        super().reset(y, n_sources)
        if y.shape[1] != 1:
            raise ConfigError(
                f"A blind room has one microphone, found {y.shape[1]} channels. Restore one of them at a "
                "time, or give the room response."
            )
        self.to(y.device)
        rows, n_bands = y.shape[0], len(self.band_hz)
        rng = torch.Generator().manual_seed(0)
        shape = (len(self.share), self.n_frames)
        phase = torch.stack([torch.rand(shape, generator=rng) for _ in range(n_sources)]) * (2 * math.pi)
        # The Trainer predicts in inference mode, whose tensors could not be optimised.
        with torch.inference_mode(False):
            n_decays = 1 if self.tie_decays else n_sources
            log_decay = math.log(self._decay(self.initial_rt60_s))
            log_level = (self.initial_level_db + FLOOR_DB) * _NEPERS
            parameters = RoomParameters(
                torch.full((rows, n_decays, n_bands), log_decay, device=y.device),
                torch.full((rows, n_sources, n_bands), log_level, device=y.device),
                phase.to(y.device).expand(rows, -1, -1, -1).clone(),
            )
            for parameter in parameters:
                parameter.requires_grad_(True)
            self.parameters_of_rows = parameters
        self._optimiser = self._response = None

    def forward(self, x: Tensor) -> Tensor:
        """`[rows, S, T] -> [rows, 1, T]`, as long as x."""
        return fft_convolve(x, self.response()).sum(1, keepdim=True)

    def adjoint(self, r: Tensor) -> Tensor:
        """Correlation with the responses."""
        return fft_correlate(r, self.response())

    def response(self) -> Tensor:
        """Responses with the direct path at lag 0, `[rows, S, T_h]`, detached."""
        if self._response is None:
            with torch.inference_mode(False), torch.no_grad():
                self._response = self.render(self._current())
        return self._response

    def rt60_s(self) -> Tensor:
        """Reverberation time of each band, `[rows, S, bands]`, detached."""
        decay = self._current().log_decay.detach().exp().expand(-1, self.n_sources, -1)
        return self._decay(1.0) / decay

    def level_db(self) -> Tensor:
        """Level at the start of the decay, over 40 dB below the direct path, `[rows, S, bands]`."""
        return self._current().log_level.detach() / _NEPERS - FLOOR_DB

    def render(self, parameters: RoomParameters) -> Tensor:
        """Responses of parameters, `[rows, S, T_h]`; differentiable."""
        frame = torch.arange(self.n_frames, device=self.share.device)
        alpha, log_level = self._at_bins(parameters.log_decay.exp()), self._at_bins(parameters.log_level)
        log_size = log_level[..., None] - alpha[..., None] * frame
        # Exact zeros where nothing is heard any more: numbers close to 0 are slow or end in NaN.
        # Frames of random phase overlap to a variance of 1.5 / n_fft, the sum of the squared windows.
        size = torch.where(
            log_size > _SILENT_DB * _NEPERS, log_size.exp() * math.sqrt(len(self.window) / 1.5), 0.0
        )
        tail = self._overlap_add(torch.complex(size * parameters.phase.cos(), size * parameters.phase.sin()))
        whole = torch.cat([tail[..., :1] + 1.0, tail[..., 1:]], dim=-1)
        early = minimum_phase(whole, fast_length(2 * whole.shape[-1]))
        return torch.cat([torch.ones_like(early[..., :1]), early[..., 1:]], dim=-1)

    def fit(
        self,
        x0: Tensor,
        y: Tensor,
        weight: Tensor | None = None,
        n_updates: int = 10,
        stft: STFT | None = None,
        after: Callable[[Tensor], Tensor] | None = None,
        perturb: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """M-step: updates of Adam on a fixed estimate of what enters the room; see `fit_response`.

        Args:
            x0: Estimated sources `[rows, S, T]`.
            y: Observation `[rows, 1, T]`.
            weight: Inverse variance of the bins `[rows, F, N]`; None compares compressed spectra.
            n_updates: Updates.
            stft: Of the loss.
            after: What happens behind the room, differentiable.
            perturb: Random changes of responses, see `fit_response`.

        Returns:
            The loss before each update, `[n_updates, rows]`.
        """
        parameters = self._current()
        if self._optimiser is None:  # not before it is needed: the first one of a process takes a second
            self._optimiser = torch.optim.Adam(parameters, lr=self.lr, betas=self.betas)
        self._response = None
        render = partial(self.render, parameters)
        return fit_response(
            render, self.project, self._optimiser, x0, y, weight, n_updates, stft, after, perturb
        )

    def set_decays(self, rt60_s: Tensor, frame_energy: Tensor) -> None:
        """Take over decays of bands of equal width `[rows, bands]`, of `DecayFit.of_bands`."""
        place = self.band_hz / (self.rate_hz / 2) * (rt60_s.shape[-1] - 1)
        around = place.long()  # the band that holds the frequency
        parameters = self._current()
        with torch.no_grad():
            parameters.log_decay.copy_((self._decay(1.0) / rt60_s[:, None, around]).log())
            parameters.log_level.copy_(level_of(frame_energy[:, None, around], self.hop_samples))
        self.project()

    def take_over(self, rt60_s: Tensor, level_db: Tensor) -> None:
        """Take over times and levels as `describe` has them, `[rows, S, bands]`; decays must not be tied."""
        parameters = self._current()
        with torch.no_grad():
            parameters.log_decay.copy_((self._decay(1.0) / rt60_s).log())
            parameters.log_level.copy_((level_db + FLOOR_DB) * _NEPERS)
        self.project()

    def project(self) -> None:
        """Reverberation times within 0.1 s and the longest, levels within 0 and 40 dB."""
        parameters = self._current()
        with torch.no_grad():
            slowest, fastest = self._decay(self.longest_rt60_s), self._decay(SHORTEST_RT60_S)
            parameters.log_decay.clamp_(math.log(slowest), math.log(fastest))
            parameters.log_level.clamp_(FLOOR_DB * _NEPERS, (FLOOR_DB + HIGHEST_LEVEL_DB) * _NEPERS)
        self._response = None

    def describe(self) -> dict[str, Tensor]:
        """`room_response [rows, S, 1, T_h]`; `rt60_s`, `room_level_db`, `band_hz [rows, S, bands]`.

        `rt60_at_limit` says where a time is as long as the model allows, so that the room may be longer.
        """
        times = self.rt60_s()
        return {
            "room_response": self.response()[:, :, None],
            "rt60_s": times,
            "rt60_at_limit": times >= 0.999 * self.longest_rt60_s,
            "room_level_db": self.level_db(),
            "band_hz": self.band_hz.expand_as(times),
        }

    def _current(self) -> RoomParameters:
        if self.parameters_of_rows is None:
            raise ConfigError("A blind room has no parameters before reset(y, n_sources).")
        return self.parameters_of_rows

    def _decay(self, rt60_s: float) -> float:
        """Nepers per frame."""
        return math.log(1000.0) * self.hop_samples / (rt60_s * self.rate_hz)

    def _at_bins(self, values: Tensor) -> Tensor:
        """`[rows, S, bands] -> [rows, S, F]`."""
        # Not as a product of matrices, whose rounding depends on the batch.
        return torch.lerp(values[..., self.above - 1], values[..., self.above], self.share)

    def _overlap_add(self, spectrum: Tensor) -> Tensor:
        """Frames `[rows, S, F, N]`, the first one centred at time 0 -> `[rows, S, N hop]`."""
        frames = torch.fft.irfft(spectrum, len(self.window), dim=-2).transpose(-1, -2) * self.window
        pieces = frames.unflatten(-1, (OVERLAP, self.hop_samples))
        late = [F.pad(pieces[..., k, :], (0, 0, k, OVERLAP - 1 - k)) for k in range(OVERLAP)]
        blocks = torch.stack(late).sum(0)[..., OVERLAP // 2 : OVERLAP // 2 + self.n_frames, :]
        return blocks.flatten(-2)
