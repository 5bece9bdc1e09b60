"""The Gaussian update against dense linear algebra, and guidance with rooms, gaps and clipping."""

from __future__ import annotations

import pytest
import torch

from diffsr.degradations import Mixing
from diffsr.degradations.base import Chain
from diffsr.degradations.clipping import Clipping
from diffsr.degradations.packet_loss import PacketLoss
from diffsr.degradations.room import Room
from diffsr.diffusion.analytic import WhiteGaussianPrior
from diffsr.errors import ConfigError
from diffsr.likelihoods import NMFNoise, WhiteNoise
from diffsr.samplers import (
    DPS,
    AnnealedSampler,
    Euler,
    Heun,
    NoisePerturbed,
    PosteriorTransition,
    Problem,
    Projection,
    Proximal,
    Renoise,
    RowNoise,
    Unguided,
)
from diffsr.samplers.initialise import FromObservation
from diffsr.samplers.innovation import Innovation, conjugate_gradients

T, SD = 256, 0.05


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def response(n_samples=24):
    decay = 0.5 * torch.exp(-torch.arange(n_samples) / 8.0) * draw(n_samples, seed=3)
    decay[0] = 1.0
    return decay[None]


def mask():
    received = torch.ones(1, T, dtype=torch.bool)
    received[:, 100:140] = False
    return received


def problem_of(degradation, level=0.02, rows=2, n_sources=1, y=None, likelihood=None):
    y = SD * draw(rows, 1, T) if y is None else y
    likelihood = likelihood or WhiteNoise(level, 32, 8)
    noise = RowNoise(0, [f"row {row}" for row in range(len(y))])
    return Problem.pose(y, WhiteGaussianPrior(SD), degradation, likelihood, noise, n_sources=n_sources)


def dense(apply, *shape):
    """The matrix of a linear map from rows of this shape, of which there are as many as rows are needed."""
    return apply(torch.eye(shape[0] * shape[1]).reshape(-1, *shape)).flatten(1).mT


def exact(degradation, residual, r2, v, n_sources):
    """R A' (V + A R A')^-1 residual for white R and V."""
    degradation.reset(torch.zeros(n_sources * T, residual.shape[1], T), n_sources)
    a = dense(degradation, n_sources, T)
    gain = r2 * a.mT @ torch.linalg.inv(v * torch.eye(len(a)) + r2 * a @ a.mT)
    return (residual.flatten(1) @ gain.mT).reshape(len(residual), n_sources, T)


@pytest.mark.parametrize(
    ("degradation", "n_sources", "n_microphones"),
    [
        (Mixing(), 1, 1),
        (Mixing(), 3, 1),
        (Room(response()), 1, 1),
        (Room(response()), 2, 1),
        (Chain([Mixing(), PacketLoss(mask())]), 2, 1),
        (Chain([Room(response()), PacketLoss(mask())]), 1, 1),
        (Room(torch.cat([response(), response().roll(3)])), 1, 2),
        (Room(draw(1, 2, 2, 24, seed=9)), 2, 2),
    ],
    ids=["mixing", "talkers", "room", "rooms", "gap", "room and gap", "two microphones", "two of each"],
)
def test_the_update_equals_the_dense_solution(degradation, n_sources, n_microphones):
    y = SD * draw(2, n_microphones, T)
    problem = problem_of(degradation, n_sources=n_sources, y=y)
    x0 = torch.zeros(2, n_sources, T)
    sigma = torch.full((2,), 0.03)
    r2 = float(0.03**2 * SD**2 / (0.03**2 + SD**2))
    residual = 0.1 * draw(2, n_microphones, T, seed=1)
    innovation = Innovation(problem, x0, problem.source_variance(x0, sigma), n_iterations=60)
    moved, weighed = innovation.move(residual), innovation.weigh(residual, sigma.square())
    by_weighing = problem.degradation.adjoint(weighed) * r2 / 0.03**2
    expected = exact(degradation, residual, r2, 0.02**2, n_sources)
    torch.testing.assert_close(moved, expected, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(by_weighing, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("degradation", "level", "error"),
    [(Chain([Mixing()]), 1e-3, 0.01), (Room(response()), 0.02, 0.01), (Room(response()), 1e-3, 0.1)],
    ids=["mixing", "room", "room, little noise"],
)
def test_eight_steps_are_enough_for_the_range_of_speech(degradation, level, error):
    # An uncertainty that spans 70 dB over frequency and time; without preconditioner the error is 0.3 to 0.5.
    problem = problem_of(degradation, level=level)
    stft = problem.likelihood.stft
    n_bins, n_frames = stft(torch.zeros(1, T)).shape[-2:]
    slope, swing = torch.linspace(0, 4, n_bins)[:, None], 1.5 * torch.sin(torch.arange(n_frames) / 5)
    r2 = (1e-2 * 10 ** (-slope - swing)).expand(2, 1, -1, -1)
    spread = r2 + stft.bin_variance(torch.tensor(level**2))
    residual = stft.inverse(spread.sqrt() * stft(draw(2, 1, T, seed=5)), T)
    few, many = (Innovation(problem, torch.zeros(2, 1, T), r2, n).move(residual) for n in (8, 200))
    assert float((few - many).norm() / many.norm()) < error


def test_draws_have_the_covariance_of_the_posterior():
    degradation = Chain([Mixing(), PacketLoss(mask())])
    problem = problem_of(degradation, rows=48)
    sigma = torch.full((48,), 0.03)
    r2 = float(0.03**2 * SD**2 / (0.03**2 + SD**2))
    x0 = torch.zeros(48, 1, T)
    power = Innovation(problem, x0, problem.source_variance(x0, sigma)).draw().square().mean((0, 1))
    known = mask()[0]
    assert float(power[known].mean()) == pytest.approx(r2 * 0.02**2 / (r2 + 0.02**2), rel=0.06)
    assert float(power[~known].mean()) == pytest.approx(r2, rel=0.1)


@pytest.mark.parametrize(
    ("guidance", "solver"),
    [
        (Proximal(16), Heun()),
        (Proximal(16), Renoise(sampled=True)),
        (DPS(n_iterations=16), Heun()),
    ],
)
def test_a_room_in_noise_is_undone_exactly(guidance, solver):
    rows = 6
    degradation = Room(response())
    x = SD * draw(1, 1, T, seed=5)
    degradation.reset(x, 1)
    y = degradation(x) + 0.02 * draw(1, 1, T, seed=6)
    expected = exact(degradation, y, SD**2, 0.02**2, 1)[0, 0]
    a = dense(degradation, 1, T)
    spread = torch.linalg.inv(torch.eye(T) / SD**2 + a.mT @ a / 0.02**2).diagonal().mean().sqrt()

    problem = problem_of(degradation, y=y.expand(rows, 1, T).contiguous())
    sampler = AnnealedSampler(guidance, solver, [], n_steps=40, churn=0.0)
    found = sampler.sample(problem, FromObservation()(problem, 0.5)).x[:, 0]
    slope = float((found.mean(0) * expected).sum() / expected.square().sum())
    assert slope == pytest.approx(1.0, abs=0.05)
    assert float(found.std(0).square().mean().sqrt()) == pytest.approx(float(spread), rel=0.06)


def test_projection_keeps_what_was_recorded_and_draws_the_rest_from_the_prior():
    degradation = Chain([Mixing(), PacketLoss(mask())])
    y = (SD * draw(1, 1, T) * mask()).expand(12, 1, T).contiguous()
    problem = problem_of(degradation, level=1e-4, y=y)
    sampler = AnnealedSampler(Projection(), Heun(), [], n_steps=40, churn=0.0)
    x = sampler.sample(problem, FromObservation()(problem, 0.5)).x
    known = mask()[0]
    torch.testing.assert_close(x[..., known], y[..., known], rtol=0, atol=1e-6)
    assert float(x[..., ~known].std()) == pytest.approx(SD, rel=0.1)


def test_projection_needs_a_projection():
    with pytest.raises(ConfigError, match="Room has no projection"):
        AnnealedSampler(Projection(), n_steps=2).sample(problem_of(Room(response())), draw(2, 1, T))


def test_clipped_samples_move_only_where_they_contradict_the_recording():
    y = (SD * draw(1, 1, T)).clamp(-SD, SD)
    problem = problem_of(Clipping(torch.tensor([SD])), level=1e-4, y=y)
    clipped = y.abs() >= SD
    x0 = torch.where(clipped, 1.7 * y, y)
    x0[..., clipped[0, 0].nonzero()[0]] = 0.0  # one sample contradicts it
    corrected = Proximal(20).correct(x0, x0, torch.tensor([0.05]), problem)
    # the other clipped ones lie beyond the threshold and stay, the one goes to the threshold
    expected = x0.clone()
    expected[..., clipped[0, 0].nonzero()[0]] = y[..., clipped[0, 0].nonzero()[0]]
    torch.testing.assert_close(corrected, expected, rtol=0, atol=2e-4)


def test_conjugate_gradients_solve_each_row_alone_and_profit_from_a_start():
    root = draw(3, 12, 12)
    matrix = root @ root.mT + torch.eye(12)
    b = draw(3, 12, seed=1)

    def apply(x, m=matrix):
        return (m @ x[..., None])[..., 0]

    expected = torch.linalg.solve(matrix, b)
    torch.testing.assert_close(conjugate_gradients(apply, b, 60), expected, rtol=1e-3, atol=1e-4)
    alone = conjugate_gradients(lambda x: apply(x, matrix[1:2]), b[1:2], 4)
    torch.testing.assert_close(conjugate_gradients(apply, b, 4)[1:2], alone, rtol=1e-4, atol=1e-5)

    def distance(x):
        return float((x - expected).norm())

    near = 100 * (expected + 0.1 * draw(3, 12, seed=2))  # of another scale, as at another noise level
    assert distance(conjugate_gradients(apply, b, 2, near)) < distance(conjugate_gradients(apply, b, 2))
    assert bool((conjugate_gradients(apply, torch.zeros_like(b), 5) == 0).all())


def test_a_row_with_a_room_does_not_depend_on_its_company():
    y = SD * draw(2, 1, T)
    sampler = AnnealedSampler(Proximal(), Renoise(), n_steps=5)

    def restore(rows):
        problem = problem_of(Room(response()), y=y[:rows])
        return sampler.sample(problem, y[:rows]).x[0]

    torch.testing.assert_close(restore(1), restore(2), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("degradation", [Mixing(), Room(response())], ids=["mixing", "room"])
@pytest.mark.parametrize("level", [0.0, 1e-9, 10.0])
def test_no_noise_little_noise_and_much_noise_stay_finite(degradation, level):
    pairs = [
        (DPS(), Heun()),
        (DPS("normalised"), Renoise()),
        (Proximal(), Renoise()),
        (NoisePerturbed(1.0), Euler()),
        (Unguided(), PosteriorTransition("tractable")),
    ]
    for guidance, solver in pairs:
        problem = problem_of(degradation, level=level)
        sampler = AnnealedSampler(guidance, solver, [], n_steps=8, sigma_min=1e-6)
        x = sampler.sample(problem, FromObservation()(problem, 0.5)).x
        assert bool(x.isfinite().all()), (guidance, solver)
        assert float(x.abs().max()) < 100 * SD, (guidance, solver)


def test_a_silent_recording_stays_finite_with_the_noise_model_of_enhancement():
    problem = problem_of(Mixing(), y=torch.zeros(1, 1, 2048), likelihood=NMFNoise())
    for guidance in (DPS(), DPS("normalised"), Proximal()):
        x = AnnealedSampler(guidance, n_steps=8).sample(problem, FromObservation()(problem, 0.5)).x
        assert bool(x.isfinite().all())
