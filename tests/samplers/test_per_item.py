"""A batch gives what each item alone gives, and an item's random numbers are its own."""

from __future__ import annotations

import pytest
import torch

from diffsr.degradations import Mixing
from diffsr.diffusion import Prior
from diffsr.likelihoods import NMFNoise
from diffsr.networks import TFTransformer
from diffsr.samplers import (
    DPS,
    AnnealedSampler,
    Heun,
    PosteriorTransition,
    PredictorCorrector,
    Problem,
    Renoise,
    RowNoise,
    Unguided,
)
from diffsr.samplers.initialise import FromObservation
from diffsr.samplers.unconditional import draw_speech


def tiny_prior() -> Prior:
    torch.manual_seed(0)
    prior = Prior(TFTransformer(width=16, depth=1, heads=2), window_s=0.5)
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return prior.eval()


def restore(y, ids, n_restarts=1, guidance=None, solver=None):
    noise = RowNoise(7, ids, n_restarts)
    problem = Problem.pose(y, tiny_prior(), Mixing(), NMFNoise(), noise, n_restarts)
    sampler = AnnealedSampler(guidance, solver, n_steps=6)
    return sampler.sample(problem, FromObservation()(problem, 0.5)).x


def test_a_batch_equals_single_runs_in_any_order():
    y = 0.05 * torch.randn(3, 1, 8000, generator=torch.Generator().manual_seed(0))
    together = restore(y, ["a", "b", "c"])
    for index, name in enumerate("abc"):
        alone = restore(y[index : index + 1], [name])
        torch.testing.assert_close(together[index : index + 1], alone, rtol=1e-3, atol=1e-5)
    shuffled = restore(y[[2, 0, 1]], ["c", "a", "b"])
    torch.testing.assert_close(shuffled, together[[2, 0, 1]], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("guidance", "solver"),
    [
        (DPS("likelihood"), Heun()),
        (DPS("normalised"), Renoise()),
        (None, Renoise(kept=-0.9)),
        (None, PredictorCorrector()),
        (Unguided(), PosteriorTransition()),
    ],
)
def test_every_norm_and_step_is_that_of_a_row(guidance, solver):
    # Loud and quiet together: a norm over the batch would give the quiet one the steps of the loud one.
    y = 0.05 * torch.randn(2, 1, 8000, generator=torch.Generator().manual_seed(0))
    y[1] *= 0.1
    together = restore(y, ["a", "b"], guidance=guidance, solver=solver)
    alone = restore(y[1:], ["b"], guidance=guidance, solver=solver)
    torch.testing.assert_close(together[1:], alone, rtol=2e-3, atol=2e-5)


def test_restarts_of_an_item_differ_and_do_not_depend_on_company():
    y = 0.05 * torch.randn(2, 1, 8000, generator=torch.Generator().manual_seed(0))
    rows = restore(y, ["a", "b"], n_restarts=2)
    assert rows.shape == (4, 1, 8000)
    assert not torch.allclose(rows[0], rows[1], atol=1e-3)
    torch.testing.assert_close(rows[2:], restore(y[1:], ["b"], n_restarts=2), rtol=1e-3, atol=1e-5)


def test_random_numbers_depend_on_seed_item_and_restart_only():
    reference = torch.empty(2, 1, 10)
    a = RowNoise(0, ["x", "y"]).normal_like(reference)
    b = RowNoise(0, ["y", "x"]).normal_like(reference)
    assert torch.equal(a, b.flip(0))
    assert not torch.equal(a, RowNoise(1, ["x", "y"]).normal_like(reference))


def test_antithetic_restarts_have_opposite_numbers_in_pairs():
    reference = torch.empty(6, 1, 10)
    plain = RowNoise(0, ["x", "y"], 3).normal_like(reference)
    paired = RowNoise(0, ["x", "y"], 3, antithetic=True).normal_like(reference)
    assert torch.equal(paired[[0, 2, 3, 5]], plain[[0, 2, 3, 5]])  # the first of each pair, and the odd one
    assert torch.equal(paired[[1, 4]], -plain[[0, 3]])
    later = RowNoise(0, ["x"], 2, first=1, antithetic=True).normal_like(reference[:2])
    assert torch.equal(later, paired[[1, 2]])


def test_unconditional_draws_are_repeatable_and_of_the_length_asked_for():
    draws = draw_speech(tiny_prior(), n_items=2, duration_s=0.25, n_steps=4)
    assert draws.shape == (2, 4000)
    assert torch.isfinite(draws).all()
    assert torch.equal(draws, draw_speech(tiny_prior(), n_items=2, duration_s=0.25, n_steps=4))
