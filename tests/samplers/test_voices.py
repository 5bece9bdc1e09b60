"""Pieces go to the track of their voice, and the restart with one voice in each track ranks first."""

from __future__ import annotations

import itertools

import pytest
import torch

from diffsr.degradations import Mixing
from diffsr.diffusion.analytic import WhiteGaussianPrior
from diffsr.errors import CheckpointError, ConfigError
from diffsr.likelihoods import WhiteNoise
from diffsr.samplers import (
    AnnealedSampler,
    Consensus,
    Euler,
    ExchangeVoices,
    FromNoise,
    OneVoice,
    Problem,
    RowNoise,
    Unguided,
    VoicesInOrder,
)
from diffsr.samplers.exchange import exchange
from diffsr.samplers.voices import crossfaded, voice_order
from diffsr.speakers.consistency import Segments, consistency, signs

RATE_HZ = 16_000
MIDDLE = torch.tensor([0.2])
"""A noise level at which exchanges are made."""


def swapped(x, start_s, end_s):
    """Tracks `[S, T]` whose order is turned round for a while."""
    out, where = x.clone(), slice(round(start_s * RATE_HZ), round(end_s * RATE_HZ))
    out[:, where] = x.flip(0)[:, where]
    return out


def problem_of(x, rate_hz=RATE_HZ, n_restarts=1):
    y = x.sum(1, keepdim=True)
    noise = RowNoise(0, [str(k) for k in range(len(y))], n_restarts)
    return Problem.pose(
        y, WhiteGaussianPrior(rate_hz=rate_hz), Mixing(), WhiteNoise(1e-5), noise, n_restarts, x.shape[1]
    )


@pytest.fixture(scope="module")
def pair(voice):
    return torch.stack([voice(90.0, 4.0), voice(260.0, 4.0)])


@pytest.fixture(scope="module")
def move():
    return ExchangeVoices(every=1)


def test_exchanged_voices_go_back_where_they_were(move, pair):
    wrong = swapped(pair, 2.5, 4.0)[None]
    order = move.order(wrong, MIDDLE, 0, problem_of(wrong))
    right = exchange(wrong, order)[0]
    share_wrong = (right != pair).any(0).float().mean()
    assert share_wrong < 0.1  # seams are found to a fraction of a segment
    torch.testing.assert_close(right.sum(0), pair.sum(0), rtol=0, atol=0)


def test_restarts_that_all_change_places_in_a_pause_are_put_in_order(pair):
    quiet = pair.clone()
    quiet[:, 30_000:46_000] = 0.0
    restarts = torch.stack([swapped(quiet, 2.5, 4.0), swapped(quiet, 2.2, 4.0)])
    scores = torch.zeros(2)
    joined = Consensus()(restarts, scores, RATE_HZ)
    assert (joined != quiet).any(0).float().mean() > 0.2
    right = VoicesInOrder()(restarts, scores, RATE_HZ)
    torch.testing.assert_close(right.sum(0), quiet.sum(0), rtol=0, atol=1e-5)
    assert ((right - quiet).abs() > 1e-4).any(0).float().mean() < 0.1


@pytest.mark.parametrize(("cost", "is_right"), [(0.0, True), (3.0, True), (1e3, False)])
def test_a_change_has_its_cost(pair, cost, is_right):
    wrong = swapped(pair, 2.25, 4.0)  # long enough for the default cost of 3, by a margin
    found = VoicesInOrder(cost=cost)(wrong[None], torch.zeros(1), RATE_HZ)
    differs = float(((found - pair).abs() > 1e-4).any(0).float().mean())
    assert differs < 0.1 if is_right else differs > 0.3


def test_the_path_of_signs_is_the_best_of_all_paths():
    evidence = torch.randn(3, 9, generator=torch.Generator().manual_seed(0))
    paths = torch.tensor(list(itertools.product((1.0, -1.0), repeat=9)))
    changes = (paths[:, 1:] != paths[:, :-1]).sum(-1)
    for cost in (0.0, 0.3, 1.0, 5.0):
        best = (evidence @ paths.T - cost * changes).max(-1).values
        found = signs(evidence, cost)
        worth = (found * evidence).sum(-1) - cost * (found[:, 1:] != found[:, :-1]).sum(-1)
        torch.testing.assert_close(worth, best)


def test_tracks_fade_where_their_order_changes(pair):
    order = torch.tensor([0, 1])[:, None].repeat(1, pair.shape[-1])
    order[:, 32_000:] = order[:, 32_000:].flip(0)
    faded = crossfaded(pair[None], order[None], 256)[0]
    torch.testing.assert_close(faded.sum(0), pair.sum(0), rtol=0, atol=1e-5)
    hard = exchange(pair[None], order[None])[0]
    torch.testing.assert_close(faded[:, :31_800], hard[:, :31_800])
    torch.testing.assert_close(faded[:, 32_200:], hard[:, 32_200:])
    assert float((faded - hard).abs().max()) > 0.0


@pytest.mark.parametrize("n_samples", [100, 7_999, 8_000])
def test_what_is_too_short_for_the_encoder_is_joined_only(pair, n_samples):
    restarts = pair[None, :, :n_samples].repeat(2, 1, 1)
    found = VoicesInOrder()(restarts, torch.zeros(2), RATE_HZ)
    torch.testing.assert_close(found, restarts[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("setting", "words"), [({"cost": -1.0}, "cost"), ({"segment_s": 0.2}, "segments")])
def test_settings_of_the_order_that_make_no_sense_are_refused(setting, words):
    with pytest.raises(ConfigError, match=words):
        VoicesInOrder(**setting)


def test_voices_at_another_rate_are_refused(pair):
    with pytest.raises(ConfigError, match="speaker encoder is for 16000 Hz"):
        VoicesInOrder()(pair[None], torch.zeros(1), 8000)


def test_tracks_of_one_voice_each_stay(move, pair):
    order = move.order(pair[None], MIDDLE, 0, problem_of(pair[None]))
    torch.testing.assert_close(exchange(pair[None], order)[0], pair)


def test_three_talkers_are_exchanged_in_pairs(move, pair, voice):
    three = torch.cat([pair, voice(150.0, 4.0)[None]])
    wrong = three.clone()
    wrong[[0, 2], 40_000:] = three[[2, 0], 40_000:]
    order = move.order(wrong[None], MIDDLE, 0, problem_of(wrong[None]))
    right = exchange(wrong[None], order)[0]
    best = min(
        float((right[list(p)] != three).any(0).float().mean()) for p in itertools.permutations(range(3))
    )
    assert best < 0.15
    assert bool((order.sort(1).values == torch.arange(3)[None, :, None]).all())


def test_a_row_does_not_depend_on_others(move, pair):
    rows = torch.stack([pair, swapped(pair, 1.0, 2.0), swapped(pair, 2.5, 4.0)])
    together = move.order(rows, MIDDLE.expand(3), 0, problem_of(rows))
    for k in range(3):
        alone = move.order(rows[k : k + 1], MIDDLE, 0, problem_of(rows[k : k + 1]))
        assert bool((together[k] == alone[0]).all())


@pytest.mark.parametrize(("sigma", "level"), [(0.6, 0), (0.05, 0), (0.2, 1)])
def test_nothing_moves_outside_of_its_levels(pair, sigma, level):
    move = ExchangeVoices(every=2)
    wrong = swapped(pair, 2.5, 4.0)[None]
    assert move.order(wrong, torch.tensor([sigma]), level, problem_of(wrong)) is None


@pytest.mark.parametrize("n_samples", [4_000, 8_000, 20_000])
def test_short_and_silent_recordings_pass(move, n_samples):
    for x in (torch.zeros(1, 2, n_samples), 0.05 * torch.randn(1, 2, n_samples)):
        order = move.order(x, MIDDLE, 0, problem_of(x))
        assert exchange(x, order).isfinite().all()
        assert OneVoice()(problem_of(x), x).isnan().all()  # nothing is compared


def test_a_lost_restart_does_not_keep_the_others_from_their_order(move, pair):
    wrong = swapped(pair, 2.5, 4.0)
    rows = torch.stack([wrong, torch.full_like(wrong, torch.nan)])
    alone = move.order(wrong[None], MIDDLE, 0, problem_of(wrong[None]))
    assert torch.equal(move.order(rows, MIDDLE, 0, problem_of(rows))[0], alone[0])


def test_the_restart_with_one_voice_in_each_track_ranks_first(pair):
    alike = pair.mean(0, keepdim=True).expand(2, -1)
    restarts = torch.stack([swapped(pair, 2.0, 4.0), alike, pair, swapped(pair, 1.0, 2.0)])
    scores = OneVoice()(problem_of(restarts), restarts)
    assert int(scores.argmax()) == 2
    turned = OneVoice()(problem_of(restarts), 0.3 * restarts.flip(1))
    torch.testing.assert_close(turned, scores, rtol=1e-3, atol=1e-3)


def test_a_lost_restart_has_no_score_and_spoils_no_other(pair):
    restarts = torch.stack([pair, torch.full_like(pair, torch.nan)])
    scores = OneVoice()(problem_of(restarts), restarts)
    assert scores[1].isnan()
    assert torch.equal(scores[:1], OneVoice()(problem_of(restarts[:1]), restarts[:1]))


def test_consistency_is_its_definition(pair):
    """The mean over all pairs that do not overlap, one by one."""
    encoder = OneVoice().encoder
    x = swapped(pair, 1.5, 3.0)[None]
    segments = Segments.of(encoder, x, 1.0, 0.5)
    pieces = x[0].unfold(-1, RATE_HZ, RATE_HZ // 2)
    e = [encoder(track) for track in pieces]
    power = pieces.square().mean(-1)
    w = (power / power.mean(-1, keepdim=True)).clamp_max(1.0)
    sums = {True: [0.0, 0.0], False: [0.0, 0.0]}
    for k, j, m, n in itertools.product(range(2), range(2), range(len(w[0])), range(len(w[0]))):
        if abs(m - n) >= 2:
            weight = float(w[k, m] * w[j, n])
            sums[k == j][0] += weight * float(e[k][m] @ e[j][n])
            sums[k == j][1] += weight
    expected = sums[True][0] / sums[True][1] - sums[False][0] / sums[False][1]
    assert float(consistency(segments)[0]) == pytest.approx(expected, abs=1e-4)


def test_the_sampler_moves_state_and_estimate_together(pair):
    """What a solver gets with an exchange is what it gets without, exchanged: both state and estimate."""
    half = pair.shape[-1] // 2

    class Turn:
        """At the first level."""

        def order(self, x0, sigma, level, problem):
            order = torch.arange(2)[None, :, None].repeat(len(x0), 1, x0.shape[-1])
            order[:, :, half:] = order[:, :, half:].flip(1)
            return order if level == 0 else None

    class Listen(Euler):
        def __init__(self):
            self.heard = []

        def step(self, z, x0, sigma, sigma_next, posterior, problem):
            self.heard.append((z.clone(), x0.clone()))
            return super().step(z, x0, sigma, sigma_next, posterior, problem)

    heard = {}
    for name, turn in (("plain", None), ("turned", Turn())):
        problem, solver = problem_of(pair[None]), Listen()
        sampler = AnnealedSampler(
            Unguided(), solver, estimators=[], n_steps=3, initialiser=FromNoise(), exchange=turn
        )
        sampler.sample(problem, sampler.start(problem))
        heard[name] = solver.heard[0]
    for plain, turned in zip(heard["plain"], heard["turned"], strict=True):
        assert not torch.allclose(plain[:, 0], plain[:, 1], atol=1e-3)
        torch.testing.assert_close(turned[..., :half], plain[..., :half])
        torch.testing.assert_close(turned[..., half:], plain[..., half:].flip(1))


@pytest.mark.parametrize(
    ("settings", "names"),
    [({"segment_s": 0.2}, "0.5 s"), ({"hop_s": 0.0}, "hop above 0"), ({"every": 0}, "every = 0")],
)
def test_settings_that_do_not_work_are_refused(settings, names):
    with pytest.raises(ConfigError, match=names):
        ExchangeVoices(**settings)


def test_an_encoder_of_another_rate_is_refused(move, pair):
    problem = problem_of(pair[None], rate_hz=8000)
    with pytest.raises(ConfigError, match="for 16000 Hz, the prior for 8000 Hz"):
        move.order(pair[None], MIDDLE, 0, problem)
    with pytest.raises(ConfigError, match="for 16000 Hz"):
        OneVoice()(problem, pair[None])


def test_a_missing_encoder_is_named():
    with pytest.raises(CheckpointError, match="nowhere"):
        OneVoice(encoder="nowhere")


class Labels(torch.nn.Module):
    """An encoder that hears which voice a segment is of: by the value that its samples have."""

    rate_hz, embedding_dim = 100, 4

    def __init__(self):
        super().__init__()
        self.most = 0

    def forward(self, x):
        self.most = max(self.most, len(x))
        return torch.nn.functional.one_hot(x.median(-1).values.long(), 4).float()


def test_three_voices_that_change_places_in_a_circle_go_back():
    """A pair is judged as the pairs before have left it, else two of three end up exchanged."""
    right = torch.arange(1.0, 4.0)[:, None].expand(3, 6000)
    wrong = right.clone()
    wrong[:, 4000:] = right.roll(1, 0)[:, 4000:]
    segments = Segments.of(Labels(), wrong[None], 1.5, 0.25)
    found = wrong.gather(0, voice_order(segments, 6000)[0])
    assert float((found != right).float().mean()) < 0.05


def test_long_recordings_are_heard_in_parts():
    encoder = Labels()
    segments = Segments.of(encoder, torch.ones(2, 2, 60_000), 1.5, 0.25)
    assert segments.embedding.shape[:3] == segments.weight.shape
    assert segments.weight.shape[-1] > 10 * encoder.most
