import math

import numpy as np
import pytest
import torch

from diffsr.signal.room_acoustics import (
    direct_path_sample,
    drr_db,
    energy_decay_db,
    rt60_s,
)

RATE_HZ = 16000


def decay(seconds, length_s, floor_db=-math.inf, n=8, rate_hz=RATE_HZ):
    """Exponentially decaying noise [n, T], in stationary noise at `floor_db` below its start."""
    generator = torch.Generator().manual_seed(3)
    t = torch.arange(round(length_s * rate_hz)) / rate_hz
    noise = torch.randn(2, n, len(t), generator=generator)
    return noise[0] * 10 ** (-3 * t / seconds) + 10 ** (floor_db / 20) * noise[1]


def test_energy_decay_of_an_exponential_is_a_line():
    h = torch.exp(-torch.arange(4000, dtype=torch.float64) / 300)
    found = energy_decay_db(torch.stack([h, 5 * h]))
    expected = -20 / math.log(10) * torch.arange(2000) / 300
    torch.testing.assert_close(found[0, :2000], expected.double(), atol=1e-4, rtol=0)
    torch.testing.assert_close(found[0], found[1])
    assert found[0, 0] == 0
    assert energy_decay_db(torch.tensor([1.0, 1.0, 0.0])).tolist() == pytest.approx([0, -3.0103, -math.inf])


@pytest.mark.parametrize("seconds", [0.15, 0.5, 1.5])
@pytest.mark.parametrize(("lengths", "floor_db"), [(1.2, -math.inf), (0.75, -math.inf), (1.5, -50), (3, -40)])
def test_rt60_of_decaying_noise(seconds, lengths, floor_db):
    found = rt60_s(decay(seconds, lengths * seconds, floor_db), RATE_HZ)
    assert found.shape == (8,)
    assert float(found.mean()) == pytest.approx(seconds, rel=0.04)
    torch.testing.assert_close(found, torch.full_like(found, seconds), rtol=0.1, atol=0)


def test_rt60_agrees_with_pyroomacoustics():
    from pyroomacoustics.experimental import measure_rt60

    for seconds in (0.2, 0.8):
        responses = decay(seconds, 1.3 * seconds, n=3)
        for fit_db, range_db in (((-5.0, -25.0), 20), ((-5.0, -35.0), 30)):
            expected = [measure_rt60(row.numpy(), RATE_HZ, decay_db=range_db) for row in responses]
            assert rt60_s(responses, RATE_HZ, fit_db).tolist() == pytest.approx(expected, rel=0.01)


def test_rt60_does_not_depend_on_delay_level_rate_or_batch():
    h = decay(0.5, 0.6, n=2)
    expected = rt60_s(h, RATE_HZ)
    late = torch.nn.functional.pad(1e-3 * h, (800, 0))
    torch.testing.assert_close(rt60_s(late, RATE_HZ), expected, rtol=0.02, atol=0)
    torch.testing.assert_close(rt60_s(h, 2 * RATE_HZ), expected / 2, rtol=0.02, atol=0)
    assert rt60_s(h.reshape(2, 1, -1), RATE_HZ).shape == (2, 1)
    assert float(rt60_s(h[1], RATE_HZ)) == float(expected[1])


@pytest.mark.parametrize(
    "response",
    [
        torch.zeros(4000),
        torch.full((4000,), math.nan),
        torch.nn.functional.one_hot(torch.tensor(7), 4000).float(),
        torch.tensor([1.0]),
        decay(0.5, 0.15, n=1)[0],
        decay(0.5, 1.0, floor_db=-25, n=1)[0],
        torch.ones(8000),
    ],
    ids=["silence", "nan", "no room", "one sample", "cut too early", "noisy", "no decay"],
)
def test_rt60_that_cannot_be_known_is_nan(response):
    assert math.isnan(float(rt60_s(response, RATE_HZ)))


def test_drr_of_a_known_ratio():
    tail = decay(0.6, 1.0, n=2).double()
    tail[:, :200] = 0
    h = torch.nn.functional.pad(tail, (300, 0))
    for expected in (-6.0, 0.0, 12.0):
        h[:, 300] = tail.square().sum(-1).sqrt() * 10 ** (expected / 20)
        torch.testing.assert_close(
            drr_db(h, RATE_HZ, torch.full((2,), 300)), torch.full((2,), expected).double()
        )
    torch.testing.assert_close(drr_db(h, RATE_HZ), drr_db(3 * h, RATE_HZ))


def test_drr_window_and_limits():
    h = torch.zeros(200)
    h[[50, 69, 71]] = torch.tensor([1.0, 0.5, 0.25])
    assert float(drr_db(h, 8000)) == pytest.approx(10 * math.log10(1.25 / 0.0625), abs=1e-4)  # 20 samples
    assert float(drr_db(h, 8000, direct_s=0.001)) == pytest.approx(10 * math.log10(1 / 0.3125), abs=1e-4)
    assert float(drr_db(h[:60], 8000)) == math.inf
    assert math.isnan(float(drr_db(torch.zeros(100), 8000)))


def test_direct_path_before_a_stronger_reflection():
    h = torch.zeros(4000)
    h[100], h[900] = -0.5, 1.0
    assert direct_path_sample(h, RATE_HZ) == 100
    assert float(drr_db(h, RATE_HZ)) == pytest.approx(10 * math.log10(0.25 / 1.0), abs=1e-4)
    h[100] = 0.2  # more than 10 dB below: not a clear peak
    assert direct_path_sample(h, RATE_HZ) == 900


@pytest.mark.parametrize("delay", [40.0, 40.25, 40.5, 71.8])
def test_direct_path_of_a_fractional_delay(delay):
    h = torch.from_numpy(np.sinc(np.arange(2000) - delay)).float()
    assert abs(direct_path_sample(h, RATE_HZ) - delay) <= 0.5


def test_direct_path_of_nothing_is_zero():
    for nothing in (torch.zeros(10), torch.zeros(0), torch.full((10,), math.nan)):
        assert direct_path_sample(nothing, RATE_HZ) == 0
