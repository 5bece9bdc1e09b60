"""The encoder hears the voice: not the level, not the equalisation; it is cheap and differentiable."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from diffsr.speakers import SpeakerEncoder
from diffsr.speakers.augmentation import colour
from diffsr.speakers.features import RelativeLogMel


@pytest.fixture(scope="module")
def encoder() -> SpeakerEncoder:
    torch.manual_seed(0)
    return SpeakerEncoder().eval()


@pytest.fixture
def speech(make_speech) -> torch.Tensor:
    return torch.cat([torch.from_numpy(make_speech(2.0, seed=seed)) for seed in range(3)])


@pytest.mark.parametrize("n_samples", [8_000, 8_001, 32_000, 160_123])
def test_any_length_gives_unit_vectors(encoder, n_samples):
    with torch.no_grad():
        embedding = encoder(torch.randn(2, n_samples))
    assert embedding.shape == (2, 128)
    torch.testing.assert_close(embedding.norm(dim=-1), torch.ones(2))


@pytest.mark.parametrize("rate_hz", [8_000, 16_000])
def test_every_band_holds_some_bins_at_every_rate(rate_hz):
    filters = SpeakerEncoder(rate_hz).features.filters
    assert filters.shape[0] == 64
    assert bool((filters.sum(1) > 0).all())


def test_it_is_small_and_cheap(encoder):
    assert sum(parameter.numel() for parameter in encoder.parameters()) < 1_000_000
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        encoder(torch.randn(1, 160_000))
    assert counter.get_total_flops() / 10 < 0.2e9


def test_level_does_not_matter(encoder, speech):
    with torch.no_grad():
        expected = encoder(speech)
        for gain in (1e-4, 0.1, -1.0, 100.0):
            torch.testing.assert_close(encoder(gain * speech), expected, atol=1e-4, rtol=0)


def test_a_fixed_equalisation_cancels_in_the_features(speech):
    """20 dB of colour change an ordinary log-mel by 10 dB on average, the relative one by a tenth of that."""
    features = RelativeLogMel(16_000, 64)
    coloured = colour(speech, 16_000, 12.0, 0.0, torch.Generator().manual_seed(0))
    power = [features.filters @ features.stft(wave).abs().square() for wave in (speech, coloured)]
    ordinary = (power[1] / power[0]).log().abs().mean()
    relative = (features(coloured) - features(speech)).abs().mean()
    assert ordinary > 1.0  # nepers of power: 4.3 dB
    assert relative < 0.1 * ordinary


def test_a_gain_for_each_band_cancels_exactly():
    """The property itself, independent of filters: powers times a constant for each band."""
    features = RelativeLogMel(16_000, 64)
    wave = torch.randn(1, 32_000) * (1 + torch.sin(torch.arange(32_000) / 500))
    delta = torch.zeros(1, 41)
    delta[0, 20] = -3.0  # a filter that is a gain of -3 at all frequencies
    filtered = torch.nn.functional.conv1d(wave[:, None], delta[:, None], padding=20)[:, 0]
    torch.testing.assert_close(features(filtered), features(wave), atol=1e-4, rtol=1e-4)


def test_silence_is_nobody(encoder):
    with torch.no_grad():
        embedding = encoder(torch.stack([torch.zeros(16_000), torch.randn(16_000)]))
    assert bool((embedding[0] == 0).all())
    assert float(embedding[1].norm()) == pytest.approx(1.0, abs=1e-5)


def test_each_wave_is_embedded_by_itself(encoder, speech):
    with torch.no_grad():
        together = encoder(speech)
        alone = torch.cat([encoder(wave[None]) for wave in speech])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("silent", [False, True])
def test_it_guides_the_waveform(encoder, speech, silent):
    wave = (speech * (not silent)).requires_grad_()
    similarity = encoder(wave) @ torch.nn.functional.normalize(torch.ones(128), dim=0)
    (gradient,) = torch.autograd.grad(similarity.sum(), wave)
    assert bool(gradient.isfinite().all())
    assert bool((gradient.abs().sum(-1) > 0).all()) is not silent


def test_the_gradient_is_right(encoder, speech):
    """A step along the gradient raises the similarity by what the gradient promises."""
    wave, target = speech[:1].clone().requires_grad_(), encoder(speech[1:2]).detach()[0]
    similarity = encoder(wave)[0] @ target
    (gradient,) = torch.autograd.grad(similarity, wave)
    step = 1e-3 * gradient / gradient.norm() * wave.detach().norm()
    with torch.no_grad():
        gain = encoder(wave + step)[0] @ target - similarity
    assert float(gain) == pytest.approx(float((gradient * step).sum()), rel=0.2)


def test_sizes_must_be_whole_numbers_above_zero():
    with pytest.raises(ValueError, match="width is 0; expected a whole number above 0"):
        SpeakerEncoder(width=0)
