"""DNSMOS and SRMR: scores of speech for which there is no clean reference.

Both need the optional extra `evaluation` (`speechmos` with `onnxruntime`, `gammatone`). They judge what
is there, not what should be: a restoration that invents fluent speech scores well.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffsr.errors import ConfigError
from diffsr.evaluation.guards import all_nan, by_row, unusable
from diffsr.signal.resampling import resample
from diffsr.signal.torchaudio_home import import_torchaudio

DNSMOS_RATE_HZ = 16000
DNSMOS_PARTS = {"ovrl": "ovrl_mos", "sig": "sig_mos", "bak": "bak_mos", "p808": "p808_mos"}
"""Short names of the four scores, and what speechmos calls them."""
DNSMOS_SHORTEST_S = 0.25
SRMR_SHORTEST_S = 0.256
"""One frame of the modulation spectrum."""
SRMR_LOWEST_RATE_HZ, SRMR_HIGHEST_RATE_HZ = 8000, 16000
_REMEMBERED = 8
"""Waves whose DNSMOS stays known: the four scores of one wave come from one run of the networks."""


def dnsmos(wave: Tensor, rate_hz: int, part: str) -> Tensor:
    """DNSMOS, a network's estimate of listeners' ratings (1 to 5), [..., T] -> float32 [...].

    `ovrl`, `sig` and `bak` follow ITU-T P.835 (overall, speech, background), `p808` ITU-T P.808.
    Shorter recordings are repeated up to 9 s and longer ones scored every second, as the package does. A
    wave beyond full scale is scaled to it; otherwise the level counts.

    Args:
        wave: Speech.
        rate_hz: Sample rate; converted to 16 kHz.
        part: One of `DNSMOS_PARTS`.

    Returns:
        The score; NaN for silence, non-finite samples, less than 0.25 s, and rates below 16 kHz.

    Raises:
        ConfigError: A package of the extra `evaluation` is missing.
        ValueError: There are no samples.

    References:
        Reddy et al. 2022, "DNSMOS P.835", arXiv:2110.01763; Reddy et al. 2021, arXiv:2010.15258.
    """
    _networks()  # complain about missing packages, also when there is nothing to score
    skip = _skipped(wave, DNSMOS_SHORTEST_S * rate_hz)
    if rate_hz < DNSMOS_RATE_HZ or bool(skip.all()):
        return all_nan(skip)
    wave = resample(wave.detach().cpu(), rate_hz, DNSMOS_RATE_HZ)
    return by_row(lambda row: _dnsmos_of(_bytes(row))[part], (wave,), skip)


def srmr(wave: Tensor, rate_hz: int) -> Tensor:
    """Speech-to-reverberation modulation energy ratio (about 1 to 10), [..., T] -> float32 [...].

    The version without normalisation, by torchmetrics; higher rates are converted to 16 kHz. Where torchaudio
    runs without its extension a recording takes longer than it lasts.

    Args:
        wave: Speech.
        rate_hz: Sample rate.

    Returns:
        The score; NaN for silence, non-finite samples, less than 0.256 s, and rates below 8 kHz.

    Raises:
        ConfigError: A package of the extra `evaluation` is missing.
        ValueError: There are no samples.

    References:
        Falk et al. 2010, doi:10.1109/TASL.2010.2052247.
    """
    optional_module("gammatone", "SRMR")
    skip = _skipped(wave, SRMR_SHORTEST_S * rate_hz)
    if rate_hz < SRMR_LOWEST_RATE_HZ or bool(skip.all()):
        return all_nan(skip)
    to_hz = min(rate_hz, SRMR_HIGHEST_RATE_HZ)
    return by_row(
        lambda row: _srmr_of_row(row, to_hz), (resample(wave.detach().cpu(), rate_hz, to_hz),), skip
    )


def _srmr_of_row(wave: Tensor, rate_hz: int) -> float:
    import_torchaudio()  # before torchmetrics does
    from torchmetrics.functional.audio import speech_reverberation_modulation_energy_ratio

    return float(speech_reverberation_modulation_energy_ratio(wave[None].double(), rate_hz)[0])


def _skipped(wave: Tensor, shortest_samples: float) -> Tensor:
    if wave.numel() == 0 or wave.ndim == 0:
        raise ValueError(f"The wave has shape {list(wave.shape)}; expected [..., T] with T > 0.")
    return unusable(wave) | (wave.shape[-1] < shortest_samples)


def _bytes(row: Tensor) -> bytes:
    return (row / max(1.0, float(row.abs().max()))).numpy().tobytes()


@lru_cache(maxsize=_REMEMBERED)
def _dnsmos_of(samples: bytes) -> dict[str, float]:
    found = _networks()(np.frombuffer(samples, dtype=np.float32), DNSMOS_RATE_HZ, False)
    return {part: float(found[name]) for part, name in DNSMOS_PARTS.items()}


_loading = threading.Lock()


def _networks() -> Callable[[Any, int, bool], dict[str, Any]]:
    """The networks of speechmos, loaded once, with as many threads as torch has."""
    optional_module("onnxruntime", "DNSMOS")  # first, as the other one imports it and would be blamed
    package = optional_module("speechmos.dnsmos", "DNSMOS")
    with _loading:
        return _loaded(package)


@lru_cache(maxsize=1)
def _loaded(package: ModuleType) -> Callable[[Any, int, bool], dict[str, Any]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    folder = Path(str(package.__file__)).parent / "dnsmos_models"
    # The constructor of speechmos takes no options and would start a thread for every core.
    networks = package.DNSMOS.__new__(package.DNSMOS)
    networks.onnx_sess, networks.p808_onnx_sess = (
        onnxruntime.InferenceSession(str(folder / name), options, providers=["CPUExecutionProvider"])
        for name in ("sig_bak_ovr.onnx", "model_v8.onnx")
    )
    return networks


def optional_module(module: str, needed_by: str) -> ModuleType:
    """Import a module of the extra `evaluation`.

    Raises:
        ConfigError: It is not there, or cannot be imported.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"{needed_by} needs the package {module.partition('.')[0]}, which cannot be imported ({error}). "
            "Install the extra: pip install 'diffsr[evaluation]'"
        ) from error
