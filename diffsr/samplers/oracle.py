"""Is a sampler right? It samples a posterior that is known exactly, and mean and spread are compared.

The prior is Gaussian and stationary, the recording a draw of it in white noise, so that the posterior is
Gaussian too, independent at each frequency; or the recording is the sum of two such talkers, and it is the
first who is looked at. Used by the tests and by `diffsr doctor --sampler`.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from diffsr.degradations import Mixing
from diffsr.diffusion.analytic import PriorOfEach, StationaryGaussianPrior, WhiteGaussianPrior
from diffsr.likelihoods import WhiteNoise
from diffsr.samplers.annealed import AnnealedSampler
from diffsr.samplers.initialise import FromObservation
from diffsr.samplers.problem import Problem
from diffsr.samplers.randomness import RowNoise
from diffsr.typing import Denoiser, Sources

TOLERANCE = 0.05
"""Relative error of mean and standard deviation up to which a sampler counts as exact: about three times what
the finite number of samples leaves in a half of the spectrum."""

N_FFT, HOP_SAMPLES = 64, 16
NO_NOISE = 1e-4
"""What experiments for talkers without noise have."""
N_HALVES = 2


@dataclass(frozen=True)
class Oracle:
    """A recording and its exact posterior.

    Attributes:
        name: For people.
        y: Recording `[T]`.
        prior: Gaussian.
        noise_level: Standard deviation of the white noise.
        mean: Exact posterior mean `[T]`.
        power: Exact posterior variance per sample at each frequency, `[T // 2 + 1]`.
    """

    name: str
    y: Tensor
    prior: Denoiser
    noise_level: float
    mean: Tensor
    power: Tensor

    n_sources = 1
    nothing_learned = "silence"
    """What a mean is too close to that is too small."""

    @property
    def sd(self) -> float:
        """Exact standard deviation of a sample."""
        return float(self.power.mean().sqrt())

    def start(self, sigma: float, noise: RowNoise, n_rows: int) -> Sources:
        """Draws `[rows, S, T]` of the exact posterior with noise of level sigma added."""
        white = noise.normal_like(self.y.expand(n_rows, 1, -1))
        spread = torch.fft.irfft((self.power + sigma**2).sqrt() * torch.fft.rfft(white), n=len(self.y))
        return self.mean + spread


@dataclass(frozen=True)
class TalkersOracle(Oracle):
    """The sum of two white talkers in little noise; mean and power are those of the first."""

    n_sources = 2

    @property
    def nothing_learned(self) -> str:  # type: ignore[override]
        """See `Oracle`; of talkers who are alike an even split is right."""
        is_even = torch.allclose(self.mean, self.y / 2)
        return "silence" if is_even else "an even split"

    def start(self, sigma: float, noise: RowNoise, n_rows: int) -> Sources:
        """See `Oracle`: what one talker has more of the recording the other has less."""
        first, *white = noise.normal_like(self.y.expand(n_rows, 3, -1)).unbind(1)
        first = self.mean + self.sd * first
        return torch.stack([first, self.y - first], dim=1) + sigma * torch.stack(white, dim=1)


def talkers_oracle(name: str, ratio: float, n_samples: int = 4096, sd: float = 0.05) -> TalkersOracle:
    """Talkers whose standard deviations have a ratio: the posterior of the first is `N(s y, s (1 - s) P)`.

    P is the power of both, s the share of the first: 1/2 where they are alike.
    """
    share, both = ratio**2 / (1 + ratio**2), 2 * sd**2
    signs = torch.randint(2, (n_samples,), generator=torch.Generator().manual_seed(0)) * 2.0 - 1
    y = both**0.5 * signs
    prior = PriorOfEach([WhiteGaussianPrior((part * both) ** 0.5) for part in (share, 1 - share)])
    power = torch.full((n_samples // 2 + 1,), share * (1 - share) * both)
    return TalkersOracle(name, y, prior, NO_NOISE, share * y, power)


def white_oracle(n_samples: int = 4096, sd: float = 0.05) -> Oracle:
    """White prior and noise of the same level, a recording of +-sd: the posterior is `N(y / 2, sd^2 / 2)`."""
    signs = torch.randint(2, (n_samples,), generator=torch.Generator().manual_seed(0)) * 2.0 - 1
    power = torch.full((n_samples // 2 + 1,), sd**2 / 2)
    return Oracle("white", sd * signs, WhiteGaussianPrior(sd), sd, sd * signs / 2, power)


def coloured_oracle(n_samples: int = 4096, sd: float = 0.05) -> Oracle:
    """A prior whose power falls by 12 dB from 0 to half the rate, as its recording in white noise does."""
    prior = StationaryGaussianPrior(sd**2 * torch.logspace(0.6, -0.6, 33))
    power = prior.power_at(n_samples // 2 + 1)
    white = torch.randn(2, n_samples, generator=torch.Generator().manual_seed(0))
    spectrum = torch.fft.rfft(white[0]) * power.sqrt() + torch.fft.rfft(white[1]) * sd
    wiener = power / (power + sd**2)
    y, mean = (torch.fft.irfft(gain * spectrum, n=n_samples) for gain in (torch.ones_like(power), wiener))
    return Oracle("coloured", y, prior, sd, mean, wiener * sd**2)


ORACLES = {"white": white_oracle, "coloured": coloured_oracle}
TALKERS_ORACLES = {
    "alike": partial(talkers_oracle, "alike", 1.0),
    "louder": partial(talkers_oracle, "louder", 3.0),
}


@dataclass(frozen=True)
class Moments:
    """What a sampler made of an oracle.

    Attributes:
        mean: RMS of the part of the found mean that is a multiple of the exact one, with its sign.
        exact_mean: RMS of the exact mean.
        sd: Standard deviation of the samples around their mean.
        exact_sd: The exact one.
        mean_error: Relative error of the mean in that half of the spectrum where it is larger.
        sd_error: The same of the standard deviation.
        n_calls: Calls of the prior for each sample.
        seconds: Wall time.
        nothing_learned: What a mean is too close to that is too small.
    """

    mean: float
    exact_mean: float
    sd: float
    exact_sd: float
    mean_error: float
    sd_error: float
    n_calls: int
    seconds: float
    nothing_learned: str

    @property
    def is_exact(self) -> bool:
        """Whether both errors are within the tolerance."""
        return abs(self.mean_error) <= TOLERANCE and abs(self.sd_error) <= TOLERANCE

    @property
    def verdict(self) -> str:
        """Plain words."""
        if self.is_exact:
            return f"exact within {TOLERANCE:.0%}"
        faults = []
        if abs(self.mean_error) > TOLERANCE:
            near = "the recording" if self.mean_error > 0 else self.nothing_learned
            faults.append(f"mean too close to {near}")
        if abs(self.sd_error) > TOLERANCE:
            faults.append(f"spread too {'wide' if self.sd_error > 0 else 'narrow'}")
        return f"biased: {', '.join(faults)}"


def check_sampler(
    sampler: AnnealedSampler, oracle: Oracle, n_samples: int = 8, exact_start: bool = True, seed: int = 0
) -> Moments:
    """Draw from the posterior of an oracle and compare.

    Args:
        sampler: Any. Its M-steps are left out, as the model is right already (and has no room), and so is
            the exchange of tracks, as these have no voices.
        oracle: What to sample.
        n_samples: Posterior samples.
        exact_start: Start from the exact posterior plus noise, so that only guidance and solver are judged;
            else as a restoration starts, of one talker from the recording plus noise.
        seed: Of all random numbers.

    Raises:
        DiffsrError: The sampler diverged.
    """
    noise = RowNoise(seed, [oracle.name], n_samples)
    likelihood = WhiteNoise(oracle.noise_level, N_FFT, HOP_SAMPLES)
    y, n_sources = oracle.y[None, None], oracle.n_sources
    problem = Problem.pose(y, oracle.prior, Mixing(), likelihood, noise, n_samples, n_sources)
    sampler, sigma = copy.copy(sampler), float(sampler.sigmas[0])
    sampler.estimators, sampler.exchange = [], None
    if exact_start:
        z = oracle.start(sigma, noise, n_samples)
    else:
        z = FromObservation()(problem, sigma) if n_sources == 1 else sampler.start(problem)
    started = time.perf_counter()
    samples = sampler.sample(problem, z)
    return compare(samples.x[:, 0], oracle, samples.n_calls, time.perf_counter() - started)


def compare(x: Tensor, oracle: Oracle, n_calls: int = 0, seconds: float = 0.0) -> Moments:
    """Mean and spread of samples `x [R, T]`, R at least 2, against the exact ones."""
    found, exact = torch.fft.rfft(x.mean(0)), torch.fft.rfft(oracle.mean)
    power = torch.fft.rfft(x - x.mean(0)).abs().square().sum(0) / (x.shape[0] - 1) / x.shape[1]
    along, own = (found * exact.conj()).real, exact.abs().square()
    slope = float(along.sum() / own.sum())
    exact_mean = float(oracle.mean.square().mean().sqrt())
    return Moments(
        mean=slope * exact_mean,
        exact_mean=exact_mean,
        sd=float(power.mean().sqrt()),
        exact_sd=oracle.sd,
        mean_error=_worst(along, own),
        sd_error=_worst(power, oracle.power, exponent=0.5),
        n_calls=n_calls,
        seconds=seconds,
        nothing_learned=oracle.nothing_learned,
    )


def _worst(found: Tensor, exact: Tensor, exponent: float = 1.0) -> float:
    """The largest relative error over the parts of the spectrum, with its sign."""
    parts = zip(found.chunk(N_HALVES), exact.chunk(N_HALVES), strict=True)
    ratios = [float(part.sum() / own.sum()) for part, own in parts]
    errors = [max(ratio, 0.0) ** exponent - 1 if exponent != 1 else ratio - 1 for ratio in ratios]
    return max(errors, key=abs)
