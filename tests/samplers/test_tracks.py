"""Tracks are put in order by a tracker: within a search, and after joining."""

from __future__ import annotations

import pytest
import torch

from diffsr.degradations import Mixing
from diffsr.diffusion import WindowedPrior
from diffsr.diffusion.analytic import WhiteGaussianPrior
from diffsr.errors import CheckpointError, ConfigError
from diffsr.likelihoods import WhiteNoise
from diffsr.samplers import Consensus, ExchangeTracks, Problem, RowNoise, TracksInOrder
from diffsr.samplers.exchange import exchange
from diffsr.samplers.tracks import tracked_order
from diffsr.speakers import VoiceTracker

RATE_HZ = 16_000
LAST = torch.tensor([0.0099])


def problem_of(x, rate_hz=RATE_HZ, prior=None):
    noise = RowNoise(0, [str(k) for k in range(len(x))], 1)
    prior = prior or WhiteGaussianPrior(rate_hz=rate_hz)
    return Problem.pose(x.sum(1, keepdim=True), prior, Mixing(), WhiteNoise(1e-5), noise, 1, x.shape[1])


def swapped(x, *spans_s, tracks=(0, 1)):
    """Tracks `[S, T]`, two of which change places for a while."""
    out, (a, b) = x.clone(), tracks
    for start_s, end_s in spans_s:
        where = slice(round(start_s * RATE_HZ), round(end_s * RATE_HZ))
        out[a, where], out[b, where] = x[b, where], x[a, where]
    return out


def share_wrong(found, expected):
    return float(((found - expected).abs() > 1e-4).any(0).float().mean())


@pytest.fixture(scope="module")
def pair(voice):
    return torch.stack([voice(90.0, 6.0), voice(260.0, 6.0)])


@pytest.mark.parametrize("in_bfloat16", [False, True])
def test_exchanged_voices_go_back_where_they_were(pair, in_bfloat16):
    wrong = swapped(pair, (1.0, 1.3), (2.0, 2.6), (4.0, 5.0))[None]
    prior = WindowedPrior(WhiteGaussianPrior(rate_hz=RATE_HZ), 8.0, in_bfloat16=in_bfloat16)
    order = ExchangeTracks().order(wrong, LAST, 56, problem_of(wrong, prior=prior))
    right = exchange(wrong, order)[0]
    assert share_wrong(wrong[0], pair) > 0.25
    assert share_wrong(right, pair) < 0.06
    torch.testing.assert_close(right.sum(0), pair.sum(0), rtol=0, atol=0)
    again = ExchangeTracks().order(pair[None], LAST, 56, problem_of(wrong))
    assert share_wrong(exchange(pair[None], again)[0], pair) < 0.02


def test_restarts_that_vote_wrong_together_are_put_in_order(pair):
    restarts = torch.stack([swapped(pair, (2.0, 2.6), (4.0, 5.0)), swapped(pair, (2.0, 2.6), (4.1, 5.1))])
    joined = Consensus()(restarts, torch.zeros(2), RATE_HZ)
    right = TracksInOrder()(restarts, torch.zeros(2), RATE_HZ)
    assert share_wrong(joined, pair) > 0.2
    assert share_wrong(right, pair) < 0.08
    torch.testing.assert_close(right.sum(0), pair.sum(0), rtol=0, atol=1e-5)


def test_three_talkers(pair, voice):
    three = torch.cat([pair, voice(160.0, 6.0)[None]])
    wrong = swapped(three, (1.0, 2.0), tracks=(0, 1))
    right = exchange(
        wrong[None], tracked_order(VoiceTracker.from_pretrained("tracker-16k"), wrong[None], 0.5)
    )[0]
    assert share_wrong(wrong, three) > 0.15
    assert share_wrong(right, three) < 0.08


@pytest.mark.parametrize("in_bfloat16", [False, True])
def test_the_tracker_computes_as_precisely_as_the_prior(pair, in_bfloat16, monkeypatch):
    heard = []
    monkeypatch.setattr(
        VoiceTracker,
        "_directions",
        lambda self, power: (
            heard.append(self.embed(torch.ones(1, 1, self.embed.in_features)).dtype)
            or torch.ones(len(power), power.shape[-1] // 3, 16)
        ),
    )
    prior = WindowedPrior(WhiteGaussianPrior(rate_hz=RATE_HZ), 8.0, in_bfloat16=in_bfloat16)
    move = ExchangeTracks()
    move.order(pair[None], LAST, 56, problem_of(pair[None], prior=prior))
    assert set(heard) == {torch.bfloat16 if in_bfloat16 else torch.float32}
    assert not move.tracker.in_bfloat16


def test_only_between_two_levels_and_every_so_many(pair):
    move = ExchangeTracks(sigma_high=0.3, sigma_low=0.05, every=2)
    x, problem = pair[None], problem_of(pair[None])
    due = {(level, sigma): move.order(x, torch.tensor([sigma]), level, problem) is not None
           for level in (4, 5) for sigma in (0.31, 0.29, 0.1, 0.051, 0.04)}  # fmt: skip
    assert {key for key, is_due in due.items() if is_due} == {(4, 0.29), (4, 0.1), (4, 0.051)}
    assert ExchangeTracks().order(x[:, :1], LAST, 0, problem) is None  # a single track


@pytest.mark.parametrize("n_samples", [1, 500, 1_600])
def test_what_is_too_short_stays(pair, n_samples):
    x = pair[:, :n_samples]
    found = TracksInOrder()(x[None].repeat(2, 1, 1), torch.zeros(2), RATE_HZ)
    torch.testing.assert_close(found, x, rtol=0, atol=1e-5)


def test_bad_settings(pair, tmp_path):
    for kind, setting, words in (
        (ExchangeTracks, {"every": 0}, "every = 0; expected 1 or more levels"),
        (ExchangeTracks, {"cost": -1.0}, "cost of -1"),
        (TracksInOrder, {"cost": -1.0}, "cost of -1"),
    ):
        with pytest.raises(ConfigError, match=words):
            kind(**setting)
    with pytest.raises(CheckpointError, match="No voice tracker at"):
        TracksInOrder(tracker=tmp_path / "none")
    with pytest.raises(ConfigError, match="voice tracker is for 16000 Hz, the prior for 8000 Hz"):
        TracksInOrder()(pair[None], torch.zeros(1), 8000)
    with pytest.raises(ConfigError, match="prior for 8000 Hz"):
        ExchangeTracks().order(pair[None], LAST, 0, problem_of(pair[None], 8000))
