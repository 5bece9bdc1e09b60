import math

import pytest
import torch

from diffsr.signal.levels import (
    active_rms,
    db,
    frame_levels_db,
    from_db,
    loudest_channel,
    power_db,
    rms,
    speech_span,
)

RATE_HZ = 16000


def speech_like(*seconds_and_levels):
    """Noise whose segments have the given length and RMS."""
    rng = torch.Generator().manual_seed(0)
    parts = [level * torch.randn(round(s * RATE_HZ), generator=rng) for s, level in seconds_and_levels]
    return torch.cat(parts)


def test_decibels_and_back():
    assert db(10.0) == pytest.approx(20.0)
    assert db(0.0) == -math.inf
    assert from_db(-6.0206) == pytest.approx(0.5, abs=1e-5)
    x = torch.tensor([0.01, 1.0, 3.0])
    torch.testing.assert_close(from_db(db(x)), x)
    assert [power_db(power) for power in (100.0, 1.0, 0.0)] == pytest.approx([20.0, 0.0, -200.0])
    torch.testing.assert_close(power_db(x.square()), db(x))
    assert float(power_db(torch.zeros(()))) == pytest.approx(-200.0)


def test_rms_of_a_sine():
    time = torch.arange(RATE_HZ) / RATE_HZ
    assert rms(torch.sin(2 * math.pi * 100 * time)) == pytest.approx(math.sqrt(0.5), abs=1e-5)


def test_frame_levels_count_the_last_part():
    wave = torch.cat([torch.full((320,), 0.1), torch.full((100,), 0.01)])
    torch.testing.assert_close(frame_levels_db(wave, RATE_HZ), torch.tensor([-20.0, -40.0]))
    assert frame_levels_db(torch.zeros(2, 3, 640), RATE_HZ).shape == (2, 3, 2)
    assert frame_levels_db(torch.zeros(0), RATE_HZ).shape == (0,)


def test_span_is_the_speech_widened_by_a_tenth():
    wave = speech_like((1.0, 1e-4), (2.0, 0.1), (0.5, 1e-5), (1.0, 0.05), (1.5, 1e-4))
    start_s, end_s = speech_span(wave, RATE_HZ)
    assert start_s == pytest.approx(0.9, abs=0.021)
    assert end_s == pytest.approx(4.6, abs=0.021)


def test_span_stays_within_the_recording():
    assert speech_span(speech_like((0.5, 0.1)), RATE_HZ) == (0.0, 0.5)
    assert speech_span(torch.ones(1), RATE_HZ) == (0.0, 1 / RATE_HZ)


@pytest.mark.parametrize("rate_hz", [8000, 11025, 44100, 48000])
def test_span_at_other_rates(rate_hz):
    wave = torch.zeros(3 * rate_hz)
    wave[rate_hz : 2 * rate_hz] = 0.1
    start_s, end_s = speech_span(wave, rate_hz)
    assert start_s == pytest.approx(0.9, abs=0.021)
    assert end_s == pytest.approx(2.1, abs=0.021)


def test_pauses_do_not_lower_the_active_level():
    speech = speech_like((1.0, 0.1))
    padded = torch.cat([speech, torch.zeros(5 * RATE_HZ)])
    assert active_rms(speech, RATE_HZ) == pytest.approx(0.1, rel=0.02)
    torch.testing.assert_close(active_rms(padded, RATE_HZ), active_rms(speech, RATE_HZ))


def test_a_short_word_in_long_digital_silence():
    wave = torch.cat([torch.zeros(20 * RATE_HZ), speech_like((0.5, 0.1)), torch.zeros(20 * RATE_HZ)])
    assert active_rms(wave, RATE_HZ) == pytest.approx(0.1, rel=0.03)
    assert speech_span(wave, RATE_HZ) == pytest.approx((19.9, 20.6), abs=0.021)


def test_level_scales_with_the_wave():
    wave = speech_like((1.0, 0.1), (1.0, 0.001))
    torch.testing.assert_close(active_rms(0.01 * wave, RATE_HZ), 0.01 * active_rms(wave, RATE_HZ))


def test_silence_and_nothing():
    assert active_rms(torch.zeros(RATE_HZ), RATE_HZ) == 0
    assert active_rms(torch.zeros(0), RATE_HZ) == 0
    assert speech_span(torch.zeros(RATE_HZ), RATE_HZ) == (0.0, 0.0)
    assert speech_span(torch.zeros(0), RATE_HZ) == (0.0, 0.0)


def test_a_batch_is_its_items():
    batch = torch.stack([speech_like((1.0, 0.1), (1.0, 1e-4)), torch.zeros(2 * RATE_HZ)])
    levels = active_rms(batch.unsqueeze(1), RATE_HZ)
    assert levels.shape == (2, 1)
    assert levels[0, 0] == active_rms(batch[0], RATE_HZ)
    assert levels[1, 0] == 0


def test_loudest_channel():
    wave = torch.tensor([[0.1, -0.1], [0.5, 0.5]])
    assert torch.equal(loudest_channel(wave), wave[1])
    assert torch.equal(loudest_channel(wave[:1]), wave[0])
