"""Convolution against the definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffsr.signal.filtering import convolve


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
