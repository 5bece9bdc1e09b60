"""All talkers meet at one microphone."""

from __future__ import annotations

from torch import Tensor

from diffsr.degradations.base import Degradation


class Mixing(Degradation):
    """All talkers add up at the microphone: `y = sum_k x_k`. With one talker it is the identity."""

    mixes = True
    has_projection = True
    reaches_all = True

    def forward(self, x: Tensor) -> Tensor:
        """Sources `[rows, S, T]` -> observation `[rows, 1, T]`."""
        return x.sum(dim=1, keepdim=True)

    def adjoint(self, r: Tensor) -> Tensor:
        """Every source gets the same, `[rows, 1, T] -> [rows, S, T]`."""
        return r.expand(-1, self.n_sources, -1)

    def consistent(self, x0: Tensor, y: Tensor) -> Tensor:
        """What the sum lacks is split evenly."""
        return x0 + (y - self(x0)) / x0.shape[1]
