"""A small data folder of the form that the benchmark expects."""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from diffsr.benchmark import plans, tracks
from diffsr.simulation.rooms import CLASSES

RATE_HZ = 16000
N_TALKERS = {"Alpha clean": 3, "Alpha other": 1, "beta": 3}
PER_TALKER = 2


def voice(seconds: float, pitch_hz: float, seed: int) -> np.ndarray:
    """Syllables of a voice between silences of 0.2 s, [T]."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    envelope = (0.55 - 0.45 * np.cos(2 * np.pi * 3 * time_s + rng.uniform(0, 6))) * (
        (time_s > 0.2) & (time_s < seconds - 0.2)
    )
    tones = sum(np.sin(2 * np.pi * pitch_hz * k * time_s + rng.uniform(0, 6)) / k for k in range(1, 20))
    return 0.1 * envelope * tones + 1e-4 * rng.standard_normal(len(time_s))


def response(seed: int) -> np.ndarray:
    """A direct path after 5 ms, and a decaying tail."""
    rng, time_s = np.random.default_rng(seed), np.arange(4000) / RATE_HZ
    wave = 0.05 * rng.standard_normal(4000) * 10 ** (-3 * time_s / 0.2)
    wave[:100] = 0.0
    wave[80] = 0.9
    return wave


def write_table(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def add(folder: Path, name: str, wave: np.ndarray) -> dict[str, object]:
    path = folder / f"{name}.flac"
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, RATE_HZ)
    return {"path": f"{name}.flac", "duration_s": len(wave) / RATE_HZ}


def make_data(folder: Path, splits: tuple[str, ...] = ("test",)) -> Path:
    """Speech of two corpora (the first in two parts), noises and responses, with their manifests."""
    for split in splits:
        rows, seed = [], 0
        for corpus, n_talkers in N_TALKERS.items():
            for talker in range(n_talkers):
                for number in range(PER_TALKER):
                    seed += 1
                    seconds = 4.05 + 0.6 * number + 0.3 * talker
                    name = f"{split}-{corpus[:7].strip().replace(' ', '')}-{talker}"
                    wave = voice(seconds, 90 + 11 * seed, seed)
                    row = add(folder, f"speech/{split}/{name}-{number}", wave)
                    span = {"speech_start_s": 0.15, "speech_end_s": round(seconds - 0.15, 2)}
                    rows.append({**row, "speaker": name, "corpus": corpus, **span})
        short = add(folder, f"speech/{split}/short", voice(3.0, 100, 77))
        rows.append({**short, "speaker": "short", "corpus": "beta", "speech_start_s": "", "speech_end_s": ""})
        write_table(folder / f"speech_{split}.csv", rows)
    for split in ("test", "train"):
        rng = np.random.default_rng(len(split))
        noises = [0.1 * rng.standard_normal(round(seconds * RATE_HZ)) for seconds in (3.0, 9.0)]
        rows = [add(folder, f"noise/{split}-{k}", wave) for k, wave in enumerate(noises)]
        write_table(folder / f"noise_{split}.csv", [{**row, "category": "hiss"} for row in rows])
        rows = [add(folder, f"rir/{split}-{k}", response(k)) for k in range(2)]
        write_table(folder / f"rir_{split}.csv", [{**row, "room": f"room {k}"} for k, row in enumerate(rows)])
    return folder


@pytest.fixture(scope="session")
def build() -> SimpleNamespace:
    """The functions above, for tests that need a folder of their own."""
    return SimpleNamespace(data=make_data, voice=voice, response=response, add=add, table=write_table)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For reading only."""
    return make_data(tmp_path_factory.mktemp("data"), ("test", "valid"))


@pytest.fixture(scope="session", autouse=True)
def quick_rooms() -> Iterator[None]:
    """Rooms with a short reverberation, which are rendered in no time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plans, "draw_room", functools.partial(plans.draw_room, classes=CLASSES[:1]))
        yield


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> int:
    """Tracks of 4 items with a subset of 2."""
    monkeypatch.setattr(tracks, "N_ITEMS", 4)
    monkeypatch.setattr(tracks, "N_SUBSET", 2)
    return 4
