"""Small files that stand for the recordings of corpora."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from diffsr.prepare.build import prepare
from diffsr.prepare.corpora import CORPORA

RATE_HZ = 16000


def _tone(seconds=0.5, rate_hz=RATE_HZ, channels=1, pause_s=0.0):
    """A tone in noise between two pauses, [T, C]."""
    n = round(seconds * rate_hz)
    noise = np.random.default_rng(0).standard_normal((n, channels))
    wave = 0.1 * np.sin(2 * np.pi * 440 * np.arange(n) / rate_hz)[:, None] + 0.001 * noise
    pause = np.zeros((round(pause_s * rate_hz), channels))
    return np.concatenate([pause, wave, pause])


@pytest.fixture
def record(tmp_path: Path) -> Callable[..., Path]:
    """Writes recordings at paths below the test's folder."""

    def record(name: str, wave=None, rate_hz: int = RATE_HZ, **options) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, _tone(rate_hz=rate_hz) if wave is None else wave, rate_hz, **options)
        return path

    return record


def _listed(corpus: str, folder: Path, **options) -> dict[str, dict]:
    """Rows of the manifest by id, as they stand in the file; without lengths, rates and checksums."""
    done = prepare(CORPORA[corpus], folder, **options)
    rows = {}
    for line in done.manifest.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        assert len(row.pop("sha1")) == 40
        assert row.pop("rate_hz") in (8000, 16000, 48000)
        assert row.pop("n_samples") > 0
        rows[row.pop("id")] = row
    return rows


@pytest.fixture
def tone() -> Callable[..., np.ndarray]:
    return _tone


@pytest.fixture
def listed() -> Callable[..., dict[str, dict]]:
    return _listed
