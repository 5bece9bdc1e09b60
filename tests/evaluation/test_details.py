"""Details that one wrong sign, factor or frame would change, each against its definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffsr.evaluation.align import align
from diffsr.evaluation.distortion import si_sdr_db
from diffsr.evaluation.metrics import RESPONSE_METRICS, TALKER_METRICS
from diffsr.evaluation.pieces import _best_orders, cheapest, cut, of_orders, piecewise_scores_db
from diffsr.evaluation.swaps import count_swaps

RATE_HZ = 16000


# Pieces ----------------------------------------------------------------------------------------------


N = 32_000


def voices_of(n_talkers=2, seed=0, n_samples=N):
    generator = torch.Generator().manual_seed(seed)
    loudness = torch.randn(n_talkers, 1, n_samples // 1000, generator=generator).mul(0.5).exp()
    envelope = torch.nn.functional.interpolate(loudness, size=n_samples, mode="linear")[:, 0]
    levels = 0.1 * 10 ** (-4.0 * torch.arange(n_talkers)[:, None] / 20)
    return levels * envelope * torch.randn(n_talkers, n_samples, generator=generator)


@pytest.mark.parametrize(("below_db", "n_decided"), [(15, 16), (25, 8)])
def test_a_piece_within_20_db_of_the_talkers_level_is_active(below_db, n_decided):
    ref = 0.1 * torch.randn(2, N, generator=torch.Generator().manual_seed(0))
    ref[1, N // 2 :] *= 10 ** (-below_db / 20)
    assert count_swaps(ref, ref, 8000).n_decided == n_decided


def test_errors_are_those_of_scaled_estimates():
    ref = voices_of(3, 0, 5000)
    est = ref + 0.1 * voices_of(3, 1, 5000)
    found, scales = cut(est, ref, 1000), np.array([0.5, 1.0, 3.0])
    r = (ref.double() - ref.double().mean(-1, keepdim=True)).unflatten(-1, (5, 1000))
    expected = (r[:, None] - torch.from_numpy(scales)[:, None, None, None] * found.est[None]).square().sum(-1)
    np.testing.assert_allclose(found.errors(scales), expected.permute(2, 0, 1).numpy(), rtol=1e-6)


def log_errors(pieces, orders):
    copies = np.broadcast_to(pieces.est_energy[:, None], pieces.products.shape)
    product, copy = (of_orders(values, orders).sum(0) for values in (pieces.products, copies))
    return np.log(pieces.ref_energy.sum(0) - product**2 / copy), product / copy


@pytest.mark.parametrize("seed", range(8))
def test_the_orders_are_at_rest_and_not_worse_than_those_it_started_from(seed):
    ref = voices_of(3, seed, 8000)
    ref[1] *= 10 ** (-30 / 20)
    est = ref + 0.3 * torch.randn(3, 8000, generator=torch.Generator().manual_seed(seed))
    pieces = cut(est, ref, 160)
    found = _best_orders(pieces)
    errors, scales = log_errors(pieces, found)
    assert errors.sum() <= log_errors(pieces, cheapest(pieces.errors()))[0].sum() + 1e-9
    assert np.array_equal(cheapest(pieces.errors(scales) / np.exp(errors)[:, None]), found)


# Alignment -------------------------------------------------------------------------------------------


def test_a_delay_is_found_under_noise_ten_times_as_strong():
    ref, loud = (torch.randn(8 * RATE_HZ, generator=torch.Generator().manual_seed(k)) for k in (0, 1))
    est = torch.cat([torch.zeros(200), ref[:-200]]) + 10**0.5 * loud
    found = align(est, ref, RATE_HZ)
    assert found.correlation == pytest.approx(0.3, abs=0.03)
    assert found.delay_samples == pytest.approx(200, abs=0.2)


# Metrics ---------------------------------------------------------------------------------------------


def test_the_gap_is_that_of_the_shortest_pieces():
    ref = voices_of()
    est = ref.clone()
    est[:, N // 3 :] = est[:, N // 3 :].flip(0)
    found = TALKER_METRICS["piecewise_gap_db"].score(est, ref, 8000)
    torch.testing.assert_close(found, piecewise_scores_db(est, ref, 8000, 0.064) - si_sdr_db(est, ref))


@pytest.mark.parametrize("name", ["rt60_error_s", "drr_error_db"])
def test_less_error_of_a_room_is_an_improvement(name):
    assert RESPONSE_METRICS[name].improvement(1.0, 3.0) == 2.0
