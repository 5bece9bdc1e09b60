"""Early reflections: exact for filters that are known, found in speech, and none where there are none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import diffsr
from diffsr.evaluation.metrics import si_sdr_db
from diffsr.io.audio import read_audio
from diffsr.signal.filtering import convolve
from diffsr.signal.reflections import filtered, long_term_cepstrum, peaks
from diffsr.signal.resampling import resample

RATE_HZ = 16000
LIMITS = (0.002, 0.028, 4.0)
AUDIO = Path(diffsr.__file__).parent / "assets" / "starter" / "audio"
TALKERS = ("de-f2-1.ogg", "de-m1-1.ogg", "en-aunty-1.ogg")


def speech(name: str, rate_hz: int = RATE_HZ) -> torch.Tensor:
    wave, info = read_audio(AUDIO / name)
    return resample(wave, info.rate_hz, rate_hz)[:1]


def reflected(x: torch.Tensor, gains: dict[float, float], rate_hz: int = RATE_HZ) -> torch.Tensor:
    """With reflections: time in ms -> gain."""
    response = torch.zeros(round(max(gains) * rate_hz / 1000) + 1)
    response[0] = 1.0
    for time_ms, gain in gains.items():
        response[round(time_ms * rate_hz / 1000)] = gain
    return convolve(x[0], response[None], x.shape[-1])


def one_reflection(lag: int, gain: float, n: int) -> torch.Tensor:
    """Cepstrum of the log magnitude of `1 + gain z^-lag`, for |gain| below 1: half of log(1 + u)'s series."""
    cepstrum = torch.zeros(1, n)
    for k in range(1, (n - 1) // lag + 1):
        cepstrum[0, k * lag] = -0.5 * (-gain) ** k / k
    return cepstrum


@pytest.mark.parametrize(("lag", "gain"), [(40, 0.6), (97, -0.5), (3, 0.3)])
def test_a_filter_is_that_of_its_cepstrum_and_its_inverse_the_geometric_series(lag, gain):
    pulse = F.pad(torch.ones(1, 1), (0, 1999))
    cepstrum = one_reflection(lag, gain, 2048)
    expected, inverse = torch.zeros(2, 1, 2000)
    expected[0, 0], expected[0, lag] = 1.0, gain
    inverse[0, ::lag] = (-gain) ** torch.arange(len(inverse[0, ::lag]))
    torch.testing.assert_close(filtered(pulse, cepstrum), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(filtered(pulse, cepstrum, inverse=True), inverse, atol=1e-5, rtol=0)


def test_a_filter_and_its_inverse_leave_a_signal_as_it_was():
    x = torch.randn(3, 30_000, generator=torch.Generator().manual_seed(0))
    cepstrum = F.pad(0.01 * torch.randn(3, 448, generator=torch.Generator().manual_seed(1)), (0, 1600))
    there = filtered(x, cepstrum)
    torch.testing.assert_close(filtered(there, cepstrum, inverse=True), x, atol=2e-4, rtol=0)


@pytest.mark.parametrize("name", TALKERS)
def test_reflections_of_speech_are_found_at_their_times_and_taken_away(name):
    dry = speech(name)
    wet = reflected(dry, {5.0: 0.6, 11.5: -0.4, 19.0: 0.3})
    found = peaks(long_term_cepstrum(wet, RATE_HZ), RATE_HZ, *LIMITS)
    highest = (found[0].abs().topk(2).indices / RATE_HZ * 1000).sort().values
    torch.testing.assert_close(highest, torch.tensor([5.0, 11.5]), atol=0.1, rtol=0)
    assert found[0, round(0.005 * RATE_HZ)] > 0 > found[0, round(0.0115 * RATE_HZ)]
    assert si_sdr_db(filtered(wet, found, inverse=True), dry) > si_sdr_db(wet, dry) + 5.0


@pytest.mark.parametrize("name", TALKERS)
def test_speech_without_reflections_stays_as_it_is_but_for_little(name):
    dry = speech(name)
    found = peaks(long_term_cepstrum(dry, RATE_HZ), RATE_HZ, *LIMITS)
    assert si_sdr_db(filtered(dry, found, inverse=True), dry) > 15.0


def test_at_another_rate_the_same_reflection_is_found():
    wet = reflected(speech(TALKERS[0], 8000), {6.0: 0.6}, 8000)
    found = peaks(long_term_cepstrum(wet, 8000), 8000, *LIMITS)
    assert int(found[0].argmax()) == 48


def test_only_what_stands_out_between_the_limits_counts_and_by_how_much_is_continuous():
    cepstrum = torch.randn(1, 1000, generator=torch.Generator().manual_seed(0))
    lag, unit = 200, 0.01
    sizes = torch.linspace(0, 12, 200)
    rows = (unit * cepstrum).repeat(len(sizes), 1)
    rows[:, lag] = unit * sizes
    found = peaks(rows, RATE_HZ, *LIMITS)
    assert not bool(found[:, : round(0.002 * RATE_HZ)].any())
    assert not bool(found[:, round(0.028 * RATE_HZ) :].any())
    assert float(found[0, lag]) == 0.0
    assert float(found[-1, lag]) == pytest.approx(12 * unit, rel=0.1)
    assert float(found[:, lag].diff().max()) < 0.5 * unit  # steps of .06


def test_rows_are_alone_and_the_level_does_not_matter():
    x = torch.cat([reflected(speech(name)[:, :32_000], {7.0: 0.5}) for name in TALKERS])
    together = long_term_cepstrum(x, RATE_HZ)
    for row in range(len(x)):
        assert torch.equal(together[row], long_term_cepstrum(x[row : row + 1], RATE_HZ)[0])
    louder = long_term_cepstrum(1000.0 * x, RATE_HZ)
    torch.testing.assert_close(louder[:, 1:], together[:, 1:], atol=1e-5, rtol=0)


@pytest.mark.parametrize("n_samples", [1, 100, 4095, 4096, 6000])
def test_silence_and_what_is_short_come_back_bit_by_bit(n_samples):
    silent = torch.zeros(2, n_samples)
    assert not bool(peaks(long_term_cepstrum(silent, RATE_HZ), RATE_HZ, *LIMITS).any())
    short = torch.randn(1, min(n_samples, 4095), generator=torch.Generator().manual_seed(0))
    found = peaks(long_term_cepstrum(short, RATE_HZ), RATE_HZ, *LIMITS)
    assert torch.equal(filtered(short, found, inverse=True), short)


def test_no_rows_are_no_rows():
    nothing = torch.zeros(0, 16_000)
    found = peaks(long_term_cepstrum(nothing, RATE_HZ), RATE_HZ, *LIMITS)
    assert filtered(nothing, found).shape == (0, 16_000)
