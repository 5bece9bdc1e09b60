"""Restarts joined by vote: changes of places are put back, differences averaged, lost restarts left out."""

from __future__ import annotations

import math

import pytest
import torch

from diffsr.errors import ConfigError
from diffsr.evaluation.permutation import best_assignment
from diffsr.samplers import Consensus

RATE_HZ = 8000
N_SAMPLES = 4 * RATE_HZ
SEVEN = torch.linspace(0.1, 0.7, 7)


def voices(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, N_SAMPLES, generator=torch.Generator().manual_seed(seed))


def with_swaps(tracks: torch.Tensor, at_s: list[float]) -> torch.Tensor:
    """The tracks, which change places at the given times."""
    out = tracks.clone()
    for time_s in at_s:
        start = round(time_s * RATE_HZ)
        out[:, start:] = out[:, start:].roll(1, dims=0)
    return out


def error_db(found: torch.Tensor, true: torch.Tensor) -> float:
    """Error over signal after the best order of the tracks as a whole."""
    ordered = found[list(best_assignment(found, true))]
    return float(10 * ((ordered - true).square().sum() / true.square().sum()).log10())


@pytest.mark.parametrize("n_talkers", [2, 3, 5])
def test_places_that_change_at_different_times_are_put_back(n_talkers):
    true = voices(n_talkers)
    restarts = torch.stack([with_swaps(true, at) for at in ([1.0], [2.1, 2.6], [3.3], [0.6, 1.7], [])])[:4]
    assert min(error_db(one, true) for one in restarts) > -12.0
    joined = Consensus()(restarts, torch.zeros(4), RATE_HZ)
    assert error_db(joined, true) < -12.0
    # What is left lies in the pieces in which a restart changes; elsewhere the tracks are exact.
    pieces = (joined[list(best_assignment(joined, true))] - true).unfold(-1, RATE_HZ // 20, RATE_HZ // 20)
    assert float((pieces.abs().amax((0, 2)) < 1e-4).float().mean()) > 0.75


def test_a_single_restart_that_is_right_outvotes_others_by_its_score():
    true = voices(2)
    wrong = with_swaps(true, [2.0])
    restarts = torch.stack([wrong, true, wrong])
    equal = Consensus()(restarts, torch.zeros(3), RATE_HZ)
    judged = Consensus()(restarts, torch.tensor([0.0, 1.0, 0.0]), RATE_HZ)
    assert error_db(equal, true) > -6.0
    assert error_db(judged, true) < -12.0


def test_local_errors_are_averaged():
    true = voices(2)
    restarts = torch.stack([true + 0.5 * voices(2, seed) for seed in range(1, 5)])
    joined = Consensus()(restarts, torch.zeros(4), RATE_HZ)
    assert error_db(joined, true) == pytest.approx(error_db(restarts[0], true) - 6.0, abs=0.5)


def test_neither_the_order_of_tracks_nor_that_of_restarts_matters():
    restarts = torch.stack([with_swaps(voices(3), at) for at in ([1.0], [2.2], [3.1])])
    scores = torch.tensor([0.1, 0.3, 0.2])
    joined = Consensus()(restarts, scores, RATE_HZ)
    turned = torch.stack([one.roll(k, dims=0) for k, one in enumerate(restarts)])[[2, 0, 1]]
    assert error_db(Consensus()(turned, scores[[2, 0, 1]], RATE_HZ), joined) < -100.0


def test_the_sum_of_the_talkers_is_kept():
    recording = voices(1)[0]
    restarts = torch.stack([torch.stack([part, recording - part]) for part in voices(3, 1)])
    joined = Consensus()(restarts, torch.tensor([0.1, 0.2, 0.9]), RATE_HZ)
    torch.testing.assert_close(joined.sum(0), recording, atol=1e-5, rtol=0)


def test_lost_restarts_have_no_say():
    true = voices(2)
    restarts = torch.stack([true, torch.full_like(true, math.nan), true])
    joined = Consensus()(restarts, torch.tensor([0.1, -math.inf, 0.1]), RATE_HZ)
    torch.testing.assert_close(joined, true, atol=1e-5, rtol=0)
    lost = Consensus()(restarts[1:2], torch.tensor([-math.inf]), RATE_HZ)
    assert lost.shape == true.shape


def test_restarts_without_scores_count_alike():
    restarts = torch.stack([voices(2) + 0.1 * voices(2, seed) for seed in (1, 2)])
    unknown = Consensus()(restarts, torch.full((2,), math.nan), RATE_HZ)
    torch.testing.assert_close(unknown, Consensus()(restarts, torch.zeros(2), RATE_HZ))


@pytest.mark.parametrize("n_samples", [1, 100, 1024, 1025])
def test_short_and_silent_restarts_come_back(n_samples):
    restarts = torch.zeros(3, 2, n_samples)
    torch.testing.assert_close(Consensus()(restarts, SEVEN[:3], RATE_HZ), restarts[0])
    same = voices(2)[:, :n_samples].expand(3, -1, -1)
    torch.testing.assert_close(Consensus()(same, SEVEN[:3], RATE_HZ), same[0], atol=1e-5, rtol=0)


def test_pauses_do_not_lose_who_is_who():
    true = voices(2)
    true[0, RATE_HZ : 3 * RATE_HZ // 2] = 0  # one pauses
    true[:, 2 * RATE_HZ : 5 * RATE_HZ // 2] = 0  # both pause
    restarts = torch.stack([with_swaps(true, at) for at in ([0.7], [2.2], [3.1])])
    joined = Consensus()(restarts, torch.zeros(3), RATE_HZ)
    assert error_db(joined, true) < -12.0


@pytest.mark.parametrize(
    "setting", [{"piece_s": 0.0}, {"memory_s": -1.0}, {"floor": 0.0}, {"floor": math.nan}]
)
def test_settings_that_make_no_sense_are_refused(setting):
    with pytest.raises(ConfigError, match="expected numbers above 0"):
        Consensus(**setting)
