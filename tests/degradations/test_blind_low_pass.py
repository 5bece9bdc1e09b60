"""Where a spectrum ends, and how the filter that ended it is fitted."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

import diffsr
from diffsr.degradations import BlindLowPass, Chain, Clipping, LowPass, Mixing
from diffsr.degradations.blind_low_pass import INITIAL_SLOPE_DB, SLOPES_DB
from diffsr.diffusion import Prior
from diffsr.errors import ConfigError, DataError
from diffsr.io.audio import read_audio
from diffsr.likelihoods import WhiteNoise
from diffsr.samplers import Problem, RowNoise, UpdateLowPass
from diffsr.signal.damage import find_cutoff_hz, long_term_power
from diffsr.signal.resampling import resample
from diffsr.signal.stft import STFT

RATE_HZ = 16000
FILTERS = [(4000.0, 1e4), (3000.0, 80.0), (5500.0, 200.0), (2000.0, 100.0)]
STARTER = Path(diffsr.__file__).parent / "assets" / "starter" / "audio"


@pytest.fixture(scope="module")
def speech() -> Tensor:
    """Three talkers, `[3, 1, T]`."""
    waves = []
    for voice in ("de-f2-1", "en-029-grandpa-1", "en-us-linda-1"):
        wave, info = read_audio(STARTER / f"{voice}.ogg", 0.0, 2.0)
        waves.append(resample(wave[:1], info.rate_hz, RATE_HZ)[:, : 2 * RATE_HZ - 100])
    return torch.stack(waves)


def filtered(wave: Tensor, cutoff_hz: float, slope_db: float) -> Tensor:
    """By the formula, with quantisation."""
    n_samples = wave.shape[-1]
    hz = torch.fft.rfftfreq(n_samples, 1 / RATE_HZ)
    loss_db = slope_db * (hz.clamp_min(1) / cutoff_hz).log2().clamp_min(0)
    low = torch.fft.irfft(torch.fft.rfft(wave) * 10 ** (-loss_db / 20), n_samples)
    return (low * 2**15).round() / 2**15


@pytest.mark.parametrize(("cutoff_hz", "slope_db"), FILTERS)
def test_cutoffs_of_speech_are_recovered_with_an_oracle_estimate(speech, cutoff_hz, slope_db):
    y, stft = filtered(speech, cutoff_hz, slope_db), STFT()
    model = BlindLowPass(RATE_HZ)
    model.reset(y, 1)
    assert bool(((model.cutoff_hz / cutoff_hz).log2().abs() < 0.7).all())
    losses = model.fit(long_term_power(speech, stft), long_term_power(y, stft), 200)
    assert bool((losses[-1] < losses[0]).all())
    torch.testing.assert_close(model.cutoff_hz, torch.full((3,), cutoff_hz), rtol=0.1, atol=0)
    if slope_db < 1000:
        assert bool(((model.slope_db_per_octave / slope_db).log2().abs() < 0.8).all())


def test_each_row_is_fitted_as_if_it_were_alone(speech):
    stft = STFT()
    y = torch.cat([filtered(speech[k : k + 1], *FILTERS[k]) for k in range(3)])

    def fitted(rows: slice) -> Tensor:
        model = BlindLowPass(RATE_HZ)
        model.reset(y[rows], 1)
        model.fit(long_term_power(speech[rows], stft), long_term_power(y[rows], stft), 30)
        return torch.stack([model.cutoff_hz, model.slope_db_per_octave])

    together = fitted(slice(0, 3))
    for row in range(3):
        torch.testing.assert_close(fitted(slice(row, row + 1))[:, 0], together[:, row], rtol=1e-4, atol=0)


def test_speech_up_to_half_the_rate_has_no_end(speech):
    assert find_cutoff_hz(speech[:2], RATE_HZ).isnan().all()
    model = BlindLowPass(RATE_HZ)
    assert not model.damaged(speech[:2]).any()
    with pytest.raises(DataError, match=r"Rows 0, 1 .* no end of their spectra below 8000 Hz"):
        model.reset(speech[:2], 1)
    with pytest.raises(ConfigError, match="before reset"):
        BlindLowPass()(speech)


def test_parameters_stay_within_their_limits(speech):
    stft, model = STFT(), BlindLowPass(RATE_HZ, lr=3.0)
    y = filtered(speech, 1000.0, 1e4)
    model.reset(y, 1)
    model.fit(long_term_power(speech, stft), long_term_power(y, stft), 5)
    assert bool(((model.cutoff_hz >= 699) & (model.cutoff_hz <= RATE_HZ / 2 + 1)).all())
    assert bool((model.slope_db_per_octave >= SLOPES_DB[0] - 1e-2).all())
    assert bool((model.slope_db_per_octave <= SLOPES_DB[1] + 1).all())


def problem_of(y: Tensor, degradation, prior: Prior) -> Problem:
    return Problem.pose(y, prior, degradation, WhiteNoise(1e-5), RowNoise(0, ["a", "b", "c"]))


@pytest.mark.parametrize("in_chain", [False, True])
def test_the_m_step_updates_within_its_levels(speech, tiny_prior, in_chain):
    y = filtered(speech, 3000.0, 80.0)
    low_pass = BlindLowPass(RATE_HZ)
    problem = problem_of(y, Chain([Mixing(), low_pass]) if in_chain else low_pass, tiny_prior)
    start = low_pass.cutoff_hz
    update = UpdateLowPass(sigma_start=0.1, sigma_freeze=0.01, n_updates=60)
    for sigma in (0.2, 0.005):
        update.update(speech, torch.full((3,), sigma), problem)
    assert torch.equal(low_pass.cutoff_hz, start)
    problem.prior = Certain()
    update.update(speech, torch.full((3,), 0.05), problem)
    torch.testing.assert_close(low_pass.cutoff_hz, torch.full((3,), 3000.0), rtol=0.1, atol=0)


class Certain:
    """A prior without uncertainty."""

    def uncertainty(self, x0: Tensor, sigma: Tensor, stft: STFT) -> Tensor:
        return x0.new_zeros(*x0.shape[:-1], 1, 1)


def test_only_a_blind_low_pass_at_the_end_is_fitted(speech, tiny_prior):
    y = filtered(speech, 3000.0, 80.0)
    for other in (LowPass(3000.0), Chain([BlindLowPass(), Clipping(float(y.abs().max()) + 1e-7)])):
        y_here = y[:1] if isinstance(other, Chain) else y
        y_here = y_here / y_here.abs().max() * y.abs().max()
        problem = Problem.pose(y_here, tiny_prior, other, WhiteNoise(1e-5), RowNoise(0, ["a"] * len(y_here)))
        with pytest.raises(ConfigError, match="fits a BlindLowPass, found"):
            UpdateLowPass().update(speech[: len(y_here)], torch.full((len(y_here),), 0.05), problem)


def test_it_starts_steep(speech):
    model = BlindLowPass(RATE_HZ)
    model.reset(filtered(speech, 3000.0, 1e4), 1)
    torch.testing.assert_close(model.slope_db_per_octave, torch.full((3,), INITIAL_SLOPE_DB))
    assert math.isclose(float(model.describe()["cutoff_hz"][0]), 3000.0, rel_tol=0.15)
