"""A prior that knows nothing and costs nothing, recordings for it, and toy trainings on voices."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from diffsr.diffusion import Prior

# Before anything imports torch. Small tensors gain nothing from threads, which wait for each other on a busy
# machine: ten times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def tiny_prior() -> Prior:
    """Random weights that do something at every noise level."""
    import torch

    from diffsr.diffusion import Prior
    from diffsr.networks import TFTransformer

    rng = torch.Generator().manual_seed(0)
    prior = Prior(TFTransformer(width=16, depth=1, heads=2), window_s=0.5)
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=rng)
    return prior.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def tiny_prior_folder(tiny_prior: Prior, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as files; for reading only."""
    return tiny_prior.save_pretrained(tmp_path_factory.mktemp("prior"))


def noisy_speech(seconds: float = 0.5, channels: int = 1, rate_hz: int = 16000, seed: int = 0) -> np.ndarray:
    """Tones that come and go like syllables in noise, float32 `[C, T]`."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    envelope = 0.5 - 0.5 * np.cos(2 * np.pi * 4 * time_s)
    voice = sum(np.sin(2 * np.pi * 150 * k * time_s) / k for k in range(1, 8))
    noise = np.random.default_rng(seed).standard_normal((channels, len(time_s)))
    return (0.05 * envelope * voice + 0.02 * noise).astype(np.float32)


@pytest.fixture(scope="session")
def make_speech() -> Callable[..., np.ndarray]:
    """See `noisy_speech`."""
    return noisy_speech


@pytest.fixture
def corpus(tmp_path):
    """Six talkers with a voice of their own: pitch and one formant, in syllables."""
    import soundfile
    import torch

    time_s = torch.arange(24_000) / 16_000
    for talker in range(6):
        for take in range(2):
            pitch_hz = 90 + 35 * talker + 2 * take
            formant_hz = 700 + 250 * ((2 * talker) % 6)
            tone = sum(
                torch.sin(2 * math.pi * k * pitch_hz * time_s)
                * math.exp(-(((k * pitch_hz - formant_hz) / 300) ** 2))
                for k in range(1, 25)
            )
            wave = 0.1 * tone * (1 + torch.sin(2 * math.pi * (3 + take) * time_s))
            path = tmp_path / "speech" / f"talker{talker}" / f"{take}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, wave.numpy(), 16_000)
    return tmp_path / "speech"


@pytest.fixture
def fit(tmp_path):
    """Trains a module on speech into `tmp_path / "run"`; returns the trainer."""

    from lightning.pytorch import Trainer

    from diffsr.callbacks import AveragedWeights, LastCheckpoint

    def train(module, speech, max_steps):
        trainer = Trainer(
            max_steps=max_steps,
            default_root_dir=tmp_path / "run",
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            callbacks=[AveragedWeights(0.9), LastCheckpoint(10)],
        )
        trainer.fit(module, datamodule=speech)
        return trainer

    return train
