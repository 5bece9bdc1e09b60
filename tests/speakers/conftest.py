"""A prior that believes everything, to redraw with."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor

from diffsr.tasks.redrawing import Redrawing


class Whatever:
    """A prior to which everything is the same speech; remembers what it was shown."""

    rate_hz, sigma_data = 16_000, 0.05

    def to(self, device: object) -> Whatever:
        return self

    def denoise(self, state: Tensor, sigma: Tensor) -> Tensor:
        self.shown = (state, sigma)
        return state


@pytest.fixture
def redrawing(tiny_prior_folder: Path) -> Redrawing:
    """Changes nothing: hardly any noise, and a prior that leaves it."""
    made = Redrawing(str(tiny_prior_folder), share=0.5, sigma=(1e-7, 2e-7))
    made.prior = Whatever()
    return made
