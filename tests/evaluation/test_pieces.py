"""The piecewise oracle undoes wrong orders and nothing else; swaps are counted where they are."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from diffsr.errors import DataError
from diffsr.evaluation.distortion import si_sdr_db
from diffsr.evaluation.permutation import best_assignment
from diffsr.evaluation.pieces import PIECES_S, piecewise_scores_db, piecewise_si_sdr_db
from diffsr.evaluation.swaps import Swaps, count_swaps

RATE_HZ = 8000
N = 4 * RATE_HZ


def voices(n_talkers: int = 2, seed: int = 0, n_samples: int = N) -> Tensor:
    """Noise with syllables of its own for each talker, levels 4 dB apart, [S, T]."""
    generator = torch.Generator().manual_seed(seed)
    loudness = torch.randn(n_talkers, 1, n_samples // 1000, generator=generator).mul(0.5).exp()
    envelope = torch.nn.functional.interpolate(loudness, size=n_samples, mode="linear")[:, 0]
    levels = 0.1 * 10 ** (-4.0 * torch.arange(n_talkers)[:, None] / 20)
    return levels * envelope * torch.randn(n_talkers, n_samples, generator=generator)


def separated(ref: Tensor, error: float = 0.3, seed: int = 1) -> Tensor:
    """Estimates that add up to the mixture, with an error of each talker."""
    generator = torch.Generator().manual_seed(seed)
    wrong = error * ref[:1].std() * torch.randn(ref.shape, generator=generator)
    return ref + wrong - wrong.mean(0)


def swapped(est: Tensor, *starts: int) -> Tensor:
    """Tracks that change places (S = 2) or rotate at these samples."""
    found = est.clone()
    for start in starts:
        found[:, start:] = found[:, start:].roll(1, 0)
    return found


def as_separated(est: Tensor, ref: Tensor) -> float:
    return float(si_sdr_db(est[list(best_assignment(est, ref))], ref).mean())


@pytest.mark.parametrize("n_talkers", [2, 3])
@pytest.mark.parametrize("piece_s", [1.0, 0.25, 0.064])
def test_swapped_halves_score_like_the_right_order(n_talkers, piece_s):
    ref = voices(n_talkers)
    right = separated(ref)
    half = round(0.064 * RATE_HZ) * 31 if piece_s == 0.064 else N // 2  # where a piece ends
    wrong = swapped(right, half)
    assert as_separated(wrong, ref) < as_separated(right, ref) - 5
    found = piecewise_si_sdr_db(wrong, ref, RATE_HZ, piece_s)
    assert found == pytest.approx(piecewise_si_sdr_db(right, ref, RATE_HZ, piece_s), abs=0.01)
    assert found == pytest.approx(as_separated(right, ref), abs=0.2)
    assert count_swaps(right, ref, RATE_HZ).count == 0
    swaps = count_swaps(wrong, ref, RATE_HZ)
    assert swaps.count == 1
    assert swaps.per_minute == pytest.approx(15)


def test_every_change_counts_once():
    ref = voices()
    wrong = swapped(separated(ref), 8000, 14000, 26000)
    swaps = count_swaps(wrong, ref, RATE_HZ)
    assert swaps.count == 3
    assert swaps.n_pieces == 16
    assert swaps.n_decided > 10


def test_a_change_during_a_pause_counts_once():
    ref = voices()
    ref[1, 10000:22000] = 0.0  # one talker alone: nobody can say who is who
    wrong = swapped(separated(ref, 0.1), 16000)
    swaps = count_swaps(wrong, ref, RATE_HZ)
    assert swaps.count == 1
    assert swaps.n_decided <= 10


@pytest.mark.parametrize("seed", range(6))
def test_order_and_scale_of_tracks_do_not_matter(seed):
    generator = torch.Generator().manual_seed(seed)
    n_talkers = 2 + seed % 2
    ref = voices(n_talkers, seed)
    est = swapped(separated(ref, 0.6, seed), *torch.randint(N, (3,), generator=generator).sort()[0].tolist())
    scales = torch.randn(n_talkers, 1, generator=generator) * 10 ** torch.randn(
        n_talkers, 1, generator=generator
    )
    other = (scales * est)[torch.randperm(n_talkers, generator=generator)]
    for piece_s in PIECES_S:
        expected = piecewise_si_sdr_db(est, ref, RATE_HZ, piece_s)
        assert piecewise_si_sdr_db(other, ref, RATE_HZ, piece_s) == pytest.approx(expected, abs=1e-3)
        assert piecewise_si_sdr_db(est, 0.01 * ref.flip(0), RATE_HZ, piece_s) == pytest.approx(
            expected, abs=1e-3
        )
    assert count_swaps(other, ref, RATE_HZ) == count_swaps(est, ref, RATE_HZ)


@pytest.mark.parametrize("seed", range(4))
def test_never_below_the_order_of_whole_tracks(seed):
    """Also for estimates that have nothing to do with the talkers, and whatever the pieces."""
    ref, noise = voices(3, seed), voices(3, 100 + seed)
    for est in (noise, ref + 3 * noise, separated(ref, 1.0, seed)):
        for piece_s in (0.004, 0.3):
            assert piecewise_si_sdr_db(est, ref, RATE_HZ, piece_s) >= as_separated(est, ref)
        whole = piecewise_si_sdr_db(est, ref, RATE_HZ, 100.0)
        assert whole == pytest.approx(as_separated(est, ref), abs=0.1)


@pytest.mark.parametrize("seed", range(3))
def test_against_all_orders_tried_by_hand(seed):
    """Five pieces of two talkers: no order of the 32 scores better than the one that is found."""
    ref = voices(2, seed, 5000)
    est = swapped(separated(ref, 0.8, seed), 2000)
    scores = []
    for flips in itertools.product([False, True], repeat=5):
        flip = torch.tensor(flips).repeat_interleave(1000)
        scores.append(float(si_sdr_db(torch.where(flip, est.flip(0), est), ref).mean()))
    found = piecewise_si_sdr_db(est, ref, RATE_HZ, 1000 / RATE_HZ)
    assert found == pytest.approx(max(scores), abs=0.05)


def test_perfect_tracks_have_no_gap():
    ref = voices(3)
    scores = [piecewise_si_sdr_db(ref.roll(1, 0), ref, RATE_HZ, piece_s) for piece_s in PIECES_S]
    assert scores == [as_separated(ref, ref)] * 3
    assert min(scores) > 150
    halves = swapped(ref, N // 2)
    assert piecewise_si_sdr_db(halves, ref, RATE_HZ, 0.25) > 40  # its tracks have means of their own
    assert count_swaps(ref, ref, RATE_HZ).count == 0


@pytest.mark.parametrize("copies", [(1.0, 1.0), (0.9, 0.1), (1.0, -3.0)])
def test_copies_of_the_mixture_gain_nothing(copies):
    """Else the louder copy would be given to whoever is louder: a mask made by the reference."""
    ref = voices()
    est = torch.tensor(copies)[:, None] * ref.sum(0)
    for piece_s in PIECES_S:
        assert piecewise_si_sdr_db(est, ref, RATE_HZ, piece_s) == pytest.approx(
            as_separated(est, ref), abs=1e-4
        )
    swaps = count_swaps(est, ref, RATE_HZ)
    assert (swaps.count, swaps.n_decided) == (0, 0)
    assert math.isnan(swaps.per_minute)


def test_errors_of_a_moment_stay():
    """A third of the one talker leaks into the other: no order takes it out."""
    ref = voices()
    mixing = torch.tensor([[0.7, 0.3], [0.3, 0.7]])
    est = mixing @ ref
    for piece_s in PIECES_S:
        found = piecewise_si_sdr_db(swapped(est, N // 2), ref, RATE_HZ, piece_s)
        assert found == pytest.approx(as_separated(est, ref), abs=0.5)


@pytest.mark.parametrize("bad", [torch.zeros(N), torch.full((N,), 0.2), torch.full((N,), math.nan)])
def test_silence_and_broken_samples(bad):
    ref = voices()
    for which in (0, 1):
        broken = ref.clone()
        broken[which] = bad
        for est, reference in ((broken, ref), (ref, broken)):
            assert piecewise_scores_db(est, reference, RATE_HZ, 0.25).isnan().tolist() == [True, True]
            assert count_swaps(est, reference, RATE_HZ) == Swaps(0, 0, 16, 4.0)


def test_one_talker_has_one_order():
    ref = voices(1)
    est = ref + 0.1 * voices(1, 5)
    assert piecewise_si_sdr_db(est, ref, RATE_HZ, 0.064) == pytest.approx(float(si_sdr_db(est, ref)[0]))
    assert count_swaps(est, ref, RATE_HZ).count == 0


@pytest.mark.parametrize("score", [piecewise_si_sdr_db, count_swaps])
def test_bad_input(score):
    ref = voices()
    with pytest.raises(DataError, match=r"shape \[3, 32000\] and the references \[2, 32000\]"):
        score(voices(3), ref, RATE_HZ, 0.25)
    with pytest.raises(DataError, match=r"expected both \[talkers, samples\]"):
        score(ref[0], ref[0], RATE_HZ, 0.25)
    with pytest.raises(DataError, match=r"expected both \[talkers, samples\]"):
        score(ref[:, :0], ref[:, :0], RATE_HZ, 0.25)
    for piece_s in (0.0, -1.0, math.nan, 1e-9):
        with pytest.raises(DataError, match="hold no sample"):
            score(ref, ref, RATE_HZ, piece_s)


def test_a_swap_needs_a_margin():
    """Tracks that hardly differ have no order, those that differ by a third have one."""
    ref = voices()
    halves = ref.sum(0) / 2
    difference = (ref[0] - ref[1]) / 2
    for share, is_decided in ((0.05, False), (0.33, True)):
        part = share * difference
        swaps = count_swaps(swapped(torch.stack([halves + part, halves - part]), N // 2), ref, RATE_HZ)
        assert (swaps.n_decided > 0) == is_decided
        assert swaps.count == int(is_decided)


def test_random_orders_of_pieces_are_undone():
    generator = np.random.default_rng(3)
    ref = voices(3, 7)
    est = separated(ref, 0.2)
    length = round(0.25 * RATE_HZ)
    mixed = torch.cat([piece[generator.permutation(3)] for piece in est.split(length, -1)], -1)
    assert piecewise_si_sdr_db(mixed, ref, RATE_HZ, 0.25) == pytest.approx(as_separated(est, ref), abs=0.3)
    assert as_separated(mixed, ref) < 0
