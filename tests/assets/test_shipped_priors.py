"""The priors that ship load by name, are what their cards say, and restore where none is named."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

import diffsr
from diffsr import Restorer, load_prior, restore
from diffsr.commands.restore import DEFAULT_PRIOR
from diffsr.diffusion import Prior
from diffsr.diffusion.prior import DEFAULT, KIND
from diffsr.diffusion.validation import validation_scores
from diffsr.errors import CheckpointError
from diffsr.io.audio import read_audio
from diffsr.io.model_folder import shipped_folder, shipped_names
from diffsr.networks.cost import gflop_per_second
from diffsr.signal.levels import active_rms

ASSETS = Path(diffsr.__file__).parent / "assets"
NAMES = shipped_names(KIND)
MIB = 2**20


@pytest.fixture(scope="module")
def speech() -> torch.Tensor:
    """Eight seconds of synthetic speech at the level of the prior, `[1, T]`."""
    files = sorted((ASSETS / "starter" / "audio").glob("en-us-*.ogg"))[:4]
    wave = torch.cat([read_audio(file)[0][0] for file in files])[:131_072]
    return (0.05 * wave / active_rms(wave, 16_000))[None]


def test_the_default_prior_ships_under_one_name():
    assert DEFAULT == DEFAULT_PRIOR
    assert DEFAULT in NAMES


def test_all_models_together_fit_into_twenty_mib():
    folders = [ASSETS / "priors", ASSETS / "speakers"]
    size = sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())
    assert size <= 20 * MIB


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_prior_has_its_card_scores_and_calibration(name):
    folder = shipped_folder(KIND, name)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "license: cc-by-4.0" in card
    assert "LibriSpeech" in card
    assert "## Limits" in card
    with (folder / "scores_valid.csv").open(encoding="utf-8") as file:
        lengths_s = {float(row["crop_s"]) for row in csv.DictReader(file)}
    assert lengths_s == {8.192, 4.096}
    assert load_prior(name).calibration is not None


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_prior_costs_what_it_may(name):
    prior = Prior.from_pretrained(name)
    limit = 3.0 if name.endswith("-fast") else 60.0
    assert gflop_per_second(prior.network, prior.rate_hz) <= limit
    assert all(parameter.dtype == torch.float32 for parameter in prior.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_prior_denoises_speech_that_it_has_not_heard(name, speech):
    scores = validation_scores(Prior.from_pretrained(name), speech, seed=0)
    assert float(scores["si_sdr_db_at_+0_db"]) > 8.0
    assert float(scores["si_sdr_db_at_-5_db"]) > 5.0


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_prior_that_takes_talkers_stays_itself_when_told_of_nobody(name, speech):
    prior = Prior.from_pretrained(name)
    if not prior.speaker_width:
        pytest.skip(f"{name} takes no talkers")
    z, sigma = speech + 0.05 * torch.randn_like(speech), torch.tensor([0.05])
    told = prior.denoise(z, sigma, torch.zeros(1, prior.speaker_width))
    torch.testing.assert_close(told, prior.denoise(z, sigma))


def test_restoring_needs_no_prior_to_be_named(speech):
    noisy = speech[0, :16_000] + 0.05 * torch.randn(16_000, generator=torch.Generator().manual_seed(0))
    restored = restore(noisy.numpy(), rate_hz=16_000, preset="fast")
    assert restored.wave.shape == (16_000,)
    assert np.isfinite(restored.wave).all()
    assert Restorer().prior.config == load_prior(DEFAULT).config


def test_an_unknown_name_lists_those_that_ship():
    with pytest.raises(CheckpointError, match=DEFAULT):
        load_prior("speech-48k")
