"""Details that one wrong sign, factor or frame would change, each against its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from diffsr.degradations import BlindRoom, Chain, Clipping, Gain, LatePrediction, Mixing
from diffsr.diffusion.analytic import WhiteGaussianPrior
from diffsr.likelihoods import LateReverberation, WhiteNoise
from diffsr.samplers import (
    AnnealedSampler,
    Consensus,
    EachTalker,
    EarlyReflections,
    ExchangeTracks,
    FromObservation,
    KnownVoices,
    LearnVoices,
    LittleNoise,
    MeasureDecay,
    NoisePerturbed,
    PredictorCorrector,
    Problem,
    Renoise,
    RowNoise,
    TellVoices,
    TracksInOrder,
    UpdatePrediction,
    UpdateRoom,
    joining,
    tracks,
)
from diffsr.samplers.early_reflections import prepared, without
from diffsr.samplers.initialise import speech_level
from diffsr.samplers.joining import _orders, _votes
from diffsr.samplers.ranking import confidence, mean_agreement_db
from diffsr.samplers.solvers import correlated
from diffsr.samplers.tracks import tracked_order

RATE_HZ = 16000
SD = 0.05
PRIOR = WhiteGaussianPrior(0.05)


# Re-noising ------------------------------------------------------------------------------------------


def test_kept_noise_is_that_around_the_mean_not_around_the_draw():
    y = torch.zeros(1, 1, 100_000)
    problem = Problem.pose(y, WhiteGaussianPrior(SD), Mixing(), WhiteNoise(SD), RowNoise(0, ["a"]))
    old = torch.randn(1, 1, 100_000, generator=torch.Generator().manual_seed(1))
    x0, at, to = torch.zeros_like(old), torch.tensor([SD]), torch.tensor([0.5 * SD])
    z = Renoise(sampled=True, kept=1.0).step(x0 + SD * old, x0, at, to, lambda z, sigma: z, problem)
    drawn = z - 0.5 * SD * old / old.std()
    assert float(drawn.std()) > 0.3 * SD
    assert float((drawn * old).mean() / drawn.std()) == pytest.approx(0.0, abs=0.02)


def test_noise_is_kept_row_by_row():
    old, fresh = (torch.randn(2, 1, 50_000, generator=torch.Generator().manual_seed(k)) for k in (0, 1))
    made = correlated(fresh, torch.tensor([1.0, 0.01])[:, None, None] * old, 0.9)
    torch.testing.assert_close(made.std((1, 2)), torch.ones(2), rtol=0.02, atol=0)


# Noise-perturbed guidance ----------------------------------------------------------------------------


def test_noise_perturbed_linearises_at_the_state():
    y = torch.full((1, 1, 4096), 0.5)
    problem = Problem.pose(y, PRIOR, Clipping(0.5), WhiteNoise(0.01), RowNoise(0, ["a"]))
    x0, sigma = torch.full_like(y, 0.3), torch.tensor([0.1])
    beyond = NoisePerturbed().correct(torch.full_like(y, 0.9), x0, sigma, problem)
    torch.testing.assert_close(beyond, x0)  # a state beyond the threshold says nothing
    below = NoisePerturbed().correct(x0, torch.full_like(y, 0.9), sigma, problem)
    assert float((below - 0.9).mean()) > 0.1


# Ranking ---------------------------------------------------------------------------------------------


def voices(n: int, seed: int = 0, n_samples: int = 4000) -> torch.Tensor:
    return torch.randn(n, n_samples, generator=torch.Generator().manual_seed(seed))


def test_three_talkers_in_turned_order_agree():
    true = voices(3)
    assert mean_agreement_db(torch.stack([true, true.roll(1, 0)])).tolist() == [60.0, 60.0]


def test_confidence_counts_each_pair_of_talkers_alike():
    true = voices(3, n_samples=20_000)
    turned = true.clone()
    turned[:, :10_000] = turned[:, :10_000].roll(1, 0)
    # Half of the energy of a talker is its own, half that of one of the two others: (1/2)^2 - (1/2)^2 / 2.
    assert confidence(torch.stack([true, turned]), 0) == pytest.approx(0.125, abs=0.02)


# Tracks ----------------------------------------------------------------------------------------------


def test_the_cost_of_a_change_is_the_one_that_was_asked_for(monkeypatch):
    seen = []
    monkeypatch.setattr(
        tracks, "tracked_order", lambda tracker, x, cost: seen.append(cost) or torch.zeros_like(x).long()
    )
    x = 0.05 * torch.randn(1, 2, 4000)
    noise = RowNoise(0, ["0"], 1)
    problem = Problem.pose(x.sum(1, keepdim=True), PRIOR, Mixing(), WhiteNoise(1e-5), noise, 1, 2)
    ExchangeTracks(cost=3.0).order(x, torch.tensor([0.0099]), 56, problem)
    TracksInOrder(cost=4.0)(x, torch.zeros(1), RATE_HZ)
    assert seen == [3.0, 4.0]


@pytest.mark.parametrize("order", [(3, 1, 2), (2, 3, 1), (1, 3, 2), (3, 2, 1)])
def test_pairs_are_compared_as_they_are_by_then(monkeypatch, order):
    x = torch.tensor(order).float()[None, :, None].expand(1, 3, 7)
    monkeypatch.setattr(tracks, "changed_places", lambda tracker, pair, cost: pair[:, 0] < pair[:, 1])
    found = x.gather(1, tracked_order(torch.nn.Identity(), x, 0.0))
    assert found[0, :, 0].tolist() == [1.0, 2.0, 3.0]


# The vote --------------------------------------------------------------------------------------------


N_SAMPLES = 4 * 8000


def long_voices(n, seed=0):
    return torch.randn(n, N_SAMPLES, generator=torch.Generator().manual_seed(seed))


def error_db(found, true):
    from diffsr.evaluation.permutation import best_assignment

    ordered = found[list(best_assignment(found, true))]
    return float(10 * ((ordered - true).square().sum() / true.square().sum()).log10())


def test_a_restart_that_tells_nobody_apart_has_no_say():
    true = long_voices(2)
    even = true.mean(0, keepdim=True).expand(2, -1)
    joined = Consensus()(torch.stack([true, even, even]), torch.zeros(3), 8000)
    assert error_db(joined, true) < -40.0


def test_the_edges_of_a_piece_which_its_neighbours_hold_have_no_vote():
    pieces = torch.zeros(1, 1, 2, 64)
    pieces[..., 0, 0] = 1.0
    assert not _votes(pieces, torch.ones(1)).any()
    pieces[..., 0, 32] = 1.0
    assert _votes(pieces, torch.ones(1)).any()


def test_a_track_counts_1_e_as_much_after_its_memory(monkeypatch):
    seen = []
    monkeypatch.setattr(joining, "_orders", lambda votes, decay: seen.append(decay) or _orders(votes, decay))
    Consensus(piece_s=0.2, memory_s=0.5)(long_voices(2)[None], torch.zeros(1), 8000)
    assert seen[0] ** 5 == pytest.approx(math.exp(-1))  # pieces are 0.1 s apart


def votes_of(*restarts) -> np.ndarray:
    """How sure each restart is in each piece that its tracks are the talkers, or below 0 the others."""
    return np.asarray(restarts, float)[..., None, None] * np.array([[1.0, -1.0], [-1.0, 1.0]])


def test_what_comes_after_a_piece_counts_as_what_was_before():
    votes = votes_of([1.5, 0.3, 2.0, 2.0], [1.5, -0.5, 0.0, 0.0])
    assert _orders(votes, 0.9)[:, 0].tolist() == [0, 0, 0, 0]


# M-steps of rooms ------------------------------------------------------------------------------------


class NotedRoom(BlindRoom):
    """Remembers how it was to be fitted."""

    def fit(self, *given):
        self.given = given
        return torch.zeros(0)


class NotedPrediction(LatePrediction):
    def fit(self, *given):
        self.given = given

    def measure(self, *given):
        self.given = given


def posed(y, degradation=None, likelihood=None, n_restarts=1):
    names = [str(k) for k in range(len(y))]
    return Problem.pose(
        y,
        PRIOR,
        degradation or Mixing(),
        likelihood or WhiteNoise(1e-3),
        RowNoise(0, names, n_restarts),
        n_restarts=n_restarts,
    )


def quiet():
    return 0.05 * torch.randn(1, 1, 4000, generator=torch.Generator().manual_seed(0))


def test_the_room_has_its_updates_above_and_below_the_late_level():
    problem = posed(quiet(), NotedRoom())
    update = UpdateRoom(sigma_late=0.1, n_updates=7, n_updates_late=3)
    for sigma, expected in ((0.2, 7), (0.05, 3)):
        update.update(quiet(), torch.tensor([sigma]), problem)
        assert problem.degradation.given[3] == expected


def test_the_weight_of_the_room_is_the_inverse_variance_of_noise_and_estimate():
    problem, sigma = posed(quiet(), NotedRoom(), WhiteNoise(0.02)), torch.tensor([0.05])
    UpdateRoom(whiten=True).update(quiet(), sigma, problem)
    variance = problem.likelihood.stft.bin_variance(torch.tensor([0.02**2 + 0.05**2 / 2]))
    torch.testing.assert_close(problem.degradation.given[2], 1 / variance)


@pytest.mark.parametrize(("sigma", "size"), [(1.0, 0.02), (2e-3, 4e-3), (1e-5, 1e-3)])
def test_the_perturbation_follows_the_level_within_its_bounds(sigma, size):
    problem = posed(quiet(), NotedRoom())
    UpdateRoom(perturbation=2.0).update(quiet(), torch.tensor([sigma]), problem)
    made = problem.degradation.given[-1](torch.zeros(1, 1, 20_000))
    assert float(made.std()) == pytest.approx(size, rel=0.03)


def test_the_room_of_a_chain_hears_what_the_parts_before_it_make():
    room = NotedRoom()
    problem = posed(quiet(), Chain([Gain(torch.tensor([[6.0]])), room]))
    UpdateRoom().update(quiet(), torch.tensor([0.2]), problem)
    torch.testing.assert_close(room.given[0], 10 ** (6 / 20) * quiet())


def test_the_fit_of_a_prediction_knows_how_vague_the_estimate_is():
    problem, sigma = posed(quiet(), NotedPrediction(), WhiteNoise(0.02)), torch.tensor([0.05])
    UpdatePrediction().update(quiet(), sigma, problem)
    _, variance, uncertainty, _ = problem.degradation.given
    unit = problem.likelihood.stft.window_energy
    torch.testing.assert_close(uncertainty, torch.full_like(uncertainty, unit * 0.05**2 / 2))
    torch.testing.assert_close(variance, torch.full_like(variance, unit * (0.02**2 + 0.05**2 / 2)))


def test_the_prediction_is_fitted_every_third_time_between_its_levels():
    problem, fitted = posed(quiet(), NotedPrediction()), []
    problem.degradation.fit = lambda *given: fitted.append(sigma)
    for sigma in (20.0, 5.0, 1.0, 0.5, 0.1, 0.05, 0.02, 0.009, 0.008):
        UpdatePrediction(every=3).update(quiet(), torch.tensor([sigma]), problem)
    assert fitted == [5.0, 0.1]


def test_the_decay_is_measured_beside_the_noise_alone_in_units_of_a_sample():
    problem = posed(quiet(), NotedPrediction(), LateReverberation(WhiteNoise(0.02)))
    MeasureDecay(sigma_start=0.1).update(quiet(), torch.tensor([0.05]), problem)
    power = problem.degradation.given[-1]
    torch.testing.assert_close(power, torch.full_like(power, 0.02**2))


# Little noise ----------------------------------------------------------------------------------------


def test_noise_is_held_against_the_active_speech_alone():
    rng = torch.Generator().manual_seed(0)
    speech, noise = 0.05 * torch.randn(2, 32_000, generator=rng)
    little = LittleNoise(WhiteNoise(1e-3), [], snr_db=14.0)
    paused = torch.cat([speech, 0 * speech])
    hiss = 10 ** (-15 / 20) * torch.cat([noise, noise.flip(0)])
    assert bool(little.is_found(paused + hiss, paused, RATE_HZ))  # 12 dB with the pause
    loud = LittleNoise(WhiteNoise(1e-3), [], snr_db=0.0)
    assert not bool(loud.is_found(speech + 1.2 * noise, speech, RATE_HZ))  # 2 dB of the recording


# Early reflections -----------------------------------------------------------------------------------


def test_level_and_reflections_are_those_of_what_the_initialiser_hears():
    rng = torch.Generator().manual_seed(0)
    dry = 0.05 * torch.randn(1, 4 * RATE_HZ, generator=rng)
    heard = dry.clone()
    heard[:, 96:] += 0.6 * dry[:, :-96]

    class Hears(FromObservation):
        def reference(self, y, rate_hz):
            return heard

    early = EarlyReflections()
    wave, level, found = prepared(dry, RATE_HZ, Hears(), early)
    assert int(found[0].argmax()) == 96
    torch.testing.assert_close(wave, without(dry, found))
    torch.testing.assert_close(level, speech_level(without(heard, found), RATE_HZ))
    assert float(level) < 0.95 * float(speech_level(heard, RATE_HZ))


# Each talker -----------------------------------------------------------------------------------------


def test_tracks_of_restarts_have_samples_of_their_own():
    each = EachTalker(AnnealedSampler(n_steps=2), WhiteNoise(1e-3), n_samples=3, n_restart_samples=2)
    assert (each.of_restarts().n_samples, each.of_restarts().n_restart_samples) == (2, 0)


# Telling ---------------------------------------------------------------------------------------------


def test_known_voices_are_told_as_strongly_as_those_that_would_be_found():
    like = TellVoices(weight=3.0, sigma_low=0.7)
    known = KnownVoices.of(torch.ones(2, 4), like)
    assert (known.weight, known.sigma_low) == (3.0, 0.7)


def test_a_lost_track_has_a_voice_that_is_finite():
    tracks = torch.randn(1, 2, 16_000)
    tracks[0, 1, 100] = torch.nan
    assert TellVoices().voices(tracks).isfinite().all()


def test_the_search_for_the_orders_begins_where_most_is_said():
    votes = votes_of([3.0, -1.0, 2.0, -2.0], [1.0, 2.0, 3.0, 2.0])
    assert _orders(votes, 0.8)[:, 0].tolist() == [
        0,
        0,
        0,
        0,
    ]  # from the beginning on: [0, 1, 0, 1], a worse one


def test_what_was_learnt_holds_above_the_level_that_was_given():
    from diffsr.diffusion import Prior, WindowedPrior
    from diffsr.networks import TFTransformer

    prior = WindowedPrior(Prior(TFTransformer(width=16, depth=1, heads=2), window_s=0.5), 0.5, 0.1)
    tracks = torch.randn(1, 2, 8000, generator=torch.Generator().manual_seed(5))
    assert LearnVoices(sigma_low=0.3, n_steps=1, n_crops=1).told(prior, tracks, 2).sigma_low == 0.3


# DPS -------------------------------------------------------------------------------------------------


def test_the_normalised_step_has_its_length_over_all_talkers_and_follows_the_gradient():
    from diffsr.diffusion.analytic import PriorOfEach
    from diffsr.samplers import DPS

    y = SD * torch.randn(4, 1, 4096, generator=torch.Generator().manual_seed(0))
    sds, sigma = (1.5 * SD, 0.5 * SD), torch.full((4,), 0.1)
    prior = PriorOfEach([WhiteGaussianPrior(sd) for sd in sds])
    problem = Problem.pose(
        y, prior, Mixing(), WhiteNoise(1e-5, 64, 16), RowNoise(0, list("abcd")), n_sources=2
    )
    z = (SD * torch.randn(4, 2, 4096, generator=torch.Generator().manual_seed(1))).requires_grad_(True)
    x0 = prior.denoise(z, sigma[:, None].expand(-1, 2))
    step = (DPS("normalised", zeta=0.5, floor=0.0).correct(z, x0, sigma, problem) - x0).detach()
    torch.testing.assert_close(step.square().mean((1, 2)).sqrt(), torch.full((4,), 0.05))
    gains = torch.tensor([sd**2 / (sd**2 + 0.1**2) for sd in sds])
    rms = step.square().mean(-1).sqrt()
    torch.testing.assert_close(rms[:, 0] / rms[:, 1], (gains[0] / gains[1]).expand(4), rtol=1e-3, atol=0)


# Corrections -----------------------------------------------------------------------------------------


def test_the_size_of_a_correction_is_one_of_each_row():
    noise, drift = (torch.randn(2, 1, 4000, generator=torch.Generator().manual_seed(k)) for k in (0, 1))
    drift = torch.tensor([1.0, 4.0])[:, None, None] * drift
    sigma = torch.tensor([0.5, 0.5])
    together = PredictorCorrector(snr=0.3)._size(drift, noise, sigma)
    alone = torch.cat([PredictorCorrector(snr=0.3)._size(drift[[k]], noise[[k]], sigma[[k]]) for k in (0, 1)])
    torch.testing.assert_close(together, alone)
    torch.testing.assert_close(together[1, 0, 0], together[0, 0, 0] / 16, rtol=0.1, atol=0)
