"""Gains, thresholds, gaps and cut-offs: found where there are some, refused where there are none."""

from __future__ import annotations

import math

import pytest
import torch

from diffsr.degradations import BlindLowPass, Clipping, Gain, LowPass, PacketLoss
from diffsr.errors import ConfigError, DataError
from diffsr.io.audio import read_audio, write_audio
from diffsr.signal.damage import TOLERANCE, clipped_share, estimate_threshold, find_gaps
from diffsr.signal.stft import STFT

RATE_HZ = 16000


def voice(n_samples: int = 16000, seed: int = 0) -> torch.Tensor:
    """A few rows whose amplitudes are distributed like those of speech, [3, 1, T]."""
    rng = torch.Generator().manual_seed(seed)
    size = torch.rand(3, 1, n_samples, generator=rng).clamp_min(1e-6).log().neg()
    return 0.05 * size * torch.randn(3, 1, n_samples, generator=rng).sign()


@pytest.mark.parametrize("share", [0.001, 0.02, 0.2])
@pytest.mark.parametrize("bits", [None, 16])
def test_a_threshold_is_found_where_samples_pile_up(share, bits):
    wave = voice()
    level = wave.abs().flatten(1).quantile(1 - share, dim=1)
    y = wave.clamp(-level[:, None, None], level[:, None, None])
    if bits:
        y = (y * 2 ** (bits - 1)).round() / 2 ** (bits - 1)
    torch.testing.assert_close(estimate_threshold(y), level, rtol=1e-3, atol=0)
    assert Clipping()(wave).shape == wave.shape


def test_no_threshold_is_found_where_nothing_was_clipped():
    tone = 0.3 * torch.sin(2 * math.pi * 100.25 * torch.arange(RATE_HZ) / RATE_HZ)
    y = torch.cat([voice()[:2], tone[None, None], torch.zeros(1, 1, RATE_HZ)])
    assert estimate_threshold(y).isnan().all()
    with pytest.raises(DataError, match=r"Rows 0, 1, 2, 3 .* no level at which samples pile up"):
        Clipping().reset(y, 1)


@pytest.mark.parametrize("share", [0.012, 0.2])
def test_a_recording_of_which_much_was_cut_off_looks_clipped(share):
    wave = voice()
    level = wave.abs().flatten(1).quantile(1 - share, dim=1)[:, None, None]
    y = (wave.clamp(-level, level) * 2**15).round() / 2**15
    torch.testing.assert_close(clipped_share(y), torch.full((3,), share), rtol=0.02, atol=0)
    assert torch.equal(clipped_share(0.01 * y), clipped_share(y))  # at whatever level
    few = wave.abs().flatten(1).quantile(0.995, dim=1)[:, None, None]
    assert clipped_share(wave.clamp(-few, few)).tolist() == [0.0] * 3


def test_tones_silence_and_loud_speech_do_not_look_clipped(tmp_path):
    tone = torch.sin(2 * math.pi * 50.25 * torch.arange(RATE_HZ) / RATE_HZ)
    rng = torch.Generator().manual_seed(0)
    noise = torch.randn(RATE_HZ, generator=rng)
    loud = voice()[0, 0] / voice()[0, 0].abs().max()
    write_audio(tmp_path / "a.mp3", loud[None], RATE_HZ)
    pressed = read_audio(tmp_path / "a.mp3")[0][0, :RATE_HZ]
    fine = [loud, pressed, tone, 0.999 * tone, torch.zeros(RATE_HZ), torch.full((RATE_HZ,), 0.5)]
    coarse = [0.3 * noise / 2**15, 10 * tone / 2**15, 300 * tone / 2**15]
    y = torch.stack(fine + [(one * 2**15).round() / 2**15 for one in coarse + fine])
    assert clipped_share(y[:, None]).tolist() == [0.0] * len(y)
    of_8_bits = torch.stack([(size * tone).round() / 2**7 for size in (10, 70, 100, 127)])
    assert clipped_share(of_8_bits[:, None]).tolist() == [0.0] * 4


def test_a_known_threshold_must_be_the_peak():
    y = voice().clamp(-0.1, 0.1)
    Clipping(0.1).reset(y, 1)
    for wrong in (0.2, 0.05):
        with pytest.raises(DataError, match="Correct the threshold"):
            Clipping(wrong).reset(y, 1)
    with pytest.raises(ConfigError, match="above 0"):
        Clipping(0.0)


def test_clipped_samples_keep_their_sign_and_may_only_grow():
    clipping, wave = Clipping(0.1), voice()
    y = wave.clamp(-0.1, 0.1)
    clipping.reset(y, 1)
    # Samples just below the threshold count as clipped, so they may move by the tolerance.
    near = {"atol": 0.1 * TOLERANCE, "rtol": 0}
    torch.testing.assert_close(clipping.consistent(torch.zeros_like(y), y), y, **near)
    torch.testing.assert_close(clipping.consistent(wave, y), wave, **near)
    torch.testing.assert_close(clipping.consistent(-wave, y), y, **near)


def test_gaps_are_runs_of_zeros_between_sounds():
    y = voice()[:, :, :4000].repeat(1, 2, 1)
    lost = torch.zeros(3, 4000, dtype=torch.bool)
    lost[0, 1000:1320] = True
    lost[1, 80:160] = True
    lost[1, 3000:3500] = True
    y[:, :, :20] = 0.0  # silence before
    y[:, :, 3900:] = 0.0  # and after
    y[0, :, 2000:2079] = 0.0  # too short for 5 ms
    y[2, 0, 1000:2000] = 0.0  # in one channel only
    y = y.masked_fill(lost[:, None], 0.0)
    assert torch.equal(find_gaps(y, RATE_HZ), lost)
    assert find_gaps(y[..., 1000:1050], RATE_HZ).sum() == 0
    with pytest.raises(DataError, match="Rows 2 of the batch hold no run of zeros"):
        PacketLoss(rate_hz=RATE_HZ).reset(y, 2)


def test_masks_must_fit():
    y = voice()
    with pytest.raises(DataError, match=r"shape \[3, 15999\], expected one line of 16000"):
        PacketLoss(torch.ones(3, 15999, dtype=torch.bool)).reset(y, 1)
    with pytest.raises(DataError, match="2 of masks for 3 rows"):
        PacketLoss(torch.ones(2, 16000, dtype=torch.bool)).reset(y, 1)
    with pytest.raises(DataError, match="receive nothing"):
        PacketLoss(torch.zeros(3, 16000, dtype=torch.bool)).reset(y, 1)


def test_a_low_pass_keeps_what_is_below_its_cut_off_and_nothing_else():
    time_s = torch.arange(RATE_HZ) / RATE_HZ
    low, high = (torch.sin(2 * math.pi * hz * time_s)[None, None] for hz in (900.0, 1100.0))
    low_pass = LowPass(1000.0, RATE_HZ)
    low_pass.reset(low, 1)
    torch.testing.assert_close(low_pass(low + high), low, atol=1e-3, rtol=0)
    for wrong in (0.0, 8000.0):
        with pytest.raises(ConfigError, match="half the rate"):
            LowPass(wrong, RATE_HZ)


def test_gains_are_found_by_least_squares_and_limited():
    stft, rng = STFT(), torch.Generator().manual_seed(0)
    x = torch.randn(3, 2, 4000, generator=rng)
    true_db = torch.tensor([[3.0, -4.0], [0.0, 8.0], [-11.0, 30.0]])
    y = (10 ** (true_db / 20)[..., None] * x).sum(1)
    gain = Gain()
    gain.reset(y[:, None], 2)
    weight = torch.rand(3, stft.n_bins, 32, generator=rng) + 0.1
    gain.fit(stft(x), stft(y), weight)
    torch.testing.assert_close(gain.gain_db, true_db.clamp(-12, 12), atol=1e-2, rtol=0)
    together = gain.gain_db
    gain.reset(y[1:2, None], 2)
    gain.fit(stft(x)[1:2], stft(y)[1:2], weight[1:2])
    torch.testing.assert_close(gain.gain_db, together[1:2])
    gain.fit(torch.zeros_like(stft(x)[1:2]), stft(y)[1:2])
    assert gain.gain_db.isfinite().all()


def test_masks_and_cut_offs_are_refused_before_anything_is_computed():
    y = voice()
    with pytest.raises(DataError, match=r"shape \[16000\], expected one line of 16000"):
        PacketLoss(torch.ones(16000, dtype=torch.bool)).reset(y, 1)
    for wrong in (math.nan, math.inf, -4000.0):
        with pytest.raises(ConfigError, match="half the rate"):
            LowPass(wrong, RATE_HZ)
        with pytest.raises(ConfigError, match="above 0"):
            Clipping(wrong)
    with pytest.raises(DataError, match="2 of cut-offs for 3 rows"):
        LowPass(torch.tensor([1000.0, 2000.0]), RATE_HZ).reset(y, 1)
    with pytest.raises(DataError, match="2 of thresholds for 3 rows"):
        Clipping(torch.tensor([0.1, 0.2])).reset(y, 1)
    for wrong_ms in (0.0, -1.0, math.nan):
        with pytest.raises(ConfigError, match="shortest_gap_ms"):
            PacketLoss(shortest_gap_ms=wrong_ms)
    for rate_hz in (0, -16000):
        with pytest.raises(ConfigError, match="rate_hz"):
            PacketLoss(rate_hz=rate_hz)
        with pytest.raises(ConfigError, match="rate_hz"):
            BlindLowPass(rate_hz)
    with pytest.raises(DataError, match="mask holds torch.float32"):
        PacketLoss(torch.ones(3, 16000)).reset(y, 1)
