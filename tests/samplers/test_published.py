"""Parts of published methods: they do what their equations say, and are per item like everything else."""

from __future__ import annotations

import pytest
import torch

from diffsr.degradations import Mixing, Room
from diffsr.diffusion.analytic import WhiteGaussianPrior
from diffsr.errors import ConfigError
from diffsr.likelihoods import NMFNoise, WhiteNoise
from diffsr.samplers import (
    AnnealedSampler,
    EMPasses,
    Every,
    NoiseLatent,
    NoisePerturbed,
    PredictorCorrector,
    Problem,
    Proximal,
    ResidualNoise,
    RowNoise,
)
from diffsr.samplers.divergence import DivergedError

SD = 0.05


def problem_of(likelihood=None, names=("a", "b"), degradation=None, seed=0):
    waves = [
        SD * torch.randn(1, 4096, generator=torch.Generator().manual_seed(seed + ord(name))) for name in names
    ]
    likelihood = likelihood or WhiteNoise(SD)
    noise = RowNoise(0, list(names))
    return Problem.pose(
        torch.stack(waves), WhiteGaussianPrior(SD), degradation or Mixing(), likelihood, noise
    )


class Marked:
    """A guidance that adds 1."""

    needs_gradient = False

    def correct(self, z, x0, sigma, problem):
        return x0 + 1


def test_every_guides_at_the_first_of_n_calls_and_starts_anew():
    guidance, problem = Every(Marked(), 3), problem_of()
    zero = torch.zeros(2, 1, 4)
    for _ in range(2):
        found = [float(guidance.correct(zero, zero, zero[:, 0, 0], problem)[0, 0, 0]) for _ in range(7)]
        assert found == [1, 0, 0, 1, 0, 0, 1]
        problem.memory.clear()  # as a sampler does at its start
    with pytest.raises(ConfigError, match="1 or more"):
        Every(Marked(), 0)


def test_the_noise_latent_is_its_equation_for_white_noise():
    problem = problem_of()
    x0, z = (SD * torch.randn(2, 1, 4096, generator=torch.Generator().manual_seed(k)) for k in (1, 2))
    sigma = torch.tensor([0.3, 0.01])
    found = NoiseLatent(weight=1.75, slack=0.01).correct(z, x0, sigma, problem)
    s2, w, v = sigma[:, None, None] ** 2, 0.01 * SD**2, SD**2
    n_hat = v / (v + s2 + w) * (problem.y - x0)
    expected = x0 + 1.75 * s2 / (s2 + w) * (problem.y - n_hat - z)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_the_noise_latent_takes_off_no_more_than_there_is():
    """Also where the noise has a range of 80 dB between neighbouring bins."""
    problem = problem_of(NMFNoise())
    comb = torch.where(torch.arange(257) % 4 == 0, 1.0, 1e-8)[None, :, None]
    problem.likelihood.spectra = problem.likelihood.spectra * comb
    x0 = 0.1 * problem.y
    found = NoiseLatent(weight=1.0, slack=1e-6).correct(x0, x0, torch.full((2,), 0.01), problem)
    assert float((found - x0).square().mean()) < 1.1 * float((problem.y - x0).square().mean())


def test_the_noise_latent_knows_rooms():
    """An identity that is computed as a room gives what an additive mixture gives."""
    x0, z = (SD * torch.randn(2, 1, 4096, generator=torch.Generator().manual_seed(k)) for k in (1, 2))
    sigma = torch.tensor([0.3, 0.05])
    found = [
        NoiseLatent().correct(z, x0, sigma, problem_of(degradation=degradation))
        for degradation in (Mixing(), Room(torch.tensor([[1.0, 0.0]])))
    ]
    torch.testing.assert_close(found[1], found[0], rtol=1e-2, atol=1e-4)


def test_without_noise_the_noise_latent_takes_nothing_off():
    problem = problem_of(WhiteNoise(1e-6))
    x0 = torch.zeros_like(problem.y)
    found = NoiseLatent(weight=1.0, slack=1e-9).correct(x0, x0, torch.full((2,), 0.1), problem)
    torch.testing.assert_close(found, problem.y, rtol=1e-3, atol=1e-5)


def test_the_residual_is_the_target_of_its_m_step():
    problem = problem_of(NMFNoise(rank=4, exponent=0.5))
    x0 = 0.5 * problem.y
    estimator, target = (
        ResidualNoise(n_updates=50),
        (0.5 * problem.likelihood.stft(problem.y[:, 0])).abs() ** 2,
    )
    estimator.update(x0, torch.full((2,), 0.3), problem)
    v = problem.likelihood.variance
    ratio = target.clamp_min(1e-10) / v
    assert float(ratio.mean()) == pytest.approx(1.0, abs=0.1)


def passes(n_passes=3, n_unguided=1):
    inner = AnnealedSampler(
        NoisePerturbed(), PredictorCorrector(snr=0.3), estimators=[], n_steps=6, churn=0.0
    )
    return EMPasses(inner, n_passes, n_unguided)


def test_passes_add_up_and_refit_the_noise_in_between():
    problem = problem_of(NMFNoise())
    sampler, told, variances = passes(), [], []
    update = problem.likelihood.update

    def watched(*arguments):
        update(*arguments)
        variances.append(problem.likelihood.variance.clone())

    problem.likelihood.update = watched
    done = sampler.sample(problem, sampler.start(problem), lambda *news: told.append(news))
    assert done.n_calls == 3 * (6 + 5)
    assert told == [(k + 1, 18) for k in range(18)]
    assert len(variances) == 2  # not after the last
    assert not torch.equal(variances[0], variances[1])


def test_one_pass_is_the_sampler_itself():
    sampler = passes(n_passes=1, n_unguided=0)
    found = []
    for one in (sampler, sampler.sampler):
        problem = problem_of(NMFNoise())
        found.append(one.sample(problem, one.start(problem)).x)
    assert torch.equal(*found)


def test_a_pass_without_guidance_does_not_hear_the_recording():
    class Deaf(Proximal):
        """Fails where it is used."""

        def correct(self, *_):
            raise AssertionError

    inner = AnnealedSampler(Deaf(), estimators=[], n_steps=3)
    problem = problem_of()
    with pytest.raises(AssertionError):
        EMPasses(inner, 2, 1).sample(problem, inner.start(problem))
    assert isinstance(inner.guidance, Deaf)  # left as it was


def test_a_row_does_not_depend_on_its_batch():
    sampler = passes(n_passes=2, n_unguided=0)
    together, alone = problem_of(NMFNoise()), problem_of(NMFNoise(), names=("b",))
    found = [sampler.sample(problem, sampler.start(problem)).x[-1] for problem in (together, alone)]
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)


def test_a_row_that_diverges_leaves_the_passes_of_the_others_as_they_are():
    class Diverges(NoisePerturbed):
        """Not finite for one recording, in the first pass."""

        n_seen = 0

        def correct(self, z, x0, sigma, problem):
            self.n_seen += 1
            lost = torch.arange(len(z)) < (len(z) - 1) * (self.n_seen == 2)
            return torch.where(lost[:, None, None], torch.nan, super().correct(z, x0, sigma, problem))

    found = []
    for names in (("a", "b"), ("b",)):
        inner = AnnealedSampler(Diverges(), estimators=[], n_steps=4, churn=0.0)
        sampler, problem = EMPasses(inner, 3), problem_of(NMFNoise(), names=names)
        if len(names) == 1:
            found.append(sampler.sample(problem, sampler.start(problem)))
            continue
        with pytest.raises(DivergedError, match="level 2 of 4") as caught:
            sampler.sample(problem, sampler.start(problem))
        assert caught.value.rows == [0]
        found.append(caught.value.samples)
    assert found[0].n_calls == found[1].n_calls == 3 * 4
    assert found[0].x.isfinite().all()
    torch.testing.assert_close(found[0].x[-1], found[1].x[-1], rtol=1e-4, atol=1e-6)


def test_a_gentler_copy_runs_gentler_passes():
    sampler = passes(n_passes=2, n_unguided=0)
    problem, twin = problem_of(NMFNoise()), sampler.gentler()
    assert isinstance(twin, EMPasses)
    n_levels = len(twin.sigmas) - 1
    assert twin.sample(problem, twin.start(problem)).n_calls == 2 * (2 * n_levels - 1) > 2 * (2 * 6 - 1)
    assert len(sampler.sampler.sigmas) - 1 == 6


def test_passes_that_make_no_sense():
    for n_passes, n_unguided in ((0, 0), (2, 2), (3, -1)):
        with pytest.raises(ConfigError, match="fewer passes without guidance"):
            EMPasses(AnnealedSampler(), n_passes, n_unguided)
