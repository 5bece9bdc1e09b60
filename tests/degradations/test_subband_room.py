"""Responses in bins: found in closed form, with a prior that decays."""

from __future__ import annotations

import math

import pytest
import torch

from diffsr.degradations import subband_room
from diffsr.degradations.subband_room import SubbandRoom

N_BINS, N_FRAMES, TAPS, DELAY, FRAME_S = 20, 300, 12, 2, 0.008
RT60_S = 0.3


def complex_normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


def past_of(dry: torch.Tensor) -> torch.Tensor:
    """`[F, taps, N]`, frame by frame."""
    past = torch.zeros(N_BINS, TAPS, N_FRAMES, dtype=dry.dtype)
    for tap in range(TAPS):
        past[:, tap, DELAY + tap :] = dry[:, : N_FRAMES - DELAY - tap]
    return past


@pytest.fixture
def dry() -> torch.Tensor:
    return complex_normal(N_BINS, N_FRAMES, seed=0)


@pytest.fixture
def reverberation(dry) -> torch.Tensor:
    falling = 10 ** (-3 * FRAME_S * torch.arange(TAPS) / RT60_S)
    response = 0.3 * falling * complex_normal(N_BINS, TAPS, seed=1)
    return (response[:, None] @ past_of(dry))[:, 0]


def room(n_rows: int = 1, n_sources: int = 1, tied: bool = True) -> SubbandRoom:
    return SubbandRoom(n_rows, n_sources, N_BINS, TAPS, DELAY, FRAME_S, torch.device("cpu"), tied)


def test_a_response_and_its_decay_are_found(dry, reverberation):
    found, v = room(), torch.full((N_BINS, N_FRAMES), 1e-4)
    noise = 0.01 * complex_normal(N_BINS, N_FRAMES, seed=2)
    for _ in range(4):
        sound = found.explain(0, dry[None], reverberation + noise, v, torch.zeros_like(v)[None])
    assert (sound - reverberation).norm() < 0.05 * reverberation.norm()
    rt60_s = math.log(1e6) * FRAME_S / found.decay
    assert float(rt60_s.mean()) == pytest.approx(RT60_S, rel=0.3)


def test_the_response_is_the_dense_posterior_mean(dry, reverberation, monkeypatch):
    monkeypatch.setattr(subband_room, "N_ROUNDS", 1)
    found, v = room(), 0.1 + torch.rand(N_BINS, N_FRAMES, generator=torch.Generator().manual_seed(3))
    uncertainty = torch.full_like(v, 0.2)
    prior = (found.log_level[0, 0, 0] - found.decay[0, 0, 0] * torch.arange(TAPS)).exp()
    sound = found.explain(0, dry[None], reverberation, v, uncertainty[None])
    past = past_of(dry)
    for f in (0, 9, 19):
        vague = past_of(uncertainty + 0j)[f].real @ v[f].reciprocal()
        rows = torch.cat([(past[f] / v[f].sqrt()).mT, torch.diag((vague + 1 / prior).sqrt()) + 0j])
        aim = torch.cat([reverberation[f] / v[f].sqrt(), torch.zeros(TAPS)])
        response = torch.linalg.lstsq(rows, aim[:, None]).solution[:, 0]
        torch.testing.assert_close(sound[f], response @ past[f], rtol=1e-3, atol=1e-4)


def test_what_no_response_explains_is_left_alone(dry):
    found, v = room(), torch.ones(N_BINS, N_FRAMES)
    noise = complex_normal(N_BINS, N_FRAMES, seed=4)
    for _ in range(10):
        sound = found.explain(0, dry[None], noise, v, torch.zeros_like(v)[None])
    assert sound.norm() < 0.1 * noise.norm()


def test_a_vague_talker_is_no_evidence(dry, reverberation):
    v = torch.full((N_BINS, N_FRAMES), 1e-3)
    sure = room().explain(0, dry[None], reverberation, v, torch.zeros_like(v)[None])
    vague = room().explain(0, dry[None], reverberation, v, torch.full_like(v, 10.0)[None])
    assert vague.norm() < 0.5 * sure.norm()


def test_rows_are_on_their_own_and_silence_is_safe(dry, reverberation):
    both, v = room(2), torch.full((N_BINS, N_FRAMES), 1e-3)
    none = torch.zeros_like(v)
    silent = both.explain(0, 0 * dry[None], 0 * dry, v, none[None])
    assert (silent == 0).all()
    torch.testing.assert_close(
        both.explain(1, dry[None], reverberation, v, none[None]),
        room().explain(0, dry[None], reverberation, v, none[None]),
    )


def response_of(rt60_s: float, seed: int) -> torch.Tensor:
    falling = 10 ** (-3 * FRAME_S * torch.arange(TAPS) / rt60_s)
    return 0.3 * falling * complex_normal(N_BINS, TAPS, seed=seed)


@pytest.mark.parametrize("tied", [True, False])
def test_each_of_two_talkers_has_a_response_of_its_own(tied):
    talkers = torch.stack([complex_normal(N_BINS, N_FRAMES, seed=seed) for seed in (0, 5)])
    rt60s_s = (0.1, 0.6)
    heard = sum(
        (response_of(rt60_s, 6 + k)[:, None] @ past_of(talkers[k]))[:, 0] for k, rt60_s in enumerate(rt60s_s)
    )
    v = torch.full((N_BINS, N_FRAMES), 1e-4)
    found, sum_alone = room(n_sources=2, tied=tied), room()
    for _ in range(6):
        sound = found.explain(0, talkers, heard, v, torch.zeros_like(talkers.real))
        alone = sum_alone.explain(0, talkers.sum(0, keepdim=True), heard, v, torch.zeros_like(v)[None])
    assert (sound - heard).norm() < 0.05 * heard.norm()
    assert (alone - heard).norm() > 0.5 * heard.norm()
    first, second = (math.log(1e6) * FRAME_S / found.decay[0]).mean(-1).tolist()
    if tied:
        assert first == second
        assert rt60s_s[0] < first < rt60s_s[1]
    else:
        assert (first, second) == pytest.approx(rt60s_s, rel=0.35)


def test_a_silent_talker_changes_nothing_for_the_other(dry, reverberation):
    v = torch.full((N_BINS, N_FRAMES), 1e-3)
    both = torch.stack([dry, 0 * dry])
    sound = room(n_sources=2, tied=False).explain(0, both, reverberation, v, torch.zeros_like(both.real))
    alone = room().explain(0, dry[None], reverberation, v, torch.zeros_like(v)[None])
    torch.testing.assert_close(sound, alone, rtol=1e-3, atol=1e-4)
