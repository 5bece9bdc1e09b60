"""Noise excerpts and diffuse fields."""

from __future__ import annotations

import numpy as np
import torch

from diffsr.simulation.noise import SPEED_OF_SOUND_M_S, diffuse, excerpt


def test_an_excerpt_that_fits_is_the_recording():
    recording = torch.arange(20.0).reshape(1, 20)
    assert excerpt(recording, 5, 10, 4).tolist() == [list(range(5, 15))]


def test_a_loop_has_no_click_and_keeps_its_power():
    rng = torch.Generator().manual_seed(0)
    recording = torch.randn(2, 16000, generator=rng)
    looped = excerpt(recording, 12000, 100_000, 800)
    assert looped.shape == (2, 100_000)
    power = looped.square().unflatten(-1, (100, 1000)).mean((0, 2))
    assert power.min() > 0.75
    assert power.max() < 1.25


def test_a_loop_is_smooth_at_its_joins():
    time = torch.arange(16000) / 16000
    recording = torch.sin(2 * torch.pi * 3.25 * time)[None]  # the ends do not meet: -1 beside 0
    steps = excerpt(recording, 9000, 60_000, 800).diff().abs()
    assert float(steps.max()) < 0.01
    assert float(recording.repeat(1, 2).diff().abs().max()) > 0.5


def test_one_channel_is_left_as_it_is():
    wave = torch.randn(1, 1000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(diffuse(wave, torch.zeros(1, 1), 16000), wave)


def test_the_coherence_is_that_of_an_isotropic_field():
    from scipy.signal import csd, welch

    rng = torch.Generator().manual_seed(0)
    waves = torch.randn(3, 16000 * 60, generator=rng)
    places = torch.tensor([[0.0], [0.16], [0.32]])
    mixed = diffuse(waves, (places[:, None] - places[None]).abs()[..., 0], 16000).numpy()
    assert np.array_equal(mixed[0], waves[0].numpy()) or np.abs(mixed[0] - waves[0].numpy()).max() < 1e-5
    for i, j, distance_m in ((0, 1, 0.16), (0, 2, 0.32), (1, 2, 0.16)):
        frequency_hz, cross = csd(mixed[i], mixed[j], 16000, nperseg=512)
        power = [welch(mixed[k], 16000, nperseg=512)[1] for k in (i, j)]
        coherence = (cross / np.sqrt(power[0] * power[1]))[2:-2]
        expected = np.sinc(2 * frequency_hz[2:-2] * distance_m / SPEED_OF_SOUND_M_S)
        np.testing.assert_allclose(coherence.real, expected, atol=0.08)
        np.testing.assert_allclose(coherence.imag, 0.0, atol=0.08)
