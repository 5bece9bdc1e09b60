"""Levels of the talkers' direct paths."""

from __future__ import annotations

import torch
from torch import Tensor

from diffsr.degradations.base import Degradation, per_row
from diffsr.signal.levels import db, from_db

LIMIT_DB = 12.0
"""The prior knows speech at many levels; a gain beyond this would hide an error elsewhere."""
_RIDGE = 1e-6


class Gain(Degradation):
    """`g_k x_k`: each talker of each row has a gain, within 12 dB of 1.

    Where rooms have a unit direct path, this is its level. `fit` estimates it.

    Args:
        gain_db: Known gains of items and talkers `[B, S]`, or where `fit` starts; None is 0 dB.
        fit: Whether `samplers.UpdateGain` re-estimates the gains; without, they stay as given.
    """

    has_projection = True
    reaches_all = True

    def __init__(self, gain_db: Tensor | None = None, fit: bool = False) -> None:
        super().__init__()
        self.known, self.is_fitted = gain_db, fit
        self.gain_db = torch.zeros(1, 1)
        """Gains of this batch `[rows, S]`."""

    def reset(self, y: Tensor, n_sources: int) -> None:
        """Known gains, or 0 dB."""
        self.n_sources = n_sources
        start = torch.zeros(1, 1) if self.known is None else self.known
        self.gain_db = per_row(start, y, "gain_db").expand(-1, n_sources).to(y.dtype).clone()
        self.project()

    @property
    def factor(self) -> Tensor:
        """`g`, `[rows, S]`."""
        return from_db(self.gain_db)

    def forward(self, x: Tensor) -> Tensor:
        """`[rows, S, T] -> [rows, S, T]`."""
        return self.factor[..., None] * x

    def adjoint(self, r: Tensor) -> Tensor:
        """Diagonal, so its own adjoint."""
        return self(r)

    def consistent(self, x0: Tensor, y: Tensor) -> Tensor:
        """The only one, `y / g`."""
        return y / self.factor[..., None]

    def direct_gain(self) -> Tensor:
        """See base."""
        return self.factor

    def project(self) -> None:
        """Within 12 dB of 1."""
        self.gain_db = self.gain_db.clamp(-LIMIT_DB, LIMIT_DB)

    def fit(self, parts: Tensor, y: Tensor, weight: Tensor | float = 1.0) -> None:
        """M-step: least squares of `|Y - sum_k g_k P_k|^2 weight`, then clamped.

        Args:
            parts: What each talker alone would give at gain 1, STFT `[rows, S, F, N]`.
            y: STFT of the observation `[rows, F, N]`.
            weight: Inverse variance of the bins, broadcastable to `[rows, F, N]`.
        """
        lead = weight[:, None] * parts if isinstance(weight, Tensor) else weight * parts
        lead = lead.flatten(2).conj()
        gram = (lead @ parts.flatten(2).transpose(1, 2)).real
        right = (lead @ y.flatten(1)[..., None]).real
        # A silent talker has no level: the ridge leaves it at the lower limit instead of dividing by zero.
        largest = gram.diagonal(dim1=1, dim2=2).amax(1)[:, None, None]
        eye = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
        gain = torch.linalg.solve_ex(gram + (_RIDGE * largest + 1e-30) * eye, right)[0][..., 0]
        self.gain_db = db(gain.clamp_min(1e-3))
        self.project()

    def describe(self) -> dict[str, Tensor]:
        """`gain_db [rows, S]`."""
        return {"gain_db": self.gain_db.detach()}
