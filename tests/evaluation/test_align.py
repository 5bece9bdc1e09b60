import math

import numpy as np
import pytest
import torch

from diffsr.evaluation.align import align, delay_ms, gain_db
from diffsr.evaluation.distortion import si_sdr_aligned_db, si_sdr_db

RATE_HZ = 16000


def bursts(seed=0, seconds=1.0):
    """Noise below 7 kHz that comes and goes: harmonics would repeat themselves every period."""
    generator = torch.Generator().manual_seed(seed)
    n = round(seconds * RATE_HZ)
    spectrum = torch.fft.rfft(torch.randn(n, generator=generator))
    spectrum[round(7000 * seconds) :] = 0
    return 0.1 * torch.fft.irfft(spectrum, n) * torch.sin(torch.arange(n) / RATE_HZ * 2 * np.pi * 3).square()


def moved(wave, delay):
    """Shifted by a fractional delay, through a long sinc: another way than that of `align`."""
    taps = np.arange(-400, 401)
    kernel = np.sinc(taps - (delay - round(delay))) * np.hanning(len(taps))
    shifted = np.convolve(wave.numpy().astype(float), kernel, mode="same")
    return torch.from_numpy(np.roll(shifted, round(delay)))


@pytest.mark.parametrize("delay", [0, 1, -7, 313, -799, 0.5, 12.25, -100.4])
@pytest.mark.parametrize("gain", [0.2, -3.0])
def test_known_delay_and_gain_are_found_and_undone(delay, gain):
    ref = torch.nn.functional.pad(bursts(), (1000, 1000))
    est = gain * moved(ref, delay)
    found = align(est, ref, RATE_HZ)
    assert found.delay_samples == pytest.approx(delay, abs=0.01)
    assert found.gain == pytest.approx(gain, rel=1e-3)
    assert found.correlation > 0.9999
    assert float(si_sdr_aligned_db(est, ref, RATE_HZ)) > 50
    restored, kept = found.aligned(est, ref)
    assert restored.shape == kept.shape
    assert len(kept) == len(ref) - abs(round(delay))
    torch.testing.assert_close(restored, kept, atol=1e-3, rtol=0)


def test_whole_delays_are_exact():
    ref = bursts()
    est = torch.cat([torch.zeros(160), ref[:-160]])
    assert float(si_sdr_db(est, ref)) < 0
    assert float(si_sdr_aligned_db(est, ref, RATE_HZ)) > 120
    assert float(delay_ms(est, ref, RATE_HZ)) == 10.0
    assert float(gain_db(0.5 * est, ref, RATE_HZ)) == pytest.approx(-6.02, abs=0.01)


def test_noise_does_not_fool_it():
    ref, noise = bursts(0, 4.0), bursts(1, 4.0)
    loud = 0.3 * torch.randn(len(ref), generator=torch.Generator().manual_seed(5))
    delayed = torch.cat([torch.zeros(200), ref[:-200]]) + loud * float(ref.norm() / loud.norm())
    assert align(delayed, ref, RATE_HZ).delay_samples == pytest.approx(200, abs=0.2)  # at 0 dB
    assert float(si_sdr_aligned_db(delayed, ref, RATE_HZ)) == pytest.approx(0, abs=0.6)
    assert align(noise, ref, RATE_HZ).delay_samples == 0  # nothing in common: nothing is undone
    assert float(si_sdr_aligned_db(noise, ref, RATE_HZ)) < -20


def test_delay_beyond_the_limit_is_not_found():
    ref = bursts()
    est = torch.roll(ref, 1600)
    assert abs(align(est, ref, RATE_HZ).delay_samples) <= 800
    assert align(est, ref, RATE_HZ, max_delay_s=0.11).delay_samples == 1600


def test_late_reflections_do_not_move_the_direct_path():
    ref = bursts(seconds=2.0)
    est = ref.clone()
    for lag in (400, 555, 701):
        est[lag:] += 0.5 * ref[:-lag]
    assert align(est, ref, RATE_HZ).delay_samples == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("bad", [torch.zeros(RATE_HZ), torch.full((RATE_HZ,), math.nan)])
def test_silence_and_nan(bad):
    for est, ref in ((bad, bursts()), (bursts(), bad)):
        found = align(est, ref, RATE_HZ)
        assert (found.delay_samples, found.correlation, math.isnan(found.gain)) == (0, 0, True)
        assert math.isnan(float(si_sdr_aligned_db(est, ref, RATE_HZ)))
        assert math.isnan(float(delay_ms(est, ref, RATE_HZ)))


def test_rows_are_aligned_one_by_one():
    ref = torch.stack([bursts(0), bursts(1)]).reshape(2, 1, -1)
    est = torch.stack([torch.roll(ref[0], 30, -1), torch.roll(ref[1], -400, -1)])
    assert delay_ms(est, ref, RATE_HZ).tolist() == [[pytest.approx(30 / 16)], [pytest.approx(-25.0)]]
    assert si_sdr_aligned_db(est, ref, RATE_HZ).min() > 40
