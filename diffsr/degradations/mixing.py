"""What the physics does to the sources before a microphone hears them."""

from __future__ import annotations

from torch import Tensor, nn


class Mixing(nn.Module):
    """All talkers add up at the microphone: `y = sum_k x_k`. With one talker it is the identity.

    Other observation models (rooms, clipping, gaps) take its place with the same two methods.
    """

    def reset(self, y: Tensor, n_sources: int) -> None:
        """Create the parameters of these observations, `y [rows, C, T]`: there are none."""

    def forward(self, x: Tensor) -> Tensor:
        """Sources `[rows, S, T]` -> observation `[rows, 1, T]`."""
        return x.sum(dim=1, keepdim=True)
