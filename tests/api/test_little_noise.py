"""Recordings that turn out to have little noise are restored once more, in another way; others are not."""

from __future__ import annotations

import math

import pytest
import torch

from diffsr import Restorer
from diffsr.errors import ConfigError
from diffsr.likelihoods import DriftingNoise, WhiteNoise
from diffsr.recipes import Recipe, make_recipe
from diffsr.samplers import AnnealedSampler, LittleNoise, UpdateNoise

N_STEPS = 4
RATE_HZ = 16000
ALWAYS, NEVER = -1000.0, 1000.0


class Lost(WhiteNoise):
    """A noise model that makes every sampler diverge."""

    @property
    def variance(self) -> torch.Tensor:
        return super().variance * math.nan


def recipe(snr_db: float | None, likelihood=None) -> Recipe:
    little = None
    if snr_db is not None:
        little = LittleNoise(likelihood or WhiteNoise(1e-3), [], snr_db)
    return Recipe(
        AnnealedSampler(estimators=[UpdateNoise()], n_steps=N_STEPS), DriftingNoise(), little_noise=little
    )


@pytest.fixture
def speech(make_speech) -> torch.Tensor:
    return torch.from_numpy(make_speech())


def only_rises_to_the_end(steps: list[tuple[int, int]]) -> None:
    shares = [done / total for done, total in steps]
    assert shares == sorted(shares)
    assert 0 < shares[0] < 1 == shares[-1]


def test_what_was_removed_tells_how_much_noise_there_is():
    speech = 0.05 * torch.randn(3, 32_000, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(3, 32_000, generator=torch.Generator().manual_seed(1))
    y = speech + 0.05 * torch.tensor([[0.5], [0.19], [0.0]]) * noise  # 6 and 14.4 dB, and none at all
    little = LittleNoise(WhiteNoise(1e-3), [], snr_db=14.0)
    assert little.is_found(y, speech, RATE_HZ).tolist() == [False, True, True]
    silence = torch.zeros(1, 32_000)
    assert not bool(little.is_found(y[:1], silence, RATE_HZ))
    assert not bool(little.is_found(silence, silence, RATE_HZ))


def test_the_second_restoration_is_that_of_the_parts_for_little_noise(tiny_prior, speech):
    done = Restorer(tiny_prior, recipe=recipe(ALWAYS), n_samples=2).restore(speech, RATE_HZ)
    quiet = Recipe(AnnealedSampler(estimators=[], n_steps=N_STEPS), WhiteNoise(1e-3))
    alone = Restorer(tiny_prior, recipe=quiet, n_samples=2).restore(speech, RATE_HZ)
    assert torch.equal(done.wave, alone.wave)
    assert torch.equal(done.samples, alone.samples)
    assert (done.n_calls, alone.n_calls) == (4 * N_STEPS, 2 * N_STEPS)


def test_a_noisy_recording_is_restored_once(tiny_prior, speech):
    steps: list[tuple[int, int]] = []
    done = Restorer(tiny_prior, recipe=recipe(NEVER)).restore(
        speech, RATE_HZ, on_step=lambda *step: steps.append(step)
    )
    plain = Restorer(tiny_prior, recipe=recipe(None)).restore(speech, RATE_HZ)
    assert torch.equal(done.wave, plain.wave)
    assert done.n_calls == plain.n_calls == N_STEPS
    only_rises_to_the_end(steps)
    assert len(steps) == N_STEPS + 1  # the last one tells that there is no second


def test_progress_goes_on_to_the_end_of_the_second(tiny_prior, speech):
    steps: list[tuple[int, int]] = []
    Restorer(tiny_prior, recipe=recipe(ALWAYS)).restore(
        speech, RATE_HZ, on_step=lambda *step: steps.append(step)
    )
    only_rises_to_the_end(steps)
    assert len(steps) == 2 * N_STEPS


def test_members_of_a_batch_are_decided_on_one_by_one(tiny_prior, speech):
    found = recipe(ALWAYS)
    found.little_noise.is_found = lambda y, x, rate_hz: torch.arange(len(x)) == 1
    done = Restorer(tiny_prior, recipe=found, batch=3).restore_many([speech] * 3, [RATE_HZ] * 3, list("abc"))
    assert [one.n_calls for one in done] == [N_STEPS, 2 * N_STEPS, N_STEPS]
    for one, name, snr_db in zip(done, "abc", (NEVER, ALWAYS, NEVER), strict=True):
        alone = Restorer(tiny_prior, recipe=recipe(snr_db)).restore(speech, RATE_HZ, name)
        torch.testing.assert_close(one.wave, alone.wave, rtol=0, atol=1e-5)


def test_the_first_restoration_stays_where_the_second_diverges(tiny_prior, speech):
    done = Restorer(tiny_prior, recipe=recipe(ALWAYS, Lost(1e-3))).restore(speech, RATE_HZ)
    plain = Restorer(tiny_prior, recipe=recipe(None)).restore(speech, RATE_HZ)
    assert torch.equal(done.wave, plain.wave)
    n_gentler = 2 * N_STEPS - 1
    assert done.n_calls == plain.n_calls + N_STEPS + n_gentler  # what was done in vain was done all the same


def test_a_noise_model_of_another_stft_is_refused():
    with pytest.raises(ConfigError, match="little_noise has a noise model with n_fft 256, hop_samples 64"):
        recipe(14.0, WhiteNoise(1e-3, n_fft=256, hop_samples=64))


def test_only_enhancement_looks_for_little_noise():
    little = make_recipe("enhance").little_noise
    assert little is not None
    assert little.likelihood.clicks is False
    assert all(make_recipe(task).little_noise is None for task in ("dereverb", "denoise_dereverb", "declip"))
