from __future__ import annotations

import math

import pytest
import torch

from diffsr.errors import ConfigError
from diffsr.likelihoods import LateReverberation, NMFNoise, WhiteNoise
from diffsr.likelihoods.base import FLOOR


def is_divergence(target, v):
    ratio = target / v
    return (ratio - ratio.log() - 1).sum((-2, -1))


def noisy(n_items=2, n_samples=16_000, seed=0):
    return 0.05 * torch.randn(n_items, 1, n_samples, generator=torch.Generator().manual_seed(seed))


def test_updates_never_raise_the_itakura_saito_divergence():
    model = NMFNoise(rank=3)
    model.reset(noisy(), torch.arange(2))
    target = model.stft(noisy(seed=1)[:, 0]).abs().square().clamp_min(FLOOR)
    objective = [is_divergence(target, model.variance)]
    for _ in range(20):
        model._multiplicative_update(target)
        objective.append(is_divergence(target, model.variance))
    drops = torch.stack(objective).diff(dim=0)
    assert (drops <= 1e-3 * objective[0]).all()
    assert (objective[-1] < 0.9 * objective[0]).all()


def test_the_start_is_the_level_of_stationary_noise():
    model = NMFNoise()
    y = noisy(n_samples=64_000)
    model.reset(y, torch.arange(2))
    expected = model.stft.window_energy * 0.05**2
    assert model.variance.mean((-2, -1)) == pytest.approx(torch.full((2,), expected), rel=0.25)


def test_a_single_component_is_one_spectrum_at_all_times():
    model = NMFNoise(rank=1)
    model.reset(noisy(), torch.arange(2))
    assert bool(model.variance.isfinite().all())
    torch.testing.assert_close(model.variance, model.variance[..., :1].expand_as(model.variance))


def test_the_start_ignores_speech_like_bursts():
    y = noisy(1, 64_000)
    bursts = torch.zeros_like(y)
    for start in range(0, 64_000, 16_000):
        bursts[..., start : start + 6_000] = torch.randn(1, 1, 6_000)
    quiet, loud = NMFNoise(), NMFNoise()
    quiet.reset(y, torch.arange(1))
    loud.reset(y + bursts, torch.arange(1))
    assert loud.variance.mean() < 2 * quiet.variance.mean()


def test_a_known_residual_is_learned():
    # What the estimate leaves over is noise four times louder than the start: v must follow.
    model = NMFNoise()
    y = noisy(1, 32_000)
    model.reset(y, torch.arange(1))
    before = model.variance.mean()
    for _ in range(50):
        model.update(2 * y, torch.zeros(1))
    assert float(model.variance.mean()) == pytest.approx(4 * float(before), rel=0.4)


def test_restarts_share_one_model_and_items_do_not():
    y = noisy(2)
    model = NMFNoise()
    rows = torch.tensor([0, 0, 1, 1])
    model.reset(y[rows], rows)
    model.update(y[rows], torch.full((1,), 0.01))
    v = model.variance
    assert v.shape[0] == 4
    assert torch.equal(v[0], v[1])
    assert torch.equal(v[2], v[3])
    assert not torch.allclose(v[0], v[2])


@pytest.mark.parametrize("n_samples", [1_600, 4_800, 160_000])
def test_digital_silence_and_any_length_stay_finite(n_samples):
    y = torch.zeros(1, 1, n_samples)
    model = NMFNoise()
    model.reset(y, torch.arange(1))
    model.update(y, torch.zeros(1))
    assert torch.isfinite(model.variance).all()
    assert torch.isfinite(model.log_prob(y, y)).all()


def test_log_prob_is_that_of_complex_gaussian_bins():
    y = noisy(1, 8_000)
    model = NMFNoise()
    model.reset(y, torch.arange(1))
    y_hat, v = 0.5 * y, model.variance + 0.01
    residual = model.stft(0.5 * y[:, 0])
    # A circular complex Gaussian of variance v has real and imaginary parts of variance v / 2.
    part = torch.distributions.Normal(0, (v / 2).sqrt())
    density = part.log_prob(residual.real) + part.log_prob(residual.imag)
    expected = (density + math.log(math.pi)).sum()  # log_prob leaves the constant -log(pi) out
    assert float(model.log_prob(y, y_hat, 0.01)) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize(("seconds", "rank"), [(4, 4), (12, 8)])
def test_long_recordings_get_more_components(seconds, rank):
    model = NMFNoise()
    model.reset(noisy(1, seconds * 16_000), torch.arange(1))
    assert model.spectra.shape[-1] == rank


def test_a_lower_quantile_starts_lower_when_the_noise_is_unsteady():
    level = torch.linspace(0.01, 0.1, 64_000)
    low, usual = NMFNoise(quantile=0.1, bias=1.3), NMFNoise()
    for model in (low, usual):
        model.reset(level * noisy(1, 64_000), torch.arange(1))
    assert low.variance.mean() < 0.8 * usual.variance.mean()


def test_no_component_is_refused():
    with pytest.raises(ConfigError, match="rank of NMFNoise is 0"):
        NMFNoise(rank=0)


def test_nothing_is_late_in_a_recording_that_is_shorter_than_the_delay():
    model = LateReverberation(WhiteNoise(1e-3), delay=40)
    y = torch.randn(1, 1, 4000, generator=torch.Generator().manual_seed(0))
    model.reset(y, torch.zeros(1, dtype=torch.long))
    model.fit(y, 0.1 * y, torch.full((1, 1, 1), 1e-3))
    torch.testing.assert_close(model.variance, model.noise.variance.expand_as(model.variance))
    with pytest.raises(ConfigError, match="delay of LateReverberation is 0"):
        LateReverberation(WhiteNoise(1e-3), delay=0)
