"""The constant that a device adds: found and taken off where it is large, and only there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffsr import Restorer
from diffsr.degradations import Chain, Clipping, Mixing, PacketLoss
from diffsr.recipes import Recipe, make_recipe
from diffsr.samplers import AnnealedSampler
from diffsr.signal.damage import LEAST_OFFSET, without_offset

RATE_HZ = 16000


def speech(make_speech, seconds=1.0, channels=1):
    wave = torch.from_numpy(make_speech(seconds, channels=channels))
    return wave - wave.mean(-1, keepdim=True)


@pytest.mark.parametrize("offset", [-0.3, 0.02, 5.0])
def test_a_constant_is_taken_off_each_channel(make_speech, offset):
    wave = speech(make_speech, channels=2)
    added = torch.tensor([[offset], [0.0]])
    torch.testing.assert_close(without_offset(wave + added, RATE_HZ), wave, rtol=0, atol=1e-6)


def test_a_small_mean_stays_bit_by_bit(make_speech):
    wave = speech(make_speech)
    wave = wave + 0.9 * LEAST_OFFSET * wave.square().mean().sqrt()
    assert torch.equal(without_offset(wave, RATE_HZ), wave)


def test_padding_stays_zero_and_says_nothing_of_the_constant(make_speech):
    wave = speech(make_speech) + 0.1
    wave[0, 5000] = 0.0  # a sample that happens to be zero is sound
    padded = torch.nn.functional.pad(wave, (20_000, 8000))
    found = without_offset(padded, RATE_HZ)
    assert not found[:, :20_000].any()
    assert not found[:, -8000:].any()
    torch.testing.assert_close(found[:, 20_000:-8000], wave - wave.mean(), rtol=0, atol=1e-6)


def test_an_impulse_is_no_constant():
    wave = torch.zeros(1, RATE_HZ)
    wave[0, 8000] = 0.9
    assert torch.equal(without_offset(wave, RATE_HZ), wave)


def test_a_restoration_does_not_hear_it(tiny_prior, make_speech):
    restorer = Restorer(tiny_prior, recipe=Recipe(AnnealedSampler(n_steps=4)), precision="float32")
    y = speech(make_speech)
    expected = restorer.restore(y, RATE_HZ).wave
    found = restorer.restore(y + 0.5, RATE_HZ).wave
    assert float((found - expected).abs().max()) < 1e-3 * float(expected.abs().max())


def test_talkers_and_the_rest_still_sum_to_the_recording(tiny_prior, make_speech):
    recipe = make_recipe("separate", "fast", RATE_HZ)
    recipe.sampler = AnnealedSampler(n_steps=4)
    y = speech(make_speech) + 0.2
    done = Restorer(tiny_prior, recipe=recipe).restore(y, RATE_HZ)
    total = torch.as_tensor(np.asarray(done.wave)).sum(0) + torch.as_tensor(np.asarray(done.talkers.residual))
    torch.testing.assert_close(total.reshape(1, -1), y, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("degradation", "keeps"),
    [(Clipping(0.5), True), (PacketLoss(), True), (Mixing(), False), (Chain([Mixing(), PacketLoss()]), True)],
    ids=["clipping", "packet loss", "mixing", "chain"],
)
def test_repairs_of_samples_keep_it(degradation, keeps):
    assert degradation.keeps_samples is keeps


def test_what_was_received_comes_back_with_it_bit_by_bit(tiny_prior, make_speech):
    y = speech(make_speech) + 0.25
    y[:, 6000:6400] = 0.0
    done = Restorer(tiny_prior, task="packet_loss", preset="fast").restore(y, RATE_HZ)
    kept = torch.ones_like(y, dtype=torch.bool)
    kept[:, 6000:6400] = False
    assert torch.equal(done.wave[kept], y[kept])
