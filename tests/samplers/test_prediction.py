"""Late reverberation as prediction and as decaying power, and the room that is reported with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from diffsr.degradations import BlindRoom, Chain, Gain, LatePrediction, Mixing
from diffsr.degradations.decay_fit import shared_times_s
from diffsr.diffusion.analytic import WhiteGaussianPrior
from diffsr.errors import ConfigError
from diffsr.evaluation.metrics import si_sdr_db
from diffsr.io.audio import read_audio
from diffsr.likelihoods import DriftingNoise, LateReverberation, NMFNoise, WhiteNoise
from diffsr.recipe_file import load_recipe
from diffsr.recipes import make_recipe
from diffsr.samplers import (
    AnnealedSampler,
    FromNoise,
    FromObservation,
    FromWiener,
    FromWPE,
    MeasureDecay,
    Problem,
    Proximal,
    RowNoise,
    UpdateLateReverberation,
    UpdatePrediction,
    UpdateRoom,
)
from diffsr.samplers.innovation import Innovation
from diffsr.samplers.room_estimation import AtLevel
from diffsr.signal.filtering import fft_convolve
from diffsr.signal.levels import active_rms

ROOT = Path(__file__).parents[2]
SPEECH = ROOT / "diffsr" / "assets" / "starter" / "audio" / "de-f2-1.ogg"
RATE_HZ = 16000
PRIOR = WhiteGaussianPrior(0.05)


@pytest.fixture(scope="module")
def dry() -> torch.Tensor:
    wave, _ = read_audio(SPEECH, 0.0, 2.0)
    return (0.05 * wave[:1] / wave.std())[None]


def in_room(dry: torch.Tensor, rt60_s: float, seed: int = 1) -> torch.Tensor:
    time_s = torch.arange(12800) / RATE_HZ
    tail = 0.05 * torch.randn(12800, generator=torch.Generator().manual_seed(seed))
    tail = tail * 10 ** (-3 * time_s / rt60_s)
    tail[0] = 1.0
    return fft_convolve(dry, tail)


def posed(y, degradation=None, likelihood=None, n_restarts=1):
    names = [str(k) for k in range(len(y))]
    likelihood = likelihood or WhiteNoise(1e-3)
    degradation = degradation or Mixing()
    return Problem.pose(
        y, PRIOR, degradation, likelihood, RowNoise(0, names, n_restarts), n_restarts=n_restarts
    )


def test_prediction_takes_away_what_is_late_and_keeps_the_talker(dry):
    y = in_room(dry, 0.5)
    room = LatePrediction(taps=30)
    room.reset(y, 1)
    assert torch.equal(room(dry), dry)
    room.fit(dry, torch.tensor(1e-4))
    assert si_sdr_db((y - room.late)[0, 0], dry[0, 0]) > si_sdr_db(y[0, 0], dry[0, 0]) + 3.0
    torch.testing.assert_close(room(2 * dry) - room(dry), dry)


def test_the_response_explains_what_the_prediction_leaves_of_one_talker(dry):
    y = in_room(dry, 0.5)
    left = {}
    for response_taps in (0, 30):
        room = LatePrediction(taps=10, response_taps=response_taps)
        room.reset(y, 1)
        for _ in range(2):
            room.fit(dry, torch.tensor(1e-3))
        left[response_taps] = float((y - room(dry)).norm())
    assert left[30] < 0.7 * left[0]


def test_two_talkers_in_different_places_have_responses_of_their_own(dry):
    second = dry.flip(-1)
    y = in_room(dry, 0.5) + in_room(second, 0.5, seed=2)
    left = {}
    for response_taps in (0, 30):
        room = LatePrediction(taps=10, response_taps=response_taps)
        room.reset(y, 2)
        for _ in range(2):
            room.fit(torch.cat([dry, second], 1), torch.tensor(1e-3))
        left[response_taps] = float((y - room(torch.cat([dry, second], 1))).norm())
    assert left[30] < 0.6 * left[0]


def test_restarts_of_a_recording_share_the_filters_of_their_mean(dry):
    y = torch.cat([in_room(dry, 0.5), in_room(dry, 0.3, seed=2).flip(-1)])  # two recordings
    shift = 0.2 * torch.cat([dry.flip(-1), -dry.flip(-1)])  # their restarts differ, the mean does not
    sigma = torch.full((4,), 0.2)

    def late_of(x0, n_restarts):
        problem = posed(y, LatePrediction(taps=20, response_taps=20), n_restarts=n_restarts)
        for _ in range(2):  # the second fit begins with the filters of the first
            UpdatePrediction(every=1).update(x0, sigma[: len(x0)], problem)
        return problem.degradation.late

    means = torch.cat([dry, dry.flip(-1)])
    shared = late_of(means.repeat_interleave(2, 0) + shift.repeat(2, 1, 1), n_restarts=2)
    assert torch.equal(shared[::2], shared[1::2])
    assert float(shared[::2].std()) > 0
    # but for the uncertainty, which depends on each estimate, in a prior that is not Gaussian
    torch.testing.assert_close(shared[::2], late_of(means, n_restarts=1), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("rt60_s", [0.2, 0.5, 0.7])
def test_decays_are_measured_on_the_dry_speech_whatever_its_phases(dry, rt60_s):
    room = LatePrediction()
    room.reset(in_room(dry, rt60_s), 1)
    for _ in range(2):
        room.measure(-dry, 40)
    described = room.describe()
    assert float(described["rt60_s"].median()) == pytest.approx(rt60_s, rel=0.25)
    assert not described["rt60_at_limit"].any()
    assert float(described["room_level_db"].median()) == pytest.approx(20 * torch.tensor(5.0).log10(), abs=4)


@pytest.mark.parametrize("rt60_s", [0.3, 0.6])
def test_bands_that_noise_hides_take_over_what_the_others_say(dry, rt60_s):
    """Noise that falls with frequency, and is taken to be 2 dB quieter than it is."""
    clean = in_room(dry, rt60_s)
    n_samples = clean.shape[-1]
    white = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    noise = torch.fft.irfft(
        torch.fft.rfft(white) * torch.linspace(2, 0.05, n_samples // 2 + 1) ** 2, n=n_samples
    )
    noise *= 0.01 / noise.std()
    room = LatePrediction()
    room.reset(clean + noise, 1)
    stft = room.decays.stft
    power = 0.6 * stft(noise[0]).abs().square().mean(-1, keepdim=True) / stft.window_energy
    for _ in range(2):
        room.measure(dry, 40, power)
    found = room.describe()["rt60_s"]
    assert float(found.min()) > 0.75 * rt60_s
    assert float(found.max()) < 1.3 * rt60_s
    audible = room.decays.audible
    assert float(audible.min()) < 0.7 < 0.9 < float(audible.max())


def test_times_are_shared_where_there_is_noise_alone():
    times_s = torch.tensor([[0.4, 0.5, 2.5], [0.4, 0.5, 2.5]])
    audible = torch.tensor([[1.0, 1.0, 1.0], [0.9, 0.9, 0.0]])
    without, within = shared_times_s(times_s, audible)
    torch.testing.assert_close(without, times_s[0])
    assert 0.4 < float(within[0]) < float(within[1]) < 0.5
    assert float(within[2]) == pytest.approx((0.4 * 0.5) ** 0.5, rel=0.02)  # nothing of its own
    nowhere = shared_times_s(times_s, torch.zeros(2, 3))
    assert bool(nowhere.isfinite().all())


def test_a_room_longer_than_the_model_is_flagged(dry):
    room = LatePrediction()
    room.room = BlindRoom(longest_rt60_s=0.4)
    room.reset(in_room(dry, 0.9), 1)
    room.measure(dry, 60)
    assert room.describe()["rt60_at_limit"].float().mean() > 0.8


def test_late_power_explains_what_the_talker_does_not(dry):
    y = in_room(dry, 0.5)
    model = LateReverberation(WhiteNoise(1e-4), initial=1e-3)
    model.reset(y, torch.zeros(1, dtype=torch.long))
    before = float(model.log_prob(y, dry))
    found = [before]
    for _ in range(6):
        model.fit(dry, y - dry, torch.zeros(1, 1, 1))
        found.append(float(model.log_prob(y, dry)))
    assert all(
        later >= earlier - 1e-3 * abs(before) for earlier, later in zip(found, found[1:], strict=False)
    )
    assert found[-1] > found[0]


def test_a_row_does_not_depend_on_its_batch_and_a_second_run_is_the_same(dry):
    y = torch.cat([in_room(dry, 0.3), in_room(dry, 0.8, 2)])[..., :16000]
    recipe = make_recipe("dereverb", "fast")
    sampler = recipe.sampler
    sampler.sigmas, sampler.churn = sampler.sigmas[::4], 0.2
    both = posed(y, recipe.degradation, recipe.likelihood)
    together = sampler.sample(both, sampler.start(both)).x
    times = recipe.degradation.describe()["rt60_s"]
    alone = posed(y[:1], recipe.degradation, recipe.likelihood)
    torch.testing.assert_close(sampler.sample(alone, sampler.start(alone)).x, together[:1], atol=1e-5, rtol=0)
    torch.testing.assert_close(recipe.degradation.describe()["rt60_s"], times[:1], rtol=0.01, atol=0)


def test_first_states(dry):
    y = in_room(dry, 0.5)
    problem = posed(torch.cat([y, 2 * y]), n_restarts=2)
    start = {kind: kind()(problem, 0.0)[:, 0] for kind in (FromNoise, FromObservation, FromWPE)}
    assert (start[FromNoise] == 0).all()
    assert torch.equal(start[FromObservation], problem.y[:, 0])
    wpe = start[FromWPE]
    assert torch.equal(wpe[0], wpe[1])
    torch.testing.assert_close(wpe[2], 2 * wpe[0])
    assert si_sdr_db(wpe[0], dry[0, 0]) > si_sdr_db(y[0, 0], dry[0, 0])
    assert float(FromNoise()(problem, 0.5).std()) == pytest.approx(0.5, rel=0.05)
    level = active_rms(FromWPE().reference(y[0], RATE_HZ), RATE_HZ)
    assert float(level) < float(active_rms(y[0], RATE_HZ))


def test_the_first_state_of_wiener_has_the_speech_and_no_hum(dry):
    time_s = torch.arange(dry.shape[-1]) / RATE_HZ
    hum = 0.3 * torch.sin(2 * torch.pi * 50 * time_s)
    problem = posed(dry + hum, likelihood=DriftingNoise())
    start = FromWiener()(problem, 0.0)[0, 0]
    kept = float(start @ hum / hum.square().sum())
    assert abs(kept) < 0.05
    assert si_sdr_db(start, dry[0, 0]) > 5
    quiet = posed(dry, likelihood=WhiteNoise(1e-6))
    torch.testing.assert_close(FromWiener()(quiet, 0.0), quiet.y, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("whiten", "perturbation"), [(False, 0.0), (False, 1.0), (True, 0.0)])
def test_the_room_update_lowers_its_loss_within_its_levels_also_in_a_chain(dry, whiten, perturbation):
    y = in_room(dry, 0.4)[..., :16000]
    room = BlindRoom(longest_rt60_s=0.6)
    problem = posed(y, Chain([Gain(), room]))
    before = room.response().clone()
    update = UpdateRoom(sigma_start=0.5, sigma_freeze=0.1, whiten=whiten, perturbation=perturbation)
    for sigma in (1.0, 0.05):
        update.update(dry[..., :16000], torch.tensor([sigma]), problem)
        assert torch.equal(room.response(), before)
    error = problem.residual(dry[..., :16000]).norm()
    for _ in range(3):
        update.update(dry[..., :16000], torch.tensor([0.2]), problem)
    assert problem.residual(dry[..., :16000]).norm() < error


def test_the_level_of_an_estimate_is_that_of_the_prior(dry):
    problem = posed(3 * dry)
    x0 = AtLevel(Proximal()).correct(3 * dry, 3 * dry, torch.tensor([0.01]), problem)
    assert float(active_rms(x0[0], RATE_HZ)) == pytest.approx(0.05, rel=1e-4)
    silent = posed(torch.zeros(1, 1, 4000))
    zeros = torch.zeros(1, 1, 4000)
    assert (AtLevel(Proximal()).correct(zeros, zeros, torch.tensor([0.01]), silent) == 0).all()


def test_parts_that_do_not_belong_together_are_refused(dry):
    sigma = torch.tensor([0.02])
    for estimator, match in (
        (UpdateRoom(), "holds no BlindRoom"),
        (UpdatePrediction(), "nothing to predict in Mixing"),
        (UpdateLateReverberation(), "NMFNoise has no late reverberation"),
        (MeasureDecay(sigma_start=0.1), "nothing to predict in Mixing"),
    ):
        with pytest.raises(ConfigError, match=match):
            estimator.update(dry, sigma, posed(dry, likelihood=NMFNoise()))
    with pytest.raises(ConfigError, match="one microphone, found 2"):
        LatePrediction().reset(torch.zeros(1, 2, 4000), 1)


@pytest.mark.parametrize("task", ["enhance", "dereverb", "denoise_dereverb", "separate", "joint"])
def test_the_experiment_is_the_recipe(task):
    written = load_recipe(ROOT / "experiments" / task / "default.yaml")
    built = make_recipe(task, "default")
    assert torch.equal(written.sampler.sigmas, built.sampler.sigmas)
    assert written.sampler.churn == built.sampler.churn

    def content(part):
        kept = {
            k: v for k, v in vars(part).items() if isinstance(v, (int, float, str, bool)) and k != "training"
        }
        return type(part), kept

    pairs = [
        (written.likelihood, built.likelihood),
        (written.degradation, built.degradation),
        (written.sampler.guidance, built.sampler.guidance),
        (written.sampler.solver, built.sampler.solver),
        (written.sampler.initialiser, built.sampler.initialiser),
        *zip(written.sampler.estimators, built.sampler.estimators, strict=True),
    ]
    for one, other in pairs:
        assert content(one) == content(other)
    assert isinstance(built.sampler, AnnealedSampler)


def test_a_draw_of_the_posterior_does_not_hear_the_prediction_twice(dry):
    problem = posed(in_room(dry, 0.5), LatePrediction(taps=10), WhiteNoise(0.02))
    problem.degradation.fit(dry, torch.tensor(1e-4))
    variance = problem.source_variance(dry, torch.tensor([0.05]))
    draw = Innovation(problem, dry, variance).draw()
    assert float(draw.std()) < 0.02 < float(problem.degradation.late.std()) * 2


def test_what_the_room_adds_is_no_part_of_the_derivative_in_a_chain(dry):
    plain, chain = LatePrediction(taps=10), Chain([Gain(), LatePrediction(taps=10)])
    moves = []
    for degradation, room in ((plain, plain), (chain, chain.parts[1])):
        problem = posed(in_room(dry, 0.5), degradation, WhiteNoise(0.02))
        room.fit(dry, torch.tensor(1e-4))
        assert float(room.late.abs().max()) > 0
        variance = problem.source_variance(dry, torch.tensor([0.05]))
        moves.append(Innovation(problem, dry, variance, n_iterations=30).move(problem.residual(dry)))
    assert float((moves[1] - moves[0]).norm() / moves[0].norm()) < 1e-2
