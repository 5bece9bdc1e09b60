"""Convolution against the definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffsr.signal.filtering import convolve, fft_convolve, fft_correlate, minimum_phase


@pytest.mark.parametrize("start", [0, 1, 7, 40])
@pytest.mark.parametrize("lengths", [(50, 9), (9, 50), (20, 20), (1, 1), (64, 1), (5000, 300)])
def test_every_part_of_a_convolution_is_numpys(lengths, start):
    rng = np.random.default_rng(0)
    wave, response = (rng.standard_normal(n) for n in lengths)
    expected = np.concatenate([np.convolve(wave, response), np.zeros(200)])
    for n_samples in (1, 10, 60, 130):
        found = convolve(torch.from_numpy(wave), torch.from_numpy(response), n_samples, start)
        np.testing.assert_allclose(found.numpy(), expected[start : start + n_samples], atol=1e-11)


def test_leading_dimensions_and_dtype_are_those_of_the_response():
    rng = np.random.default_rng(1)
    wave, response = (torch.from_numpy(rng.standard_normal(shape)).float() for shape in (30, (2, 3, 5)))
    found = convolve(wave, response, 34)
    assert found.shape == (2, 3, 34)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found[1, 2].numpy(), np.convolve(wave, response[1, 2]), atol=1e-5)


@pytest.mark.parametrize("start", [0, 1, 40, 200])
def test_convolution_by_transforms_is_the_same_and_has_an_adjoint(start):
    rng = torch.Generator().manual_seed(0)
    wave, response = (torch.randn(shape, generator=rng).double() for shape in ((2, 1, 90), (2, 3, 25)))
    found = fft_convolve(wave, response, start)
    assert found.shape == (2, 3, 90)
    for row in range(2):
        expected = convolve(wave[row, 0], response[row], 90, start)
        torch.testing.assert_close(found[row], expected, atol=1e-10, rtol=0)
    other = torch.randn(2, 3, 90, generator=rng).double()
    back = fft_correlate(other, response, start)
    torch.testing.assert_close((found * other).sum(), (wave * back).sum())


def test_a_response_alone_is_transformed_like_many():
    rng = torch.Generator().manual_seed(0)
    wave, response = (torch.randn(3, n, generator=rng) for n in (48000, 9000))
    together = fft_convolve(wave, response)
    torch.testing.assert_close(fft_convolve(wave[:1], response[:1]), together[:1], atol=2e-5, rtol=0)


def test_minimum_phase_keeps_the_magnitude_and_moves_the_energy_forward():
    rng = torch.Generator().manual_seed(0)
    response = torch.randn(2, 400, generator=rng).double() * torch.exp(-torch.arange(400) / 60.0)
    early = minimum_phase(response, 4096)
    magnitudes = [torch.fft.rfft(item, 4096).abs() for item in (response, early)]
    torch.testing.assert_close(magnitudes[1], magnitudes[0], rtol=0.02, atol=0.05)
    energies = [item.square().cumsum(-1) for item in (response, early)]
    assert (energies[1] >= energies[0] - 1e-3).all()
    # What has minimum phase already stays as it is.
    torch.testing.assert_close(minimum_phase(early, 4096), early, atol=1e-2, rtol=0)
    torch.testing.assert_close(
        minimum_phase(torch.tensor([1.0, 0.5, 0.0, 0.0]), 64),
        torch.tensor([1.0, 0.5, 0.0, 0.0]),
        atol=1e-5,
        rtol=0,
    )
