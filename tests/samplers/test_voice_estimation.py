"""The voice of a talker is heard in the estimate and told to the prior, where that takes voices."""

from __future__ import annotations

import pytest
import torch

from diffsr.degradations import Mixing
from diffsr.diffusion import Prior, WindowedPrior
from diffsr.likelihoods import WhiteNoise
from diffsr.networks import TFTransformer
from diffsr.recipes import make_recipe
from diffsr.samplers import AnnealedSampler, Problem, RowNoise, UpdateVoice

RATE_HZ = 16000


class Overheard(Prior):
    """Random weights that depend on the talker; keeps what it was told."""

    def __init__(self, speaker_width: int, rate_hz: int = RATE_HZ) -> None:
        network = TFTransformer(width=16, depth=1, heads=2, speaker_width=speaker_width)
        super().__init__(network, rate_hz=rate_hz, window_s=0.7)
        rng = torch.Generator().manual_seed(0)
        for name, parameter in self.named_parameters():
            torch.nn.init.normal_(parameter, std=1.0 if "condition" in name else 0.1, generator=rng)
        self.eval().requires_grad_(False)
        self.told: list[torch.Tensor | None] = []
        self.estimates: list[torch.Tensor] = []

    def denoise(self, z, sigma, speaker=None):
        self.told.append(speaker)
        self.estimates.append(super().denoise(z, sigma, speaker))
        return self.estimates[-1]


@pytest.fixture(scope="module")
def update() -> UpdateVoice:
    return UpdateVoice()


@pytest.fixture
def noisy(make_speech) -> torch.Tensor:
    speech = torch.stack([torch.from_numpy(make_speech(0.6)), torch.from_numpy(make_speech(0.6)).flip(-1)])
    return speech.reshape(2, 1, -1)


def problem_of(y, prior, n_restarts=1):
    names = [str(k) for k in range(len(y))]
    noise = RowNoise(0, names, n_restarts)
    return Problem.pose(y, WindowedPrior(prior, 0.7, 0.1), Mixing(), WhiteNoise(1e-2), noise, n_restarts)


def sampled(y, prior, estimators, n_restarts=1):
    problem = problem_of(y, prior, n_restarts)
    sampler = AnnealedSampler(estimators=estimators, n_steps=4)
    return sampler.sample(problem, sampler.start(problem))


def test_each_level_is_told_the_voice_of_the_estimate_before(noisy, update):
    prior = Overheard(update.encoder.embedding_dim)
    samples = sampled(noisy, prior, [update])
    assert samples.n_calls == len(prior.told) == 4
    assert prior.told[0] is None
    for told, estimate in zip(prior.told[1:], prior.estimates, strict=False):
        torch.testing.assert_close(told, update.encoder(estimate))
    assert not torch.allclose(prior.told[1], prior.told[-1])


def test_the_estimate_depends_on_the_voice_and_a_second_run_does_not_on_the_first(noisy, update):
    prior = Overheard(update.encoder.embedding_dim)
    problem, sampler = problem_of(noisy, prior), AnnealedSampler(estimators=[update], n_steps=4)
    first = sampler.sample(problem, sampler.start(problem)).x
    prior.told.clear()
    problem.noise = RowNoise(0, ["0", "1"])
    again = sampler.sample(problem, sampler.start(problem)).x
    assert prior.told[0] is None
    torch.testing.assert_close(again, first)
    assert not torch.allclose(sampled(noisy, prior, []).x, sampled(noisy, prior, [update]).x, atol=1e-4)


def test_every_row_hears_its_own_talker(noisy, update):
    prior = Overheard(update.encoder.embedding_dim)
    together = sampled(noisy, prior, [update], n_restarts=2).x
    for k, name in enumerate("01"):
        problem = problem_of(noisy[k : k + 1], prior, 2)
        problem.noise = RowNoise(0, [name], 2)
        sampler = AnnealedSampler(estimators=[update], n_steps=4)
        alone = sampler.sample(problem, sampler.start(problem)).x
        torch.testing.assert_close(together[2 * k : 2 * k + 2], alone, rtol=0, atol=1e-4)


def test_restarts_of_a_talker_are_told_the_voice_of_their_mean(noisy, update):
    prior = Overheard(update.encoder.embedding_dim)
    sampled(noisy, prior, [update], n_restarts=2)
    for told, estimate in zip(prior.told[1:], prior.estimates, strict=False):
        mean = estimate.unflatten(0, (2, 2)).mean(1)
        torch.testing.assert_close(told, update.encoder(mean).repeat_interleave(2, 0))


@pytest.mark.parametrize("why", ["no talkers", "another width", "another rate", "too short"])
def test_nobody_is_told_where_the_prior_or_the_recording_does_not_allow_it(noisy, update, why):
    width = {"no talkers": 0, "another width": 64}.get(why, update.encoder.embedding_dim)
    prior = Overheard(width, 8000 if why == "another rate" else RATE_HZ)
    y = noisy[..., :7999] if why == "too short" else noisy
    told = sampled(y, prior, [update]).x
    assert set(prior.told) == {None}
    assert torch.equal(told, sampled(y, prior, []).x)


@pytest.mark.parametrize(("rate_hz", "n_voices"), [(RATE_HZ, 1), (8000, 0)])
def test_enhance_hears_voices_at_the_rate_of_the_encoder(rate_hz, n_voices):
    estimators = make_recipe("enhance", rate_hz=rate_hz).sampler.estimators
    assert sum(isinstance(one, UpdateVoice) for one in estimators) == n_voices


def test_silence_has_no_voice(update):
    prior = Overheard(update.encoder.embedding_dim)
    problem = problem_of(torch.zeros(1, 1, RATE_HZ), prior)
    update.update(torch.zeros(1, 1, RATE_HZ), torch.tensor([0.1]), problem)
    assert (problem.told.known == 0).all()
