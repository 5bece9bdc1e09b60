import logging
import math
import warnings

import numpy as np
import pytest
import torch

from data_modules.corpus import Corpus
from diffsr.io.audio import write_audio

RATE_HZ = 16000


def voice(seconds, frequency_hz, amplitude=0.1, rate_hz=RATE_HZ):
    """A tone that names its talker by its frequency, [1, T]."""
    time = torch.arange(round(seconds * rate_hz)) / rate_hz
    return amplitude * torch.sin(2 * math.pi * frequency_hz * time).unsqueeze(0)


def dominant_hz(wave):
    """The frequency that holds the most energy."""
    return float(torch.fft.rfft(wave).abs().argmax()) * RATE_HZ / wave.shape[-1]


@pytest.fixture
def corpus(tmp_path):
    """Six talkers (300, 400, ... 800 Hz), two long files and a short one each, in five formats and rates."""
    folder = tmp_path / "corpus"
    for talker in range(6):
        frequency_hz = 300 + 100 * talker
        name = folder / f"t{talker}"
        write_audio(name / "long1.flac", voice(1.5, frequency_hz), RATE_HZ)
        rate_hz, suffix = [(48000, "opus"), (44100, "wav"), (16000, "ogg"), (22050, "mp3")][talker % 4]
        write_audio(name / f"long2.{suffix}", voice(1.2, frequency_hz, 0.02, rate_hz), rate_hz)
        write_audio(name / "short.wav", voice(0.2, frequency_hz, 0.4), RATE_HZ)
    return folder


class MemoryCorpus(Corpus):
    """Utterances given as arrays, without files."""

    def __init__(self, utterances, speakers, scales=None):
        self.samples = torch.from_numpy(np.concatenate(utterances).astype(np.int16))
        self.offsets = torch.tensor([0, *np.cumsum([len(u) for u in utterances])])
        self.scales = torch.tensor(scales or [1e-4] * len(utterances), dtype=torch.float32)
        self.speakers = torch.tensor(speakers)
        self.utterances = [None] * len(utterances)


@pytest.fixture
def memory_corpus():
    """Makes a corpus of (int16 arrays, indices of talkers)."""
    return MemoryCorpus


@pytest.fixture
def noise_corpus():
    """Makes a corpus of white noise out of (lengths, indices of talkers), each utterance at its own scale."""

    def make(lengths, speakers, seed=0):
        rng = np.random.default_rng(seed)
        utterances = [rng.integers(-30000, 30000, length) for length in lengths]
        return MemoryCorpus(utterances, speakers, list(rng.uniform(0.5e-4, 2e-4, len(lengths))))

    return make


@pytest.fixture(autouse=True)
def _quiet():
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
