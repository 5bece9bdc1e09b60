"""Voices without files."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

RATE_HZ = 16_000


@pytest.fixture(scope="session")
def voice() -> Callable[..., Tensor]:
    """`(pitch_hz, duration_s) -> [T]` at 16 kHz: a buzz with the syllables of speech."""

    def make(pitch_hz: float, duration_s: float = 2.0) -> Tensor:
        time_s = torch.arange(round(duration_s * RATE_HZ)) / RATE_HZ
        buzz = sum(torch.sin(2 * torch.pi * pitch_hz * k * time_s) / k for k in range(1, 20))
        return 0.05 * buzz * (0.6 - 0.4 * torch.cos(2 * torch.pi * 4 * time_s))

    return make
