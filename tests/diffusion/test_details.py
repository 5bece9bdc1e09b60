"""Details that one wrong sign, factor or frame would change, each against its definition."""

from __future__ import annotations

import math

import pytest
import torch

from diffsr.diffusion import Prior, RhoUniformLevels, ToldPrior, WindowedPrior
from diffsr.diffusion.adaptation import crops_of
from diffsr.diffusion.analytic import WhiteGaussianPrior
from diffsr.diffusion.calibration_measure import ErrorSums
from diffsr.diffusion.precondition import precondition
from diffsr.networks import TFTransformer

RATE_HZ = 16000


# Levels and preconditioning --------------------------------------------------------------------------


def test_rho_uniform_levels_lie_evenly_in_the_root():
    levels = RhoUniformLevels(sigma_min=1e-3, sigma_max=1.0, rho=5.0)
    roots = levels.sample(20_000, torch.Generator().manual_seed(0)) ** (1 / 5)
    shares = torch.tensor([0.1, 0.5, 0.9])
    low = 1e-3 ** (1 / 5)
    torch.testing.assert_close(roots.quantile(shares), low + (1 - low) * shares, atol=0.02, rtol=0)


def test_the_network_is_told_a_quarter_of_the_logarithm_of_the_level():
    sigma = torch.tensor([0.01, 1.0, 10.0])
    torch.testing.assert_close(precondition(sigma, 0.05).c_noise, sigma.log() / 4)


# Calibration -----------------------------------------------------------------------------------------


class KnownPrior(Prior):
    def __init__(self) -> None:
        super().__init__(TFTransformer(width=16, depth=1, heads=2))
        self.exact = WhiteGaussianPrior(0.05)

    def denoise(self, z, sigma):
        return self.exact.denoise(z, sigma)


def test_each_half_of_the_crops_is_predicted_by_the_other():
    sums = ErrorSums((2, 3, 4))
    sums.count += 1e6
    sums.error[0], sums.error[1] = 1e6, 4e6
    agreement = sums.agreement()
    # ln r + e / r with r = 4, e = 1 and r = 1, e = 4
    assert agreement.score["table"] == pytest.approx([(math.log(4) + 0.25 + 0 + 4) / 2] * 2, abs=1e-3)
    assert agreement.ratio["table"] == pytest.approx([1.0, 1.0], abs=1e-3)


def test_whole_frames_alone_are_counted_with_noise_of_their_own():
    sums, wave = ErrorSums((3, 4, 5)), 0.05 * torch.randn(8000, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        sums.add(KnownPrior(), wave)
    n_frames = 8000 // 128 + 1
    assert float(sums.count.sum()) == 2 * 3 * 257 * (n_frames - 4)  # two at either end reach beyond it
    assert not torch.equal(sums.error[0], sums.error[1])


# Telling ---------------------------------------------------------------------------------------------


def test_some_of_the_recordings_are_told_as_strongly_as_all():
    prior = WindowedPrior(
        Prior(TFTransformer(width=16, depth=1, heads=2, speaker_width=3), window_s=0.5), 0.5, 0.1
    )
    voices = torch.randn(4, 2, 3)
    some = ToldPrior(prior, voices, weight=3.0, sigma_low=0.2).of([1], 2)
    assert torch.equal(some.known, voices[2:])
    assert (some.weight, some.sigma_low) == (3.0, 0.2)


# Adaptation ------------------------------------------------------------------------------------------


def test_crops_are_drawn_by_power():
    track = torch.zeros(1, 60_000)
    track[0, 10_000:10_100], track[0, 40_000:50_000] = 1.0, 0.1  # as much energy in both
    crops = crops_of(track, 2000, 400, torch.Generator().manual_seed(0))[0]
    assert float((crops.abs().amax(-1) == 1.0).float().mean()) == pytest.approx(0.5, abs=0.08)


# Windows ---------------------------------------------------------------------------------------------


def test_a_gradient_goes_through_the_network_in_single_precision():
    prior = Prior(TFTransformer(width=16, depth=1, heads=2), window_s=0.5)
    for parameter in prior.parameters():  # an untrained network ends in zeros
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    z, sigma = 0.1 * torch.randn(1, 1, 8000, generator=torch.Generator().manual_seed(1)), torch.tensor([0.05])
    exact = WindowedPrior(prior, 0.5, 0.1).denoise(z, sigma)
    low = WindowedPrior(prior, 0.5, 0.1, in_bfloat16=True)
    assert not torch.equal(low.denoise(z, sigma), exact)
    torch.testing.assert_close(low.denoise(z.requires_grad_(True), sigma), exact, atol=1e-6, rtol=0)
