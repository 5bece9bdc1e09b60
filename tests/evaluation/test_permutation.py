import itertools
import math

import pytest
import torch

from diffsr.errors import DataError
from diffsr.evaluation.distortion import si_sdr_db
from diffsr.evaluation.permutation import best_assignment, pairwise_si_sdr_db


def talkers(n, seed=0, n_samples=4000):
    return torch.randn(n, n_samples, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("n_talkers", [1, 2, 3, 4])
@pytest.mark.parametrize("level", [0.1, 3.0])
def test_best_of_all_permutations(n_talkers, level):
    for seed in range(5):
        ref = talkers(n_talkers, seed)
        order = torch.randperm(n_talkers, generator=torch.Generator().manual_seed(seed))
        est = ref[order] + level * talkers(n_talkers, 100 + seed)
        means = {
            candidate: float(si_sdr_db(est[list(candidate)], ref).mean())
            for candidate in itertools.permutations(range(n_talkers))
        }
        assert best_assignment(est, ref) == max(means, key=means.get)
        if level < 1:
            assert best_assignment(est, ref) == tuple(order.argsort().tolist())


def test_agrees_with_torchmetrics():
    from torchmetrics.functional.audio import (
        permutation_invariant_training,
        scale_invariant_signal_distortion_ratio,
    )

    for seed in range(5):
        ref, est = talkers(3, seed), talkers(3, seed)[[2, 0, 1]] + 2 * talkers(3, seed + 50)
        best, order = permutation_invariant_training(
            est[None], ref[None], scale_invariant_signal_distortion_ratio
        )
        assert best_assignment(est, ref) == tuple(order[0].tolist())
        found = si_sdr_db(est[list(best_assignment(est, ref))], ref).mean()
        assert float(found) == pytest.approx(float(best[0]), abs=0.01)  # torchmetrics keeps the means


def test_pairs_are_references_by_estimates():
    ref = talkers(2)
    found = pairwise_si_sdr_db(torch.stack([ref[1], ref[0] + 0.1 * ref[1]]), ref)
    assert found.shape == (2, 2)
    assert float(found[1, 0]) > 100
    assert float(found[0, 1]) == pytest.approx(20, abs=1)


@pytest.mark.parametrize("bad", [0.0, math.nan])
def test_silent_estimate_goes_to_the_talker_left_over(bad):
    ref = talkers(3)
    est = torch.stack([torch.full_like(ref[0], bad), ref[2], ref[0]])
    assert best_assignment(est, ref) == (2, 0, 1)
    assert best_assignment(torch.full_like(ref, bad), ref) == (0, 1, 2)
    assert best_assignment(ref, torch.full_like(ref, bad)) == (0, 1, 2)


def test_wrong_number_of_talkers():
    with pytest.raises(DataError, match="3 estimates for 2 talkers, expected one for each"):
        best_assignment(talkers(3), talkers(2))
