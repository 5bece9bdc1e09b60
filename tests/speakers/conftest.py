"""Speech of talkers that are easily told apart."""

from __future__ import annotations

import math

import pytest
import soundfile
import torch
from lightning.pytorch import Trainer

from diffsr.callbacks import AveragedWeights, LastCheckpoint


@pytest.fixture
def corpus(tmp_path):
    """Six talkers with a voice of their own: pitch and one formant, in syllables."""
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
