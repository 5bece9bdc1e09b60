"""Ranking of restarts: agreement against a formula of its own, and what confidence means."""

from __future__ import annotations

import math
from itertools import permutations
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from diffsr.samplers import Agreement
from diffsr.samplers.ranking import (
    best_restart,
    confidence,
    in_order_of,
    mean_agreement_db,
    nearness_db,
)

N_SAMPLES = 4000


def voices(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, N_SAMPLES, generator=torch.Generator().manual_seed(seed))


def rank(restarts: torch.Tensor, items: list[int] | None = None) -> torch.Tensor:
    item_of_row = torch.tensor([0] * len(restarts) if items is None else items)
    return Agreement()(SimpleNamespace(item_of_row=item_of_row), restarts)


def agreement_by_hand(a: np.ndarray, b: np.ndarray) -> float:
    """Mean SI-SDR in dB after the best order, from correlations."""
    a, b = (one - one.mean(-1, keepdims=True) for one in (a, b))
    norms = (np.linalg.norm(one, axis=-1) for one in (a, b))
    squared = (a @ b.T / np.outer(*norms)) ** 2
    orders = permutations(range(len(a)))
    decibels = 10 * np.log10(squared / (1 - squared))
    return max(float(np.mean([decibels[k, order[k]] for k in range(len(a))])) for order in orders)


@pytest.mark.parametrize("n_talkers", [2, 3])
def test_agreement_is_the_mean_si_sdr_with_the_others_in_the_best_order(n_talkers):
    true = voices(n_talkers)
    restarts = torch.stack(
        [true + spread * voices(n_talkers, k) for k, spread in enumerate((0.1, 0.3, 1.0), 1)]
    )
    restarts[1] = restarts[1].flip(0)
    found = rank(restarts)
    waves = restarts.double().numpy()
    for a in range(3):
        expected = np.mean([agreement_by_hand(waves[a], waves[b]) for b in range(3) if b != a])
        assert float(found[a]) == pytest.approx(expected, abs=1e-3)
    assert int(found.argmax()) == 0


def test_order_and_level_of_talkers_do_not_matter_and_items_are_ranked_apart():
    restarts = torch.stack([voices(2) + 0.3 * voices(2, k) for k in range(1, 7)])
    found = rank(restarts, [0, 0, 0, 1, 1, 1])
    torch.testing.assert_close(found[:3], rank(restarts[:3]))
    torch.testing.assert_close(found[3:], rank(restarts[3:]))
    louder = torch.tensor([1.0, 7.0, 0.1])[:, None, None] * restarts[:3]
    torch.testing.assert_close(rank(torch.stack([louder[0].flip(0), louder[1], louder[2]])), found[:3])


def test_single_restarts_and_silence():
    assert math.isnan(float(rank(voices(2)[None])[0]))
    quiet = torch.stack([voices(2), voices(2), torch.zeros(2, N_SAMPLES)])
    found = mean_agreement_db(quiet)
    assert bool(found.isfinite().all())
    assert int(found.argmin()) == 2


@pytest.mark.parametrize("n_talkers", [2, 3])
def test_a_lost_restart_does_not_decide_among_the_others(n_talkers):
    true, other = voices(n_talkers), voices(n_talkers, 9)
    restarts = torch.stack([true + 0.3 * voices(n_talkers, k) for k in (1, 2)] + [other])
    lost = torch.cat([restarts, torch.full_like(restarts[:1], math.nan)])
    found = mean_agreement_db(lost)[:3]
    assert bool(found.isfinite().all())
    torch.testing.assert_close(found.diff(), 2 / 3 * mean_agreement_db(restarts).diff(), rtol=1e-4, atol=1e-4)


def test_nearness_knows_no_order_and_no_level():
    true = voices(2)
    near = nearness_db(torch.stack([2 * true.flip(0), true + true.roll(500, -1), voices(2, 7)]), true)
    assert float(near[0]) == 60.0  # the same
    assert float(near[0]) > float(near[1]) > float(near[2])
    assert float(near[1]) == pytest.approx(0.0, abs=1.0)  # as much of something else


def test_the_best_restart():
    assert best_restart([1.0, 3.0, 2.0]) == 1
    assert best_restart([-math.inf, math.nan, math.nan]) == 1
    assert best_restart([math.nan, -math.inf, -60.0]) == 2
    assert best_restart([math.nan]) == 0
    assert best_restart([2.0, 2.0]) == 0


def test_restarts_in_the_order_of_the_chosen_one():
    true = voices(3)
    restarts = torch.stack([true, true[[2, 0, 1]], true.flip(0)])
    for chosen in range(3):
        assert torch.equal(in_order_of(restarts, chosen), restarts[chosen].expand(3, -1, -1))


def test_confidence_is_that_restarts_tell_the_same_talkers_apart():
    true = voices(2)
    assert confidence(true[None], 0) is None
    assert confidence(true.expand(4, -1, -1), 0) == pytest.approx(1.0, abs=2e-3)
    mixture = true.sum(0) / 2
    assert confidence(mixture.expand(4, 2, -1), 0) == pytest.approx(0.0, abs=1e-6)  # nothing told apart
    assert confidence(torch.zeros(3, 2, N_SAMPLES), 0) == pytest.approx(0.0, abs=1e-6)
    assert confidence(torch.stack([voices(2, k) for k in range(3)]), 1) < 0.01
    swapped = true.clone()
    swapped[:, : N_SAMPLES // 4] = swapped[:, : N_SAMPLES // 4].flip(0)
    # Of the energy of a talker 3/4 are its own: (3/4)^2 - (1/4)^2.
    assert confidence(in_order_of(torch.stack([true, swapped]), 0), 0) == pytest.approx(0.5, abs=0.05)
