"""Lost packets: some stretches of time were never recorded."""

from __future__ import annotations

import torch
from torch import Tensor

from diffsr.degradations.base import Degradation, per_row, refuse_resampled
from diffsr.errors import ConfigError, DataError
from diffsr.signal.damage import SHORTEST_GAP_MS, find_gaps


class PacketLoss(Degradation):
    """`m_t x_t`: samples outside the mask are lost and became zeros.

    Args:
        received: Known masks of items, true where a sample was received, bool `[B, T]`; None to look for runs
            of zeros (`find_gaps`).
        rate_hz: Sample rate of the recordings.
        shortest_gap_ms: Shorter runs of zeros are no gaps.

    Raises:
        ConfigError: The rate or the shortest gap is not above 0.
    """

    has_projection = True
    keeps_samples = True
    nothing_found = "has no gaps, or they were filled or filtered: there are no runs of exact zeros"

    def __init__(
        self,
        received: Tensor | None = None,
        rate_hz: int = 16000,
        shortest_gap_ms: float = SHORTEST_GAP_MS,
    ) -> None:
        super().__init__()
        if not (shortest_gap_ms > 0 and rate_hz > 0):
            raise ConfigError(
                f"shortest_gap_ms is {shortest_gap_ms:g} and rate_hz {rate_hz}, expected both above 0, such "
                f"as {SHORTEST_GAP_MS:g} and 16000."
            )
        self.known, self.rate_hz, self.shortest_gap_ms = received, rate_hz, shortest_gap_ms
        self.received = torch.ones(1, 1, dtype=torch.bool)
        """Mask of this batch, bool `[rows, T]`."""

    def reset(self, y: Tensor, n_sources: int) -> None:
        """The known mask, or the one found in y.

        Raises:
            DataError: The mask has another length or type, keeps nothing, or no gap was found.
        """
        super().reset(y, n_sources)
        if self.known is None:
            self.received = ~find_gaps(y, self.rate_hz, self.shortest_gap_ms)
            _refuse_rows(
                self.received.all(1),
                f"hold no run of zeros of {self.shortest_gap_ms:g} ms or more: no packet seems to be lost, "
                "or its gap was filled or filtered. Give the mask, or a smaller shortest_gap_ms",
            )
            return
        if self.known.ndim != 2 or self.known.shape[1] != y.shape[-1]:
            raise DataError(
                f"The mask has the shape {list(self.known.shape)}, expected one line of {y.shape[-1]} "
                "samples for each recording, true where a sample was received. Cut or extend it."
            )
        if self.known.dtype != torch.bool:
            raise DataError(
                f"The mask holds {self.known.dtype}, expected torch.bool: true where a sample was received. "
                "Compare it with a number first (mask > 0.5)."
            )
        self.received = per_row(self.known.bool(), y, "masks")
        _refuse_rows(
            ~self.received.any(1), "receive nothing by their masks. Invert the mask: true means received"
        )

    def damaged(self, y: Tensor) -> Tensor:
        """Where gaps are found, if the mask is not known."""
        if self.known is not None:
            return super().damaged(y)
        return find_gaps(y, self.rate_hz, self.shortest_gap_ms).any(1)

    def check_rates(self, recorded_hz: int, rate_hz: int) -> None:
        """See base: resampled, gaps are filled with ringing."""
        super().check_rates(recorded_hz, rate_hz)
        refuse_resampled(recorded_hz, rate_hz, "a gap")

    def forward(self, x: Tensor) -> Tensor:
        """`[rows, C, T] -> [rows, C, T]`."""
        return x * self.received[:, None]

    def adjoint(self, r: Tensor) -> Tensor:
        """Diagonal, so its own adjoint."""
        return self(r)

    def consistent(self, x0: Tensor, y: Tensor) -> Tensor:
        """The recording where it was received, the estimate elsewhere."""
        return torch.where(self.received[:, None], y, x0)

    def describe(self) -> dict[str, Tensor]:
        """`received`, bool `[rows, T]`."""
        return {"received": self.received}


def _refuse_rows(bad: Tensor, reason: str) -> None:
    rows = bad.nonzero()[:, 0].tolist()
    if rows:
        raise DataError(f"Rows {', '.join(map(str, rows))} of the batch {reason}.")
