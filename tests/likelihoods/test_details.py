"""Details that one wrong sign, factor or frame would change, each against its definition."""

from __future__ import annotations

import pytest
import torch

from diffsr.likelihoods import DriftingNoise, KnownNoise, LateReverberation, NMFNoise, WhiteNoise
from diffsr.likelihoods.base import FLOOR, noise_posterior_power
from diffsr.likelihoods.late_reverberation import TIMES_S
from diffsr.signal.decays import decay_kernels, decayed

RATE_HZ = 16000


# Drifting noise --------------------------------------------------------------------------------------


def noise(n_items=1, n_samples=64_000, seed=0):
    return 0.05 * torch.randn(n_items, 1, n_samples, generator=torch.Generator().manual_seed(seed))


def started(y, **options):
    model = DriftingNoise(**options)
    model.reset(y, torch.arange(len(y)))
    return model


class Listener(torch.nn.Module):
    def __init__(self, hear):
        super().__init__()
        self.forward = hear


def test_clicks_are_part_of_the_noise_and_one_more_uncertainty_of_what_drifts():
    y = noise(1, 16_000)
    y[..., 8_000:8_040] += 0.5 * torch.randn(40, generator=torch.Generator().manual_seed(1))
    model = started(y)
    drifts, clicks = model.power.clone(), model.click_power
    assert float(clicks.max()) > 10 * float(drifts.max())
    torch.testing.assert_close(model.variance, drifts + clicks)
    model.update(y, torch.tensor(0.01))
    found = noise_posterior_power(model.stft(y[:, 0]), drifts, clicks + 0.01)
    torch.testing.assert_close(model.power, model._smooth(found).clamp_min(FLOOR))


@pytest.mark.parametrize("muted", [False, True])
def test_what_a_listener_expects_becomes_as_slow_as_the_model(muted):
    y = noise()
    if muted:
        y[..., 20_000:40_000] = 0
    model = started(y, clicks=False, listener=Listener(lambda power: power))
    assert bool(model.muted.any()) == muted
    expected = model._smooth(model.stft(y[:, 0]).abs().square()).masked_fill(model.muted, FLOOR)
    torch.testing.assert_close(model.variance, expected.clamp_min(FLOOR), rtol=1e-4, atol=1e-8)


# Known noise -----------------------------------------------------------------------------------------


def parts(n=2, n_samples=8000, seed=0):
    rng = torch.Generator().manual_seed(seed)
    speech, noise = 0.05 * torch.randn(2, n, n_samples, generator=rng)
    switching = 0.02 + 3.0 * (torch.arange(n_samples) // 500 % 2)
    return speech, noise * switching


def test_smoothing_averages_over_the_frames_that_there_are():
    speech, noise = parts(1)
    exact, smooth = (KnownNoise(noise, speech + noise, frames) for frames in (1, 5))
    for model in (exact, smooth):
        model.reset((speech + noise)[:, None], torch.arange(1))
    for at, frames in ((12, slice(10, 15)), (0, slice(0, 3)), (-1, slice(-3, None))):
        expected = exact.variance[..., frames].mean(-1)
        torch.testing.assert_close(smooth.variance[..., at], expected, rtol=1e-4, atol=0.0)


# Late reverberation ----------------------------------------------------------------------------------


def test_late_reverberation_starts_as_even_decays_of_the_recording():
    y = noise(1, 32_000)
    model = LateReverberation(WhiteNoise(1e-4), delay=3, initial=0.1)
    model.reset(y, torch.zeros(1, dtype=torch.long))
    power = model.stft(y[:, 0]).abs().square()
    kernels = decay_kernels(torch.tensor(TIMES_S), power.shape[-1], 128 / RATE_HZ, 3)
    expected = 0.1 * decayed(power, kernels / kernels.sum(-1, keepdim=True)).mean(1)
    torch.testing.assert_close(model.late, expected, rtol=1e-3, atol=1e-6)


def test_what_is_vague_of_a_talker_reverberates_too():
    y = noise(1, 16_000)
    model = LateReverberation(WhiteNoise(1e-4))
    model.reset(y, torch.zeros(1, dtype=torch.long))
    model.fit(0 * y, y, torch.full((1, 257, 126), 0.1))
    assert float(model.late[..., 10:].min()) > 0


def test_late_reverberation_is_one_more_uncertainty_of_the_noise():
    class Noted(WhiteNoise):
        def update(self, residual, extra_variance):
            self.given = extra_variance

    y = noise(1, 16_000)
    model = LateReverberation(Noted(1e-4))
    model.reset(y, torch.zeros(1, dtype=torch.long))
    model.update(y, torch.tensor(0.01))
    torch.testing.assert_close(model.noise.given, 0.01 + model.late)


# NMF -------------------------------------------------------------------------------------------------


def test_every_component_may_grow_anywhere():
    model = NMFNoise(rank=3)
    model.reset(noise(2, 16_000), torch.arange(2))
    assert float(model.activations.min()) >= 0.1 / 3
    torch.testing.assert_close(model.activations.sum(1), torch.ones(2, 126))


def test_an_update_is_that_of_the_activations_and_then_that_of_the_spectra():
    model = NMFNoise(rank=3)
    model.reset(noise(2, 16_000), torch.arange(2))
    target = model.stft(noise(2, 16_000, seed=1)[:, 0]).abs().square().double()
    w, h = model.spectra.double(), model.activations.double()
    v = w @ h
    h = h * ((w.mT @ (target / v**2)) / (w.mT @ (1 / v))).sqrt()
    v = w @ h
    w = w * (((target / v**2) @ h.mT) / ((1 / v) @ h.mT)).sqrt()
    model._multiplicative_update(target.float())
    torch.testing.assert_close(model.variance.double(), w @ h, rtol=1e-4, atol=0)


def test_an_update_is_on_the_power_that_the_noise_has_given_the_residual():
    y, extra = noise(1, 16_000), torch.tensor(0.3)
    one, other = NMFNoise(), NMFNoise()
    for model in (one, other):
        model.reset(y, torch.arange(1))
    one.update(2 * y, extra)
    other._multiplicative_update(noise_posterior_power(other.stft(2 * y[:, 0]), other.variance, extra))
    torch.testing.assert_close(one.variance, other.variance)
