"""A low-pass whose cut-off and slope are not known.

    L(f) = slope max(0, log2(f / cutoff))          attenuation in dB
    H(f) = 10^(-L(f) / 20) where L(f) < 6, else 0

The piecewise linear filter of BABE (arXiv 2306.01433, Sec. 3) with one breakpoint. Different here: what is
attenuated by 6 dB counts as lost, so that the projection onto the sources that explain a recording is exact
and lifts no noise by more than that; and the parameters are fitted to long-term levels, not to waveforms.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from diffsr.degradations.base import Degradation
from diffsr.errors import ConfigError, DataError
from diffsr.signal.damage import LOWEST_EDGE_HZ, find_cutoff_hz
from diffsr.signal.filtering import irfft, rfft
from diffsr.signal.levels import from_db

LOST_DB = 6.0
"""30 dB cost 6 dB of SI-SDR: slopes are found too shallow, and undoing them lifts the top of the band."""
SLOPES_DB = (12.0, 2000.0)
"""Lowest and highest, in dB per octave."""
INITIAL_SLOPE_DB = 200.0
LOWEST_FITTED_HZ = 100.0
"""Below, recordings are filtered by other means."""
_RANGE = 1e-10
_KNEE_DB = 6.0
"""Larger differences of levels count linearly: spectra of estimates have holes."""


class BlindLowPass(Degradation):
    """Upper frequencies fall off from a cut-off on, `[rows, C, T] -> [rows, C, T]`.

    Linear and its own adjoint, without phase, in the discrete Fourier transform of the whole recording and so
    circular, like `LowPass`. The parameters start from where the spectrum of a recording ends and change by
    `fit` alone.

    Args:
        rate_hz: Sample rate.
        lr: Step of Adam, in octaves of cut-off and of slope.
        betas: Decay rates of the averages of Adam.

    Raises:
        ConfigError: The rate holds no cut-off.
    """

    has_projection = True
    extends_band = True
    nothing_found = "has frequencies up to its end: its spectrum falls nowhere as it does after a low-pass"

    def __init__(
        self, rate_hz: int = 16000, lr: float = 0.03, betas: tuple[float, float] = (0.9, 0.99)
    ) -> None:
        super().__init__()
        if rate_hz < 2 * LOWEST_EDGE_HZ:
            raise ConfigError(
                f"rate_hz is {rate_hz}, expected twice the lowest cut-off, {2 * LOWEST_EDGE_HZ:g} Hz."
            )
        self.rate_hz, self.lr, self.betas = rate_hz, lr, betas
        self._parameters_of_rows: Tensor | None = None
        self._optimiser: torch.optim.Adam | None = None

    def reset(self, y: Tensor, n_sources: int) -> None:
        """Start from the ends of the spectra.

        Raises:
            DataError: A spectrum has no end.
        """
        super().reset(y, n_sources)
        cutoff_hz = find_cutoff_hz(y, self.rate_hz)
        if rows := cutoff_hz.isnan().nonzero()[:, 0].tolist():
            raise DataError(
                f"Rows {', '.join(map(str, rows))} of the batch have no end of their spectra below "
                f"{self.rate_hz / 2:g} Hz: no low-pass is to be seen. Give the cut-off (LowPass, "
                "cutoff_hz), or restore them without."
            )
        # The Trainer predicts in inference mode, whose tensors could not be optimised.
        with torch.inference_mode(False):
            slope = torch.full_like(cutoff_hz, math.log2(INITIAL_SLOPE_DB))
            start = torch.stack([cutoff_hz.log2(), slope], dim=-1).float().clone()
            self._parameters_of_rows = start.requires_grad_(True)
            self._optimiser = torch.optim.Adam([start], lr=self.lr, betas=self.betas)

    def damaged(self, y: Tensor) -> Tensor:
        """Where an end of the spectrum is found."""
        return ~find_cutoff_hz(y, self.rate_hz).isnan()

    @property
    def cutoff_hz(self) -> Tensor:
        """Where the attenuation begins, `[rows]`, detached."""
        return self._current().detach()[:, 0].exp2()

    @property
    def slope_db_per_octave(self) -> Tensor:
        """Slope above the cut-off, `[rows]`, detached."""
        return self._current().detach()[:, 1].exp2()

    def forward(self, x: Tensor) -> Tensor:
        """`[rows, C, T] -> [rows, C, T]`."""
        return self._filter(x, self._gain(x.shape[-1]))

    def adjoint(self, r: Tensor) -> Tensor:
        """Symmetric, so its own adjoint."""
        return self(r)

    def consistent(self, x0: Tensor, y: Tensor) -> Tensor:
        """The recording, its attenuation undone, where it is not lost; the estimate elsewhere."""
        gain = self._gain(x0.shape[-1])
        kept = (gain > 0).to(gain)
        undone = torch.where(gain > 0, 1.0 / gain.clamp_min(from_db(-LOST_DB)), 0.0)
        return x0 + self._filter(y, undone) - self._filter(x0, kept)

    def fit(self, source_power: Tensor, power: Tensor, n_updates: int = 10) -> Tensor:
        """M-step: updates of Adam on the mean difference of long-term levels in dB, row by row.

        Args:
            source_power: Expected power before the filter, `E|X|^2` over frames, `[rows, F]`.
            power: That of the observation, `[rows, F]`.
            n_updates: Updates.

        Returns:
            The loss before each update, `[n_updates, rows]`.
        """
        parameters, optimiser = self._current(), self._optimiser
        assert optimiser is not None
        losses = []
        with torch.inference_mode(False), torch.enable_grad():
            source_power, power = source_power.detach().clone(), power.detach().clone()
            hz = torch.linspace(0, self.rate_hz / 2, power.shape[-1], device=power.device)
            used = hz >= LOWEST_FITTED_HZ
            floor = power[:, used].amin(1, keepdim=True) + _RANGE * power.amax(1, keepdim=True) + 1e-30
            target_db = 10 * (power + floor).log10()
            for _ in range(n_updates):
                passed = source_power * 10 ** (-self._attenuation_db(parameters, hz) / 10)
                difference_db = 10 * (passed + floor).log10() - target_db
                zero = torch.zeros_like(difference_db)
                by_bin = F.smooth_l1_loss(difference_db, zero, reduction="none", beta=_KNEE_DB)
                loss = by_bin[:, used].mean(1)
                optimiser.zero_grad(set_to_none=True)
                loss.sum().backward()
                optimiser.step()
                self.project()
                losses.append(loss.detach())
        return torch.stack(losses) if losses else power.new_zeros(0, power.shape[0])

    def project(self) -> None:
        """Cut-offs within 700 Hz and half the rate, slopes within 12 and 2000 dB per octave."""
        parameters = self._current()
        with torch.no_grad():
            parameters[:, 0].clamp_(math.log2(LOWEST_EDGE_HZ), math.log2(self.rate_hz / 2))
            parameters[:, 1].clamp_(*(math.log2(slope) for slope in SLOPES_DB))

    def describe(self) -> dict[str, Tensor]:
        """`cutoff_hz`, `slope_db_per_octave [rows]`."""
        return {"cutoff_hz": self.cutoff_hz, "slope_db_per_octave": self.slope_db_per_octave}

    def _current(self) -> Tensor:
        if self._parameters_of_rows is None:
            raise ConfigError("A blind low-pass has no parameters before reset(y, n_sources).")
        return self._parameters_of_rows

    def _attenuation_db(self, parameters: Tensor, hz: Tensor) -> Tensor:
        """`[rows, 2], [F] -> [rows, F]`."""
        octaves = hz.clamp_min(1.0).log2() - parameters[:, :1]
        return parameters[:, 1:].exp2() * octaves.clamp_min(0)

    def _gain(self, n_samples: int) -> Tensor:
        """H, `[rows, n_samples // 2 + 1]`."""
        parameters = self._current().detach()
        hz = torch.arange(n_samples // 2 + 1, device=parameters.device) * (self.rate_hz / n_samples)
        attenuation_db = self._attenuation_db(parameters, hz)
        return torch.where(attenuation_db < LOST_DB, from_db(-attenuation_db), 0.0)

    def _filter(self, x: Tensor, gain: Tensor) -> Tensor:
        return irfft(rfft(x, x.shape[-1]) * gain[:, None], x.shape[-1])
