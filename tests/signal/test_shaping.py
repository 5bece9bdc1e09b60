import math

import numpy as np
import pytest
import torch

from diffsr.signal.levels import db, rms
from diffsr.signal.shaping import (
    MARGIN,
    N_TERMS,
    SPEEDS,
    change,
    changed_length,
    equaliser_db,
    length_at,
)

RATE_HZ = 16000
CHANGED = [speed for speed in SPEEDS if speed != 1.0]


def tone(n_samples, frequency_hz):
    return torch.sin(2 * math.pi * frequency_hz * torch.arange(n_samples) / RATE_HZ + 0.3)[None]


def played(frequency_hz, speed, n_samples=16000):
    """A tone at another speed, without its margins."""
    n_out = changed_length(n_samples)
    wave = change(tone(length_at(speed, n_out), frequency_hz), n_out, torch.zeros(1, N_TERMS), RATE_HZ)
    return wave[0, MARGIN : MARGIN + n_samples]


@pytest.mark.parametrize("n_samples", [4000, 8000, 32768, 65536, 131072])
def test_lengths_are_whole_at_every_speed(n_samples):
    length = changed_length(n_samples)
    assert n_samples + 2 * MARGIN <= length <= 1.3 * (n_samples + 2 * MARGIN) + 720
    for speed in SPEEDS:
        assert length_at(speed, length) == pytest.approx(length * speed, abs=1e-9)
        assert length_at(speed, MARGIN) == pytest.approx(MARGIN * speed, abs=1e-9)


@pytest.mark.parametrize("speed", CHANGED)
def test_a_tone_is_played_faster_or_slower_from_its_place_on(speed):
    wave = played(440.0, speed)
    time_s = (torch.arange(len(wave)) + MARGIN) / RATE_HZ
    expected = torch.sin(2 * math.pi * 440.0 * speed * time_s + 0.3)
    assert db(rms(wave - expected) / rms(expected)) < -45


@pytest.mark.parametrize("speed", [speed for speed in CHANGED if speed > 1])
@pytest.mark.parametrize("frequency_hz", [7550.0, 7750.0, 7950.0])
def test_what_would_alias_is_gone(speed, frequency_hz):
    assert frequency_hz * speed > RATE_HZ / 2
    window = torch.hann_window(16000)  # the tone breaks off at the edges of its margins
    assert db(rms(played(frequency_hz, speed) * window) / rms(window) * 2**0.5) < -40


def test_white_noise_measures_the_curve_of_the_equaliser():
    rng = torch.Generator().manual_seed(0)
    tilt = torch.tensor([[1.5, -1.0, 0.5]])
    noise = torch.randn(64, 16560, generator=rng)
    shaped = change(noise, 16560, tilt.expand(64, -1), RATE_HZ)
    power = [torch.fft.rfft(wave).abs().square().mean(0) for wave in (shaped, noise)]
    hz = np.fft.rfftfreq(16560, 1 / RATE_HZ)
    place = np.log(np.maximum(hz, 100) / 100) / math.log(80)  # 0 at 100 Hz, 1 at 8 kHz
    expected = sum(float(tilt[0, k]) * np.cos(math.pi * (k + 1) * place) for k in range(3))
    measured = 10 * torch.log10(power[0] / power[1]).numpy()
    np.testing.assert_allclose(measured, expected, atol=1e-3)


def test_curves_are_bounded_smooth_and_without_level():
    tilt = torch.randn(200, N_TERMS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    tilt *= 3.0 / tilt.abs().sum(1, keepdim=True)
    curve = equaliser_db(tilt, 16000, RATE_HZ)  # bins of 1 Hz
    assert curve.abs().max() <= 3.0 + 1e-9
    octaves = curve[:, [100, 200, 400, 800, 1600, 3200, 6400]]
    # The steepest term turns over 1.5 times in 6.3 octaves: 4.5 dB an octave where all 3 dB are in it.
    assert octaves.diff().abs().max() < 4.5
    assert torch.equal(curve[:, :100], curve[:, :1].expand(-1, 100))
    places = (100 * 80 ** torch.linspace(0, 1, 2001, dtype=torch.float64)).round().long()
    assert curve[:, places].mean(1).abs().max() < 0.05


def test_an_equaliser_delays_nothing_and_stays_within_the_margin():
    click = torch.zeros(1, 16560)
    click[0, 8000] = 1.0
    wave = change(click, 16560, torch.tensor([[-3.0, 0.0, 0.0]]), RATE_HZ)[0]
    assert int(wave.abs().argmax()) == 8000
    torch.testing.assert_close(wave[8000 - 500 : 8000], wave[8001:8501].flip(0), atol=1e-6, rtol=0)
    outside = torch.cat([wave[: 8000 - MARGIN], wave[8000 + MARGIN :]])
    assert db(rms(outside) * len(outside) ** 0.5) < -50


@pytest.mark.parametrize("n_out", [9000, 69120])
def test_a_row_does_not_depend_on_its_batch(n_out):
    rng = torch.Generator().manual_seed(2)
    wave = torch.randn(5, length_at(10 / 9, n_out), generator=rng)
    tilt = torch.randn(5, N_TERMS, generator=rng)
    together = change(wave, n_out, tilt, RATE_HZ)
    for row in range(5):
        alone = change(wave[row : row + 1], n_out, tilt[row : row + 1], RATE_HZ)
        assert torch.equal(together[row], alone[0])
