"""Systems to compare with: what a user would pick today, each under one name and one interface."""

from __future__ import annotations

from collections.abc import Callable

from diffsr.baselines.band_copy import BandCopy
from diffsr.baselines.base import System
from diffsr.baselines.interpolation import Declip, FillGaps
from diffsr.baselines.rnnoise import RNNoise
from diffsr.baselines.spectral_gate import NoiseReduce
from diffsr.baselines.unprocessed import Unprocessed
from diffsr.baselines.wpe import WPE
from diffsr.errors import ConfigError

__all__ = [
    "BASELINES",
    "WPE",
    "BandCopy",
    "Declip",
    "FillGaps",
    "NoiseReduce",
    "RNNoise",
    "System",
    "Unprocessed",
    "make_baseline",
]

BASELINES: dict[str, Callable[[], System]] = {
    "unprocessed": Unprocessed,
    "wpe": WPE,
    "wpe_long": lambda: WPE(taps=50, delay=2, name="wpe_long"),
    "rnnoise": RNNoise,
    "noisereduce": NoiseReduce,
    "noisereduce_stationary": lambda: NoiseReduce(stationary=True),
    "declip_cubic": Declip,
    "gaps_linear": lambda: FillGaps("linear"),
    "gaps_ar": FillGaps,
    "band_copy": BandCopy,
}


def make_baseline(name: str) -> System:
    """The system of this name.

    Raises:
        ConfigError: No system has this name, or its package is missing.
    """
    if name not in BASELINES:
        raise ConfigError(f"There is no system {name!r}; choose one of {', '.join(BASELINES)}.")
    return BASELINES[name]()
