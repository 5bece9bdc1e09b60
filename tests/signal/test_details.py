"""Details that one wrong sign, factor or frame would change, each against its definition."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from diffsr.signal import reflections
from diffsr.signal.damage import TOLERANCE, estimate_threshold, find_cutoff_hz
from diffsr.signal.decays import decay_kernels, decayed
from diffsr.signal.levels import active_rms, speech_span
from diffsr.signal.noise_floor import muted_frames, noise_floor
from diffsr.signal.reflections import early_peaks, long_term_cepstrum
from diffsr.signal.room_acoustics import _knee, drr_db, rt60_s
from diffsr.signal.stft import STFT
from diffsr.signal.wpe import predict

RATE_HZ = 16000


def decay(seconds, length_s, floor_db=-math.inf, n=8, rate_hz=RATE_HZ):
    generator = torch.Generator().manual_seed(3)
    t = torch.arange(round(length_s * rate_hz)) / rate_hz
    noise = torch.randn(2, n, len(t), generator=generator)
    return noise[0] * 10 ** (-3 * t / seconds) + 10 ** (floor_db / 20) * noise[1]


def speech_like(*seconds_and_levels):
    rng = torch.Generator().manual_seed(0)
    parts = [level * torch.randn(round(s * RATE_HZ), generator=rng) for s, level in seconds_and_levels]
    return torch.cat(parts)


# STFT ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", ["hann", "sqrt_hann"])
def test_windows_are_periodic_so_that_their_squares_add_up(window):
    stft = STFT(64, 16, window)
    total = stft.window.square().unflatten(0, (-1, 16)).sum(0)
    torch.testing.assert_close(total, total[:1].expand(16))


@pytest.mark.parametrize("window", ["hann", "sqrt_hann"])
def test_white_noise_has_the_variance_that_bin_variance_says(window):
    stft = STFT(512, 128, window)
    noise = 0.3 * torch.randn(4, 160_000, generator=torch.Generator().manual_seed(0))
    measured = stft(noise)[:, 1:-1, 4:-4].abs().square().mean()
    assert float(measured) == pytest.approx(float(stft.bin_variance(torch.tensor(0.09))), rel=0.02)


def test_the_noise_floor_of_a_constant_is_that_constant_up_to_the_ends():
    power = torch.full((1, 5, 40), 3.0)
    torch.testing.assert_close(noise_floor(power, bias=1.0), power)


def test_time_backwards_is_the_noise_floor_backwards():
    n_frames = 4 * (125 + 8 * 31 - 1) + 1  # nine windows, as far from each other as they may be
    power = torch.linspace(1, 50, n_frames) * torch.rand(
        1, 9, n_frames, generator=torch.Generator().manual_seed(0)
    )
    torch.testing.assert_close(noise_floor(power.flip(-1)).flip(-1), noise_floor(power))


# Noise floor -----------------------------------------------------------------------------------------


def test_a_silence_longer_than_the_window_leaves_a_floor_that_is_finite():
    noise = 0.02 * torch.randn(1, 12 * RATE_HZ, generator=torch.Generator().manual_seed(0))
    noise[:, RATE_HZ : 10 * RATE_HZ] = 0.0
    assert noise_floor(STFT()(noise).abs().square()).isfinite().all()


def test_frames_that_reach_into_the_silence_do_not_say_how_it_begins():
    power = torch.ones(1, 1, 60)
    power[..., 30:] = 0.0
    power[..., 26:30] = 1e-6  # little of their windows is sound
    assert muted_frames(power)[0, 0, 30:].all()


# Decays ----------------------------------------------------------------------------------------------


def test_a_decay_begins_with_its_first_frame():
    times_s = torch.tensor([0.2, 0.4])
    kernels = decay_kernels(times_s, 60, 0.008, first_frame=2)
    torch.testing.assert_close(kernels[:, 2], 10 ** (-6 * 2 * 0.008 / times_s))


def test_powers_stay_powers_however_far_they_lie_apart():
    power = torch.zeros(1, 8, 200)
    power[..., 100] = 1e6
    kernels = decay_kernels(torch.tensor([0.2, 0.4]), 200, 0.008, first_frame=2)
    assert (decayed(power, kernels) >= 0).all()


# Room acoustics --------------------------------------------------------------------------------------


def test_the_direct_part_reaches_as_far_as_it_says():
    h = torch.zeros(200)
    h[[50, 70, 71]] = torch.tensor([1.0, 0.5, 0.25])  # 20 samples are 2.5 ms
    assert float(drr_db(h, 8000)) == pytest.approx(10 * math.log10(1.25 / 0.0625), abs=1e-4)


@pytest.mark.parametrize(
    "response",
    [torch.tensor([1.0, 0.3, 0.2]), decay(0.5, 1.0, floor_db=-30, n=1)[0]],
    ids=["three samples", "noise 30 dB below"],
)
def test_rt60_that_cannot_be_known_is_nan(response):
    assert math.isnan(float(rt60_s(response, RATE_HZ)))


def test_noise_does_not_bend_the_decay_of_a_late_response():
    h = F.pad(decay(0.5, 1.5, -40), (800, 0))
    torch.testing.assert_close(rt60_s(h, RATE_HZ), torch.full((8,), 0.5), rtol=0.1, atol=0)


# Levels ----------------------------------------------------------------------------------------------


def test_the_span_is_exact_where_speech_fills_whole_frames():
    wave = torch.zeros(3 * RATE_HZ)
    wave[RATE_HZ : 2 * RATE_HZ] = 0.1
    assert speech_span(wave, RATE_HZ) == pytest.approx((0.9, 2.1), abs=1e-6)


@pytest.mark.parametrize(("below_db", "counts"), [(32, True), (38, False)])
def test_frames_within_35_db_of_the_loud_ones_are_active(below_db, counts):
    wave = speech_like((1.0, 0.1), (1.0, 0.1 * 10 ** (-below_db / 20)))
    assert float(active_rms(wave, RATE_HZ)) == pytest.approx(0.1 / 2**0.5 if counts else 0.1, rel=0.03)


# Reflections -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "factor"), [(6.0, 1.0), (0.75, 2.0)])
def test_with_little_speech_a_peak_has_to_stand_out_by_the_root_of_what_is_missing(
    monkeypatch, seconds, factor
):
    seen = []
    monkeypatch.setattr(
        reflections, "stands_out", lambda c, margin, threshold: seen.append(threshold) or 0 * c
    )
    early_peaks(
        torch.randn(1, round(seconds * RATE_HZ), generator=torch.Generator().manual_seed(0)),
        RATE_HZ,
        0.002,
        0.028,
        4.0,
    )
    assert seen == [pytest.approx(4.0 * factor, rel=0.03)]


def test_quiet_frames_say_little_of_a_room():
    hz = torch.arange(257)
    ripple = 1 + 0.9 * torch.cos(2 * torch.pi * 40 * hz / 512)
    loud, quiet = torch.ones(257, 50), 1e-3 * ripple[:, None].expand(-1, 50)
    cepstrum = long_term_cepstrum(torch.cat([loud, quiet], 1), 60)
    alone = long_term_cepstrum(quiet, 60)
    assert float(cepstrum[40]) < 0.02 * float(alone[40])


# Thresholds ------------------------------------------------------------------------------------------


def test_the_level_of_a_pile_is_that_of_its_lowest_sample():
    y = torch.randn(1, 1, 20_000, generator=torch.Generator().manual_seed(0)).clamp(-0.8, 0.8)
    y[..., ::2] *= torch.where(y[..., ::2].abs() == 0.8, 1 - 3e-4, 1.0)
    size = y.abs()
    lowest = float(size[size >= (1 - TOLERANCE) * size.max()].min())
    assert float(estimate_threshold(y)) == lowest < 0.8


# Cut-offs --------------------------------------------------------------------------------------------


def white(n=32_000):
    return torch.randn(1, 1, n, generator=torch.Generator().manual_seed(0))


def shaped(wave, gain_db):
    hz = torch.fft.rfftfreq(wave.shape[-1], 1 / RATE_HZ)
    return torch.fft.irfft(torch.fft.rfft(wave) * 10 ** (gain_db(hz) / 20), wave.shape[-1])


def test_a_spectrum_that_begins_somewhere_does_not_end_there():
    assert (
        find_cutoff_hz(shaped(white(), lambda hz: torch.where(hz < 3000, -60.0, 0.0)), RATE_HZ).isnan().all()
    )


@pytest.mark.parametrize("gain", [1e-3, 1.0, 1e3])
def test_half_the_rate_is_no_end_at_any_level(gain):
    assert find_cutoff_hz(gain * white(), RATE_HZ).isnan().all()


@pytest.mark.parametrize(("slope_db", "is_found"), [(44.0, False), (53.0, True)])
def test_slopes_from_49_db_an_octave_on_are_ends(slope_db, is_found):
    y = shaped(white(), lambda hz: -slope_db * (hz.clamp_min(1) / 2000).log2().clamp_min(0))
    assert bool(find_cutoff_hz(y, RATE_HZ).isfinite()) == is_found


# WPE -------------------------------------------------------------------------------------------------


def test_a_prior_of_filters_is_their_variance():
    rng = torch.Generator().manual_seed(0)
    past = torch.randn(1, 2, 50, dtype=torch.complex128, generator=rng)
    target = torch.tensor([[[1.0, 2.0]]], dtype=torch.complex128) @ past
    power = torch.ones(1, 1, 50, dtype=torch.float64)
    free, tight = (predict(target, past, power, torch.full((1, 2), v).double()) for v in (1e6, 1e-6))
    torch.testing.assert_close(free, target, rtol=1e-4, atol=1e-4)
    assert float(tight.norm()) < 1e-3 * float(target.norm())


def test_wpe_returns_two_microphones_too_short_for_their_filters():
    from diffsr.signal.wpe import wpe

    short = torch.randn(2, 20 * 128, generator=torch.Generator().manual_seed(0))
    assert torch.equal(wpe(short, taps=10, delay=3, iterations=1), short)


def test_the_energy_beyond_the_knee_is_added(monkeypatch):
    h = 10 ** (-3 * torch.arange(RATE_HZ) / RATE_HZ / 0.4)
    end = round(0.4 * 36 / 60 * RATE_HZ)  # 36 dB down
    monkeypatch.setattr("diffsr.signal.room_acoustics._knee", lambda *_: (end, float(h[end:].square().sum())))
    assert float(rt60_s(h, RATE_HZ)) == pytest.approx(0.4, rel=1e-3)


@pytest.mark.parametrize(
    ("early", "rt60", "floor_db", "length_s"), [(300.0, 0.8, -50, 2.0), (0.0, 0.5, -40, 0.5)]
)
def test_the_knee_is_where_the_late_decay_meets_the_noise(early, rt60, floor_db, length_s):
    time_s = torch.arange(round(length_s * RATE_HZ)).double() / RATE_HZ
    power = 10 ** (-6 * time_s / rt60) + early * 10 ** (-6 * time_s / 0.05) + 10 ** (floor_db / 10)
    end, missing = _knee(power, RATE_HZ // 100)
    assert end / RATE_HZ == pytest.approx(-floor_db / 60 * rt60, abs=0.015)
    assert missing == pytest.approx(
        10 ** (-6 * end / RATE_HZ / rt60) * rt60 * RATE_HZ / (6 * math.log(10)), rel=0.13
    )
