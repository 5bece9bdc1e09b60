"""Small corpora of synthetic recordings for scenes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from diffsr.io.manifest import Utterance
from diffsr.simulation.plan import Room, RoomPlan
from diffsr.simulation.responses import Responses

RATE_HZ = 16000


def voice(seconds: float, pitch_hz: float, seed: int, rate_hz: int = RATE_HZ) -> np.ndarray:
    """Syllables of a voice, [T]."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    envelope = 0.55 - 0.45 * np.cos(2 * np.pi * 3 * time_s + rng.uniform(0, 6))
    tones = sum(np.sin(2 * np.pi * pitch_hz * k * time_s + rng.uniform(0, 6)) / k for k in range(1, 20))
    return 0.1 * envelope * tones + 1e-3 * rng.standard_normal(len(time_s))


@dataclass
class Corpora:
    """Files on disk with their manifest rows."""

    folder: Path
    speech: list[Utterance]
    noise: list[Utterance]

    def add(self, name: str, wave: np.ndarray, rate_hz: int = RATE_HZ, **known: object) -> Utterance:
        path = self.folder / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, wave, rate_hz, subtype="FLOAT")
        return Utterance(name, path, rate_hz=rate_hz, n_samples=len(wave), **known)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Corpora:
    """Four talkers with three utterances of 2 to 3 s each, noises of 6 s and of 1 s; for reading only."""
    made = Corpora(tmp_path_factory.mktemp("corpora"), [], [])
    for talker in range(4):
        for number in range(3):
            wave = voice(2.0 + 0.3 * number + 0.1 * talker, 100 + 35 * talker, 10 * talker + number)
            made.speech.append(made.add(f"speech/t{talker}/{number}", wave, speaker=f"t{talker}", corpus="c"))
    rng = np.random.default_rng(99)
    made.noise.append(made.add("noise/long", 0.05 * rng.standard_normal(6 * RATE_HZ), category="hiss"))
    made.noise.append(made.add("noise/short", 0.05 * rng.standard_normal(RATE_HZ), category="hiss"))
    return made


class FakeRooms:
    """A room source whose responses are known: a direct path and one echo, later and weaker by talker."""

    fingerprint = "fake"

    def draw(self, rng: np.random.Generator, n_talkers: int, n_microphones: int) -> Room:
        microphones = tuple((1.0, 1.0 + 0.16 * c, 1.0) for c in range(n_microphones))
        talkers = tuple((2.0 + k, float(rng.uniform(1, 2)), 1.0) for k in range(n_talkers))
        return Room((5.0, 5.0, 3.0), 0.3, "low", (1.0, 1.0, 1.0), microphones, talkers)

    def owns(self, room: RoomPlan) -> bool:
        return isinstance(room, Room)

    def responses(self, room: RoomPlan, rate_hz: int) -> Responses:
        assert isinstance(room, Room)
        shape = (len(room.talkers_m), len(room.microphones_m), 900)
        full, direct = torch.zeros(shape), torch.zeros((*shape[:2], 300))
        onsets = tuple(100 + 10 * k for k in range(shape[0]))
        for k, onset in enumerate(onsets):
            for c in range(shape[1]):
                direct[k, c, onset + c] = 0.5
                full[k, c, onset + c], full[k, c, 600 + 10 * k] = 0.5, 0.2
        return Responses(full, direct, onsets)


@pytest.fixture
def rooms() -> FakeRooms:
    return FakeRooms()


@pytest.fixture(scope="session")
def make_voice() -> Callable[..., np.ndarray]:
    return voice
