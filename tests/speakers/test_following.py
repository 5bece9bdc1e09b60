"""Where voices change places in recordings of any length, by a tracker that is always right."""

from __future__ import annotations

import pytest
import torch

from diffsr.speakers.following import N_CUTS, changed_places, order_evidence
from diffsr.speakers.pair_bands import PairBands

RATE_HZ = 16_000


class RightTracker:
    """Knows that one voice is low and the other high, and names them anew in every call."""

    rate_hz, hop_samples = RATE_HZ, 768

    def __init__(self) -> None:
        self.bands, self.n_calls = PairBands(RATE_HZ), 0

    def __call__(self, power: torch.Tensor) -> torch.Tensor:
        self.n_calls += 1
        n_times = power.shape[-1] // 3
        low = power[:, :, :48].sum(2).unflatten(-1, (n_times, 3)).sum(-1)
        name = torch.tensor([0.6, -0.8]) * (-1) ** self.n_calls
        return torch.sign(low[:, 0] - low[:, 1])[..., None] * name


def voices(seconds: float) -> torch.Tensor:
    time_s = torch.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return torch.stack([torch.sin(2 * torch.pi * hz * time_s) for hz in (200.0, 3000.0)])[None]


@pytest.mark.parametrize("seconds", [2.0, 8.3, 40.0])
def test_what_was_exchanged_is_found(seconds):
    x = voices(seconds)
    wrong = torch.zeros(x.shape[-1], dtype=torch.bool)
    for start, stop in ((0.1, 0.15), (0.3, 0.42), (0.8, 0.9)):
        wrong[round(start * len(wrong)) : round(stop * len(wrong))] = True
    tracker = RightTracker()
    found = changed_places(tracker, torch.where(wrong, x.flip(1), x))[0]
    seam = torch.nn.functional.max_pool1d(wrong.float().diff().abs()[None], 2 * 768 + 1, 1, 768)[0] > 0
    assert torch.equal(found[1:][~seam], wrong[1:][~seam])
    assert float((found != wrong).float().mean()) < 6 * 768 / len(wrong)
    n_windows = 1 if seconds < 8.1 else -(-int(seconds * RATE_HZ / 768 - 168) // 84) + 1
    assert tracker.n_calls == N_CUTS * n_windows


class Believer(RightTracker):
    """Hears the voices, but believes more in what goes on: half of what it says is that nothing changes."""

    def __call__(self, power: torch.Tensor) -> torch.Tensor:
        self.n_calls = -1
        heard = super().__call__(power)
        return torch.cat([0.5 * heard, torch.full_like(heard, 0.6)], dim=-1)


def test_what_a_tracker_believes_of_all_times_does_not_count():
    x = voices(4.0)
    x[..., 20_000:36_000] = x[..., 20_000:36_000].flip(1)
    found = changed_places(Believer(), x, cost=0.5)[0]
    assert float(found[21_000:35_000].float().mean()) == 1.0
    assert float(found[:19_000].float().mean()) == float(found[37_000:].float().mean()) == 0.0


def test_the_longer_side_stays_and_the_order_of_tracks_does_not_matter():
    x = voices(4.0)
    x = torch.cat([x[..., :16_000].flip(1), x[..., 16_000:]], dim=-1)
    for given in (x, x.flip(1)):
        found = changed_places(RightTracker(), given)[0]
        assert float(found[:15_000].float().mean()) == 1.0
        assert float(found[17_000:].float().mean()) == 0.0


def test_a_change_has_its_cost():
    x = voices(4.0)
    x[..., 30_000:33_000] = x[..., 30_000:33_000].flip(1)
    assert bool(changed_places(RightTracker(), x, cost=0.5).any())
    assert not bool(changed_places(RightTracker(), x, cost=10.0).any())


@pytest.mark.parametrize("n_samples", [1, 767, 768, 2_000])
def test_short_silent_and_broken_tracks_stay(n_samples):
    assert not bool(changed_places(RightTracker(), torch.zeros(2, 2, n_samples)).any())
    broken = voices(1.0)[..., : max(n_samples, 800)].clone()
    broken[..., 5] = torch.nan
    found, weight = order_evidence(RightTracker(), broken)
    assert bool(found.isfinite().all())
    assert bool(weight.isfinite().all())
