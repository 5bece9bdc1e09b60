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
from diffsr.signal.reflections import early_peaks, filtered, power_gain, stands_out
from diffsr.signal.resampling import resample
from diffsr.signal.stft import STFT

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
    found = early_peaks(wet, RATE_HZ, *LIMITS)
    highest = (found[0].abs().topk(2).indices / RATE_HZ * 1000).sort().values
    torch.testing.assert_close(highest, torch.tensor([5.0, 11.5]), atol=0.1, rtol=0)
    assert found[0, round(0.005 * RATE_HZ)] > 0 > found[0, round(0.0115 * RATE_HZ)]
    assert si_sdr_db(filtered(wet, found, inverse=True), dry) > si_sdr_db(wet, dry) + 5.0


@pytest.mark.parametrize("name", TALKERS)
def test_speech_without_reflections_stays_as_it_is_but_for_little(name):
    dry = speech(name)
    found = early_peaks(dry, RATE_HZ, *LIMITS)
    assert si_sdr_db(filtered(dry, found, inverse=True), dry) > 15.0


def test_at_another_rate_the_same_reflection_is_found():
    wet = reflected(speech(TALKERS[0], 8000), {6.0: 0.6}, 8000)
    found = early_peaks(wet, 8000, *LIMITS)
    assert int(found[0].argmax()) == 48


def test_how_much_of_a_peak_counts_is_continuous():
    around = 0.01 * torch.randn(301, generator=torch.Generator().manual_seed(0))
    sizes, found = torch.linspace(0, 0.12, 200), []
    for size in sizes:
        cepstrum = around.clone()
        cepstrum[150] = size
        found.append(float(stands_out(cepstrum, 12, 4.0)[150]))
    counted = torch.tensor(found)
    assert counted[0] == 0.0
    assert float(counted[-1]) == pytest.approx(0.12, rel=0.1)
    assert float(counted.diff().min()) > -1e-6
    assert float(counted.diff().max()) < 10 * float(sizes.diff()[0])


def test_outside_of_the_limits_nothing_counts():
    wet = reflected(speech(TALKERS[0]), {1.0: 0.6, 35.0: 0.6, 10.0: 0.6})
    found = early_peaks(wet, RATE_HZ, *LIMITS)
    assert found.shape == (1, 449)
    assert not bool(found[:, :32].any())
    assert int(found[0].argmax()) == 160


def test_rows_are_alone_and_the_level_does_not_matter():
    x = torch.cat([reflected(speech(name)[:, :48_000], {7.0: 0.5}) for name in TALKERS])
    together = early_peaks(x, RATE_HZ, *LIMITS)
    for row in range(len(x)):
        assert torch.equal(together[row], early_peaks(x[row : row + 1], RATE_HZ, *LIMITS)[0])
    louder = early_peaks(1000.0 * x, RATE_HZ, *LIMITS)
    torch.testing.assert_close(louder, together, atol=1e-4, rtol=0)


@pytest.mark.parametrize("recorded_hz", [8000, 11_025])
def test_a_band_without_sound_hides_no_reflection_and_makes_none(recorded_hz):
    dry = speech(TALKERS[0], recorded_hz)
    wet = resample(reflected(dry, {6.0: 0.6}, recorded_hz), recorded_hz, RATE_HZ)
    found = early_peaks(wet, RATE_HZ, *LIMITS)
    assert abs(int(found[0].argmax()) - 96) <= 1
    dry = resample(dry, recorded_hz, RATE_HZ)
    found = early_peaks(dry, RATE_HZ, *LIMITS)
    assert si_sdr_db(filtered(dry, found, inverse=True), dry) > 15.0


def test_half_a_second_of_a_steady_voice_is_no_room():
    dry = speech("en-029-alex-1.ogg")[:, 8000:16_000]
    found = early_peaks(dry, RATE_HZ, *LIMITS)
    assert si_sdr_db(filtered(dry, found, inverse=True), dry) > 20.0


@pytest.mark.parametrize("n_fft", [128, 512, 1024])
def test_the_gain_of_power_is_that_of_noise_through_the_filter(n_fft):
    noise = torch.randn(1, 400_000, generator=torch.Generator().manual_seed(0))
    cepstrum = one_reflection(96, 0.6, 449)
    stft = STFT(n_fft, n_fft // 4)
    power = [stft(wave).abs().square().mean(-1)[0] for wave in (filtered(noise, cepstrum), noise)]
    found = power_gain(cepstrum, stft)[0]
    assert found.shape == (n_fft // 2 + 1,)
    assert float((power[0] / power[1] / found).log().abs().mean()) < 0.02
    assert float(found.mean()) == pytest.approx(1 + 0.6**2, rel=0.03)


@pytest.mark.parametrize("n_samples", [1, 100, 4095, 4096, 6000])
def test_silence_and_what_is_short_come_back_bit_by_bit(n_samples):
    silent = torch.zeros(2, n_samples)
    assert not bool(early_peaks(silent, RATE_HZ, *LIMITS).any())
    short = torch.randn(1, min(n_samples, 4095), generator=torch.Generator().manual_seed(0))
    found = early_peaks(short, RATE_HZ, *LIMITS)
    assert torch.equal(filtered(short, found, inverse=True), short)


def test_no_rows_are_no_rows():
    nothing = torch.zeros(0, 16_000)
    found = early_peaks(nothing, RATE_HZ, *LIMITS)
    assert filtered(nothing, found).shape == (0, 16_000)
