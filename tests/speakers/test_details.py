"""Details that one wrong sign, factor or frame would change, each against its definition."""

from __future__ import annotations

import torch

from diffsr.speakers import following
from diffsr.speakers.consistency import Segments, consistency, evidence, exchanged
from diffsr.speakers.crossing import either
from diffsr.speakers.following import changed_places, importance, order_evidence
from diffsr.speakers.pair_bands import PairBands

RATE_HZ = 16000


# Following -------------------------------------------------------------------------------------------


class RightTracker:
    rate_hz, hop_samples = RATE_HZ, 768

    def __init__(self) -> None:
        self.bands, self.n_calls = PairBands(RATE_HZ), 0

    def __call__(self, power):
        self.n_calls += 1
        n_times = power.shape[-1] // 3
        low = power[:, :, :48].sum(2).unflatten(-1, (n_times, 3)).sum(-1)
        name = torch.tensor([0.6, -0.8]) * (-1) ** self.n_calls
        return torch.sign(low[:, 0] - low[:, 1])[..., None] * name


def tones(seconds):
    time_s = torch.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return torch.stack([torch.sin(2 * torch.pi * hz * time_s) for hz in (200.0, 3000.0)])[None]


def test_a_time_counts_by_its_amplitude_up_to_a_limit():
    torch.testing.assert_close(
        importance(torch.tensor([0.0, 0.25, 3.0, 50.0])), torch.tensor([0.0, 0.5, 3**0.5, 3**0.5])
    )


def test_a_time_that_two_windows_hear_counts_once():
    found, weight = order_evidence(RightTracker(), tones(16.0))
    settled = slice(2, -2)
    torch.testing.assert_close(
        found.abs()[:, settled] / weight[:, settled], torch.ones_like(weight[:, settled]), atol=0.1, rtol=0
    )


def test_a_time_reaches_half_a_frame_to_either_side_of_its_frames(monkeypatch):
    order = torch.where(torch.arange(40) < 10, -1.0, 1.0)[None]
    monkeypatch.setattr(following, "order_evidence", lambda *_: (order, torch.ones(1, 40)))
    changed = changed_places(RightTracker(), torch.zeros(1, 2, 40 * 768))[0]
    assert changed.nonzero()[-1] == 10 * 768 - 128 - 1  # frames are centred on multiples of 256


# Exchanges -------------------------------------------------------------------------------------------


def test_what_is_exchanged_twice_is_back():
    a, b = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.5, 1.0]), torch.tensor([0.0, 0.0, 1.0, 1.0, 0.5, 0.3])
    torch.testing.assert_close(either(a, b), torch.tensor([0.0, 1.0, 1.0, 0.0, 0.5, 0.7]))


# Consistency of voices -------------------------------------------------------------------------------


def test_segments_that_overlap_a_little_are_no_pair():
    embedding = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])[None, None].repeat(1, 2, 1, 1)
    embedding[:, 1] = embedding[:, 1].flip(-1)
    assert consistency(Segments(embedding, torch.ones(1, 2, 3), size_samples=5, hop_samples=2)).isnan().all()
    assert consistency(Segments(embedding, torch.ones(1, 2, 3), size_samples=4, hop_samples=2)).abs() > 0.1


def test_a_segment_in_which_one_of_both_is_quiet_says_nothing():
    one = torch.tensor([1.0, 0.0]).expand(5, 2).clone()
    one[2] *= -1
    segments = Segments(torch.stack([one, -one])[None], torch.ones(1, 2, 5), size_samples=4, hop_samples=2)
    assert exchanged(segments, cost=0.5).tolist() == [[False, False, True, False, False]]
    segments.weight[0, 1, 2] = 0.0
    assert not exchanged(segments, cost=0.5).any()


def test_the_direction_of_voices_is_that_on_which_most_segments_agree():
    u, w = torch.tensor([0.1, 0.995]), torch.tensor([1.0, 0.0])
    difference = torch.cat([u.repeat(5, 1), -u.repeat(5, 1), 6 * w[None]])[None]  # one stands out
    found = evidence(difference, torch.ones(1, 11))[0]
    found = found * found[0].sign()
    assert float(found[:5].min()) > 0.5
    assert float(found[5:10].max()) < -0.5


def test_a_segment_counts_no_more_than_one_as_loud_as_its_track():
    class Deaf:
        rate_hz = 8

        def __call__(self, wave):
            return torch.zeros(len(wave), 2)

    x = torch.ones(1, 1, 64)
    x[..., 16:24] = 10.0
    weight = Segments.of(Deaf(), x, 1.0, 1.0).weight[0, 0]
    assert float(weight[2]) == 1.0
    x[..., 16:24] = 2.0
    torch.testing.assert_close(Segments.of(Deaf(), x, 1.0, 1.0).weight[0, 0, :2], torch.full((2,), 8 / 11))
