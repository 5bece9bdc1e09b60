"""Loudness, SNR and gains: against BS.1770's own statements and an independent implementation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from diffsr.signal.levels import active_rms, db
from diffsr.simulation.levels import draw_gains_db, loudness_lufs, snr_db, to_level


def test_a_tone_has_the_loudness_that_the_recommendation_states():
    """BS.1770-4: a 997 Hz sine of full scale in one channel reads -3.01 LKFS, here at 48 kHz."""
    time_s = torch.arange(48000 * 3) / 48000
    assert loudness_lufs(torch.sin(2 * math.pi * 997 * time_s), 48000) == pytest.approx(-3.01, abs=0.05)


@pytest.mark.parametrize("rate_hz", [16000, 8000])
def test_loudness_agrees_with_torchaudio(make_voice, rate_hz):
    from diffsr.signal.torchaudio_home import import_torchaudio

    wave = torch.from_numpy(make_voice(3.0, 120, 0, rate_hz)).float()
    expected = float(import_torchaudio().functional.loudness(wave[None], rate_hz))
    assert loudness_lufs(wave, rate_hz) == pytest.approx(expected, abs=0.3)  # other filters than at 48 kHz


def test_a_gain_changes_loudness_by_itself_even_below_the_absolute_gate(make_voice):
    wave = torch.from_numpy(make_voice(2.0, 150, 1)).float()
    for gain_db in (-90.0, -40.0, 15.0):
        quiet = wave * 10 ** (gain_db / 20)
        assert loudness_lufs(quiet, 16000) - loudness_lufs(wave, 16000) == pytest.approx(gain_db, abs=1e-3)


def test_silence_and_less_than_a_block_have_no_loudness():
    assert loudness_lufs(torch.zeros(16000), 16000) == -math.inf
    assert loudness_lufs(torch.ones(6000), 16000) == -math.inf
    assert math.isnan(snr_db(torch.ones(16000), torch.zeros(16000), 16000))
    assert math.isnan(snr_db(torch.zeros(16000), torch.ones(16000), 16000, "rms"))


def test_snr_by_rms_counts_the_span_of_the_speech_alone():
    rng = torch.Generator().manual_seed(0)
    speech = torch.zeros(48000)
    speech[16000:32000] = 0.1 * torch.randn(16000, generator=rng)
    noise = torch.full((48000,), 0.5)
    noise[12000:36000] = 0.01
    # The span is widened by 0.1 s on either side: 1.2 s hold the energy of 1 s.
    expected = db(0.1 / 0.01) + 10 * math.log10(1.0 / 1.2)
    assert snr_db(speech, noise, 16000, "rms") == pytest.approx(expected, abs=0.1)


def test_talker_gains_are_those_of_wsj0_2mix():
    rng = np.random.default_rng(0)
    pairs = np.array([draw_gains_db(rng, 2, (0.0, 5.0)) for _ in range(4000)])
    np.testing.assert_allclose(pairs.sum(1), 0.0, atol=1e-12)
    assert pairs[:, 0].min() >= 0
    assert pairs[:, 0].max() <= 2.5
    assert np.quantile(pairs[:, 0], [0.25, 0.5, 0.75]) == pytest.approx([0.625, 1.25, 1.875], abs=0.06)
    assert draw_gains_db(rng, 1, (0.0, 5.0)) == [0.0]
    three = draw_gains_db(rng, 3, (0.0, 5.0))
    assert three[2] == 0.0
    assert three[0] == -three[1]


def test_a_level_is_that_of_the_active_frames(make_voice):
    wave = torch.cat([torch.from_numpy(make_voice(1.0, 150, 1)).float(), torch.zeros(32000)])
    levelled = to_level(wave, 16000, 0.05, 2.0)
    assert float(db(active_rms(levelled, 16000) / 0.05)) == pytest.approx(2.0, abs=1e-4)
    assert not to_level(torch.zeros(100), 16000, 0.05, 0.0).any()
