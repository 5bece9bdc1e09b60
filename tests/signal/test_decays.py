"""Sums over decays and their multiplicative updates, against loops in double precision."""

from __future__ import annotations

import pytest
import torch

from diffsr.degradations.decay_fit import DecayFit
from diffsr.degradations.subband_room import SubbandRoom
from diffsr.likelihoods import LateReverberation, WhiteNoise
from diffsr.signal.decays import (
    BINS_PER_BAND,
    blocks,
    decay_kernels,
    decayed,
    n_bands,
    updated_weights,
    weighted_sum,
)


@pytest.fixture
def sizes():
    return 2, 3, 19, 11  # rows, kernels, bins (two bands and a part), frames


@pytest.fixture
def given(sizes):
    rows, kernels, bins, frames = sizes
    rng = torch.Generator().manual_seed(0)
    parts = torch.rand(rows, kernels, bins, frames, generator=rng)
    weights = 0.1 + torch.rand(rows, kernels, n_bands(bins), generator=rng)
    target = torch.rand(rows, bins, frames, generator=rng)
    return weights, parts, target


def test_the_power_is_the_sum_of_weighted_parts(given, sizes):
    weights, parts, _ = given
    rows, kernels, bins, frames = sizes
    expected = torch.zeros(rows, bins, frames)
    for k in range(kernels):
        for f in range(bins):
            expected[:, f] += weights[:, k, f // BINS_PER_BAND, None] * parts[:, k, f]
    torch.testing.assert_close(weighted_sum(weights, parts), expected)


def test_an_update_is_the_root_of_the_ratio_of_slopes_of_a_band(given, sizes):
    weights, parts, target = given
    power = weighted_sum(weights, parts) + 0.1
    found = updated_weights(weights, parts, target, power)
    w, p, t, v = (one.double() for one in (weights, parts, target, power))
    for row in range(sizes[0]):
        for k in range(sizes[1]):
            for band in range(n_bands(sizes[2])):
                bins = slice(BINS_PER_BAND * band, BINS_PER_BAND * (band + 1))
                up = (p[row, k, bins] * t[row, bins] / v[row, bins] ** 2).sum()
                down = (p[row, k, bins] / v[row, bins]).sum()
                expected = w[row, k, band] * (up / down).sqrt()
                torch.testing.assert_close(found[row, k, band].double(), expected, rtol=1e-5, atol=0)


def test_updates_never_raise_the_itakura_saito_distance_and_rows_are_alone(given):
    weights, parts, target = given
    before, alone = torch.inf, weights[1:]
    for _ in range(20):
        power = weighted_sum(weights, parts) + 0.01
        distance = float((target / power - (target / power).log() - 1).sum())
        assert distance <= before + 1e-4
        before = distance
        weights = updated_weights(weights, parts, target, power)
        alone = updated_weights(alone, parts[1:], target[1:], weighted_sum(alone, parts[1:]) + 0.01)
    torch.testing.assert_close(weights[1:], alone)


def test_a_decay_falls_by_60_db_in_its_time():
    kernels = decay_kernels(torch.tensor([0.2, 0.4]), 60, 0.008, first_frame=2)
    assert not kernels[:, :2].any()
    torch.testing.assert_close(kernels[:, [25, 50]].diagonal(), torch.full((2,), 1e-6))
    impulse = torch.zeros(1, 3, 60)
    impulse[..., 4] = 2.0
    late = decayed(impulse, kernels)
    torch.testing.assert_close(late[0, :, 1, 4:], 2 * kernels[:, :56], rtol=1e-4, atol=1e-6)


def test_blocks_of_bins_give_what_all_of_them_at_once_give(monkeypatch):
    power = torch.rand(2, 9, 50)
    kernels = decay_kernels(torch.tensor([0.2, 0.4]), 50, 0.008, first_frame=2)
    whole = decayed(power, kernels)
    monkeypatch.setattr("diffsr.signal.decays.BLOCK_VALUES", 1)
    assert torch.equal(decayed(power, kernels), whole)


def test_blocks_hold_whole_bands_and_all_of_them():
    for n_bins, n_values in ((257, 100_000), (257, 1), (20, 10**9), (8, 5000)):
        found = list(blocks(n_bins, n_values))
        bins = [one for some, _ in found for one in range(n_bins)[some]]
        bands = [one for _, some in found for one in range(some.start, some.stop)]
        assert bins == list(range(n_bins))
        assert bands == list(range(n_bands(n_bins)))
    assert len(list(blocks(257, 1))) == 1
    assert len(list(blocks(257, 10**9))) == 33  # a long recording: band by band


def _fitted() -> list[torch.Tensor]:
    """What the models of a room make of two rows of noise."""
    wave = torch.randn(2, 1, 12000, generator=torch.Generator().manual_seed(1))
    dry = 0.5 * wave.roll(40, -1)
    late = LateReverberation(WhiteNoise(1e-2, 256, 64))
    late.reset(wave, torch.arange(2))
    late.fit(dry, wave - dry, torch.full((2, 1, 1), 1e-2))
    decays = DecayFit(wave[:, 0], late.stft, 16000)
    decays.update(dry, 2, torch.full((2, 3, 5), 1e-4))
    room = SubbandRoom(1, 1, 129, 5, 2, 0.004, torch.device("cpu"))
    spec = late.stft(dry[0])
    heard = room.explain(
        0, spec, late.stft(wave[0, 0]), torch.ones(spec.shape[1:]), 0.1 * spec.abs().square()
    )
    return [late.weights, late.late, decays.weights, decays.audible, heard, room.decay]


def test_rooms_band_by_band_are_those_of_all_bands_at_once(monkeypatch):
    whole = _fitted()
    monkeypatch.setattr("diffsr.signal.decays.PART_VALUES", 1)
    for one, other in zip(_fitted(), whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
