"""A restoration that listens: end to end, and refused where the listener is for another rate."""

from __future__ import annotations

import pytest
import torch

from diffsr.api import Restorer
from diffsr.errors import ConfigError
from diffsr.likelihoods import DriftingNoise
from diffsr.noise import Listening, NoiseListener
from diffsr.recipes import Recipe
from diffsr.samplers import AnnealedSampler


@pytest.fixture
def listening(tmp_path):
    """Makes one for a rate, of random weights."""

    def make(rate_hz):
        torch.manual_seed(0)
        NoiseListener(rate_hz, width=8, depth=1).save_pretrained(tmp_path / str(rate_hz))
        return Listening(tmp_path / str(rate_hz))

    return make


def recipe(listener):
    return Recipe(AnnealedSampler(n_steps=4), DriftingNoise(listener=listener))


def test_what_is_heard_matters(tiny_prior, listening, make_speech):
    wave = torch.from_numpy(make_speech(1.0)).float()
    wave = wave.reshape(1, -1)
    heard = Restorer(tiny_prior, recipe=recipe(listening(16_000))).restore(wave, 16_000)
    unheard = Restorer(tiny_prior, recipe=recipe(None)).restore(wave, 16_000)
    assert torch.isfinite(heard.wave).all()
    assert heard.wave.shape == wave.shape
    assert not torch.allclose(heard.wave, unheard.wave)


def test_a_listener_for_another_rate_is_refused(tiny_prior, listening):
    message = "The noise listener is for 8000 Hz, the prior for 16000 Hz"
    with pytest.raises(ConfigError, match=message):
        Restorer(tiny_prior, recipe=recipe(listening(8_000)))
    restorer = Restorer(tiny_prior, recipe=recipe(None))
    with pytest.raises(ConfigError, match=message):
        restorer.use(recipe(listening(8_000)))
