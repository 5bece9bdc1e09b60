from __future__ import annotations

import pytest
import torch

from diffsr.errors import ConfigError
from diffsr.likelihoods import DriftingNoise, NMFNoise
from diffsr.noise import NoiseListener


def noise(n_items=1, n_samples=64_000, seed=0):
    return 0.05 * torch.randn(n_items, 1, n_samples, generator=torch.Generator().manual_seed(seed))


def started(y, **options):
    model = DriftingNoise(**options)
    model.reset(y, torch.arange(len(y)))
    return model


class Listener(torch.nn.Module):
    """Hears whatever a function says."""

    def __init__(self, hear):
        super().__init__()
        self.forward = hear


@pytest.mark.parametrize("wrong", [{"n_frames": 100}, {"n_bins": 0}])
def test_rectangles_without_a_middle_are_refused(wrong):
    [name] = wrong
    with pytest.raises(
        ConfigError, match=f"{name} of DriftingNoise is {wrong[name]}; expected an odd number"
    ):
        DriftingNoise(**wrong)


def test_the_mean_is_that_of_the_rectangle_around_each_bin():
    power = torch.rand(2, 9, 12, generator=torch.Generator().manual_seed(0)) ** 8
    smooth = DriftingNoise(n_frames=5, n_bins=3)._smooth(power)
    for k, n in ((0, 0), (4, 6), (8, 11), (1, 10)):
        inside = power[:, max(k - 1, 0) : k + 2, max(n - 2, 0) : n + 3]
        torch.testing.assert_close(smooth[:, k, n], inside.mean((1, 2)))


def test_it_starts_at_the_level_of_stationary_noise():
    model = started(noise(2))
    expected = model.stft.window_energy * 0.05**2
    assert model.variance.mean((-2, -1)) == pytest.approx(torch.full((2,), expected), rel=0.25)


def test_the_power_of_noise_alone_is_found_where_it_changes():
    y = noise()
    y[..., 32_000:] *= 3
    model = started(y)
    for _ in range(10):
        model.update(y, torch.zeros(1))
    level = model.variance.mean(1)[0] / model.stft.window_energy
    far = model.n_frames
    assert float(level[far : 250 - far].mean()) == pytest.approx(0.05**2, rel=0.05)
    assert float(level[250 + far : -far].mean()) == pytest.approx(9 * 0.05**2, rel=0.05)


def test_the_likelihood_of_stationary_noise_never_falls():
    # A rectangle over everything is the maximum-likelihood step of stationary noise.
    y = noise(n_samples=16_000)
    model = started(y, n_frames=2001, n_bins=1)
    extra = torch.rand(1, 257, 1, generator=torch.Generator().manual_seed(1)) * 0.05**2 * 256
    residual = y + 0.02 * noise(n_samples=16_000, seed=1)
    before = model.log_prob(residual, torch.zeros_like(y), extra)
    for _ in range(10):
        model.update(residual, extra)
        after = model.log_prob(residual, torch.zeros_like(y), extra)
        assert float(after) >= float(before) - 1e-2
        before = after


def test_a_word_is_too_short_to_pass_for_noise():
    y = noise()
    word = torch.zeros_like(y)
    word[..., 30_000:33_000] = 1.0 * torch.randn(1, 1, 3_000, generator=torch.Generator().manual_seed(2))
    model = started(y)
    for _ in range(3):
        model.update(y + word, torch.zeros(1))
    inside = model.variance.mean(1)[0, 240:250].mean() / model.stft.window_energy
    assert float(inside) < 0.5 * float(word[..., 30_000:33_000].square().mean())


def test_an_item_does_not_depend_on_its_company_and_restarts_share_one_spectrum():
    y = noise(2, 16_000)
    alone, together = started(y[:1]), started(y)
    for model, rows in ((alone, y[:1]), (together, y)):
        model.update(rows, torch.zeros(1))
    torch.testing.assert_close(alone.variance[0], together.variance[0])
    shared = DriftingNoise()
    shared.reset(y[[0, 0]], torch.tensor([0, 0]))
    shared.update(torch.cat([y[:1], 2 * y[:1]]), torch.zeros(1))
    assert torch.equal(shared.variance[0], shared.variance[1])


def test_digital_silence_keeps_a_floor():
    model = started(torch.zeros(1, 1, 8_000))
    model.update(torch.zeros(1, 1, 8_000), torch.zeros(1))
    assert bool((model.variance > 0).all())


def test_restarts_count_as_one_estimate_their_mean():
    """What one lacks of the speech and another has too much of is no noise."""
    y, error = noise(1, 16_000), noise(1, 16_000, seed=1)
    model, alone = DriftingNoise(), DriftingNoise()
    model.reset(y.expand(2, 1, -1), torch.tensor([0, 0]))
    alone.reset(y, torch.tensor([0]))
    model.update(torch.cat([y + error, y - error]), torch.zeros(1))
    alone.update(y, torch.zeros(1))
    torch.testing.assert_close(model.variance[0], alone.variance[0], rtol=1e-4, atol=1e-6)


def test_it_starts_from_what_a_listener_expects():
    y = noise(2)
    heard = []

    def hear(power):
        heard.append(power)
        return torch.full_like(power, 0.3)

    model = started(y, clicks=False, listener=Listener(hear))
    torch.testing.assert_close(model.variance, torch.full((2, 257, 501), 0.3))
    torch.testing.assert_close(heard[0], model.stft(y[:, 0]).abs().square())


@pytest.mark.parametrize("trust", [0.0, 0.3, 1.0])
def test_an_update_is_a_mean_of_both_logarithms(trust):
    y, extra = noise(), torch.tensor(0.01)
    model = started(
        y, clicks=False, listener=Listener(lambda power: torch.full_like(power, 0.3)), trust=trust
    )
    alone = started(y, clicks=False)
    alone.power = model.power.clone()  # the same start, and no listener after it
    model.update(0.8 * y, extra)
    alone.update(0.8 * y, extra)
    expected = (1 - trust) * alone.power.log() + trust * torch.tensor(0.3).log()
    torch.testing.assert_close(model.power.log(), expected)


def test_a_listener_does_not_hear_muted_frames():
    y = noise(2)
    y[1, :, 20_000:40_000] = 0
    frames = []

    def hear(power):
        frames.append(power.shape[-1])
        assert (power.mean(1) > 0).all()
        return power.mean(-1, keepdim=True).expand(power.shape)

    model = started(y, clicks=False, listener=Listener(hear))
    assert frames[0] == 501
    assert 340 < frames[1] < 360
    level = model.variance.mean(1) / model.stft.window_energy
    assert level[1, 200] < 1e-9
    torch.testing.assert_close(level[1, [50, 450]], torch.full((2,), 0.05**2), rtol=0.2, atol=0)


def test_a_listener_is_forgotten_with_its_recording():
    model = started(noise(2), listener=Listener(lambda power: torch.full_like(power, 0.3)))
    model.reset(noise(1, 16_000), torch.zeros(1, dtype=torch.long))
    assert model.expected is not None
    assert model.expected.shape == (1, 257, 126)


def test_trust_is_a_share():
    with pytest.raises(ConfigError, match=r"trust of DriftingNoise is 1.5; expected 0 to 1"):
        DriftingNoise(trust=1.5)


def test_a_listener_of_another_stft_is_refused():
    with pytest.raises(ConfigError, match="hears n_fft 256, hop_samples 64; expected .* 512 and 128"):
        DriftingNoise(listener=NoiseListener(n_fft=256, hop_samples=64, width=8, depth=1))


@pytest.mark.parametrize("kind", [DriftingNoise, NMFNoise])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"quantile": 2.0}, "quantile is 2 and bias 1.3"),
        ({"quantile": -0.5}, "quantile is -0.5"),
        ({"bias": -1.0}, "bias -1; expected"),
        ({"hop_samples": 0}, "n_fft is 512 and hop_samples 0"),
        ({"hop_samples": 1000}, "n_fft is 512 and hop_samples 1000"),
        ({"n_fft": -4}, "n_fft is -4"),
    ],
)
def test_a_noise_model_that_cannot_start_is_refused(kind, wrong, message):
    with pytest.raises(ConfigError, match=f"{kind.__name__}: .*{message}"):
        kind(**wrong)
