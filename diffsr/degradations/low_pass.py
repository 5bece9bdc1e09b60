"""Missing upper bands."""

from __future__ import annotations

import torch
from torch import Tensor

from diffsr.degradations.base import Degradation, per_row
from diffsr.errors import ConfigError, DataError
from diffsr.signal.filtering import irfft, rfft


class LowPass(Degradation):
    """All frequencies above a cut-off are gone; those below are untouched.

    Ideal in the discrete Fourier transform of the whole recording: linear, its own adjoint and its own
    square, so that the projection onto the sources that explain y is exact. A filter with a slope halves
    again what it has halved. The price is that it is circular: the ends of a recording ring into each other.

    Args:
        cutoff_hz: Highest frequency that is kept, one for all or one for each item `[B]`.
        rate_hz: Sample rate.

    Raises:
        ConfigError: A cut-off is not between 0 and half the rate.
    """

    has_projection = True
    extends_band = True
    known: Tensor

    def __init__(self, cutoff_hz: Tensor | float, rate_hz: int = 16000) -> None:
        super().__init__()
        self.known = torch.as_tensor(cutoff_hz, dtype=torch.float32).reshape(-1)
        self.rate_hz = rate_hz
        if not bool(((self.known > 0) & (self.known < rate_hz / 2)).all()):
            raise ConfigError(
                f"The cut-off is {self.known.tolist()} Hz, expected more than 0 and less than "
                f"{rate_hz / 2:g} Hz, half the rate. Correct cutoff_hz or rate_hz={rate_hz}."
            )
        self.cutoff_hz = self.known
        """Cut-offs of this batch `[rows]`."""

    def reset(self, y: Tensor, n_sources: int) -> None:
        """Known cut-offs."""
        super().reset(y, n_sources)
        self.cutoff_hz = per_row(self.known, y, "cut-offs")

    def check_rates(self, recorded_hz: int, rate_hz: int) -> None:
        """See base.

        Raises:
            DataError: The recording's rate does not reach the cut-off.
        """
        super().check_rates(recorded_hz, rate_hz)
        highest_hz = float(self.known.max())
        if highest_hz > recorded_hz / 2:
            raise DataError(
                f"The cut-off is {highest_hz:g} Hz and the recording of {recorded_hz} Hz ends at "
                f"{recorded_hz / 2:g} Hz. Give a cut-off below that: where its frequencies really end."
            )

    def forward(self, x: Tensor) -> Tensor:
        """`[rows, C, T] -> [rows, C, T]`."""
        n_samples = x.shape[-1]
        hz = torch.arange(n_samples // 2 + 1, device=x.device) * (self.rate_hz / n_samples)
        kept = hz <= self.cutoff_hz[:, None]
        return irfft(rfft(x, n_samples) * kept[:, None], n_samples)

    def adjoint(self, r: Tensor) -> Tensor:
        """Symmetric, so its own adjoint."""
        return self(r)

    def consistent(self, x0: Tensor, y: Tensor) -> Tensor:
        """The band of the recording below the cut-off, that of the estimate above."""
        return x0 + self(y - x0)

    def describe(self) -> dict[str, Tensor]:
        """`cutoff_hz [rows]`."""
        return {"cutoff_hz": self.cutoff_hz}
