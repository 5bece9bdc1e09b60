"""FFT convolution against the definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffsr.signal.filtering import convolve, fast_length


@pytest.mark.parametrize("start", [0, 1, 7, 40])
@pytest.mark.parametrize("lengths", [(50, 9), (9, 50), (20, 20), (1, 1), (64, 1)])
def test_every_part_of_a_convolution_is_numpys(lengths, start):
    rng = np.random.default_rng(0)
    wave, response = (rng.standard_normal(n) for n in lengths)
    expected = np.concatenate([np.convolve(wave, response), np.zeros(200)])
    for n_samples in (1, 10, 60, 130):
        found = convolve(torch.from_numpy(wave), torch.from_numpy(response), n_samples, start)
        np.testing.assert_allclose(found.numpy(), expected[start : start + n_samples], atol=1e-12)


def test_leading_dimensions_broadcast():
    rng = np.random.default_rng(1)
    wave, response = (
        torch.from_numpy(rng.standard_normal(30)),
        torch.from_numpy(rng.standard_normal((2, 3, 5))),
    )
    found = convolve(wave, response, 34)
    assert found.shape == (2, 3, 34)
    np.testing.assert_allclose(found[1, 2].numpy(), np.convolve(wave, response[1, 2]), atol=1e-12)


def test_fast_lengths_are_the_smallest_of_their_kind():
    from scipy.fft import next_fast_len

    smooth = {2**a * 3**b * 5**c for a in range(13) for b in range(9) for c in range(7)}
    for n in (*range(1, 300), 1023, 2049, 3001):
        assert fast_length(n) == min(x for x in smooth if x >= n)
    assert fast_length(64001) >= next_fast_len(64001)
