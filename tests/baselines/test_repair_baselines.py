"""Classical repairs: they find the damage, leave the rest as it is and come nearer to the original."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import diffsr
from diffsr.baselines import BandCopy, Declip, FillGaps
from diffsr.baselines.interpolation import autoregressive, cubic, linear
from diffsr.evaluation.distortion import si_sdr_db
from diffsr.io.audio import read_audio
from diffsr.signal.resampling import resample
from diffsr.signal.stft import STFT

RATE_HZ = 16000
STARTER = Path(diffsr.__file__).parent / "assets" / "starter" / "audio"


@pytest.fixture(scope="module")
def speech() -> Tensor:
    wave, info = read_audio(STARTER / "en-us-linda-1.ogg", 0.0, 2.0)
    return resample(wave[:1], info.rate_hz, RATE_HZ)


def with_gaps(wave: Tensor, n_samples: int = 160) -> Tensor:
    damaged = wave.clone()
    for start in range(2000, wave.shape[-1] - 2000, 1600):
        damaged[:, start : start + n_samples] = 0.0
    return damaged


def test_a_spline_comes_nearer_to_what_was_clipped(speech):
    level = float(speech.abs().flatten().quantile(0.99))
    clipped = speech.clamp(-level, level)
    out = Declip()(clipped, RATE_HZ, 1)
    kept = clipped.abs() < level
    assert torch.equal(out[kept], clipped[kept])
    assert bool((out[~kept] * clipped[~kept].sign() >= 0.999 * level).all())
    assert si_sdr_db(out, speech) > si_sdr_db(clipped, speech) + 2.0
    assert torch.equal(Declip()(speech, RATE_HZ, 1), speech)


def test_prediction_fills_gaps_better_than_straight_lines(speech):
    damaged = with_gaps(speech)
    lines, predicted = (FillGaps(method)(damaged, RATE_HZ, 1) for method in ("linear", "ar"))
    for out in (lines, predicted):
        assert torch.equal(out[damaged != 0], damaged[damaged != 0])
    assert si_sdr_db(predicted, speech) > si_sdr_db(damaged, speech) + 1.0
    assert si_sdr_db(predicted, speech) > si_sdr_db(lines, speech) + 1.0
    assert torch.equal(FillGaps()(speech, RATE_HZ, 1), speech)


def test_what_the_methods_are_exact_for():
    times = np.arange(800)
    lost = np.zeros(800, dtype=bool)
    lost[300:340] = lost[500:520] = True
    for fill, wave in (
        (linear, 0.1 * times),
        (cubic, 1e-6 * times**3 - 0.3 * times),
        (autoregressive, np.sin(0.1 * times) + 0.5 * np.sin(0.37 * times + 1.0)),
    ):
        found = fill(np.where(lost, 0.0, wave), lost, RATE_HZ)
        assert np.abs(found - wave).max() < 0.05 * np.abs(wave).max()


@pytest.mark.parametrize("known", [True, False])
def test_a_copied_band_has_about_the_level_of_speech(speech, known):
    spectrum = torch.fft.rfft(speech)
    spectrum[:, round(4000 * speech.shape[-1] / RATE_HZ) :] = 0
    narrow = torch.fft.irfft(spectrum, speech.shape[-1])
    out = BandCopy(4000.0 if known else None)(narrow, RATE_HZ, 1)
    stft = STFT()
    power = [stft(wave)[0].abs().square().mean(-1) for wave in (out, speech, narrow)]
    above = slice(150, 240)  # 4.7 to 7.5 kHz
    error_db = 10 * (power[0][above].mean() / power[1][above].mean()).log10().abs()
    assert error_db < 13.0
    assert power[2][above].mean() < 1e-3 * power[1][above].mean()
    torch.testing.assert_close(power[0][:100], power[2][:100], rtol=0.05, atol=1e-6)


def test_a_full_band_is_left_alone(speech):
    white = 0.1 * torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(BandCopy()(white, RATE_HZ, 1), white)
    torch.testing.assert_close(BandCopy(9000.0)(speech, RATE_HZ, 1), speech)
