"""Solvers that add fresh noise in each move: reverse diffusion, with a corrector or with the observation."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from diffsr.errors import ConfigError
from diffsr.samplers.innovation import Innovation, coloured
from diffsr.samplers.problem import Problem
from diffsr.samplers.solvers import PosteriorMean, Solver, is_last
from diffsr.typing import Sources

Observed = Literal["implicit", "tractable"]


def ancestral(z: Sources, x0: Sources, sigma: Tensor, sigma_next: Tensor) -> tuple[Sources, Tensor]:
    """Mean `[rows, S, T]` and variance `[rows, 1, 1]` of the state at sigma_next given `z` and `x0`.

    `N(x0 + q (z - x0), sigma_next^2 (1 - q))`, `q = sigma_next^2 / sigma^2` (arXiv 2011.13456, appendix F):
    the mean of a step of the reverse diffusion, and to first order its noise; right for steps of any size.
    """
    q = (sigma_next / sigma).square()[:, None, None]
    return x0 + q * (z - x0), sigma_next.square()[:, None, None] * (1 - q)


class Ancestral:
    """A step of the reverse diffusion: to the estimate, with fresh noise (arXiv 2011.13456, appendix F)."""

    def step(
        self,
        z: Sources,
        x0: Sources,
        sigma: Tensor,
        sigma_next: Tensor,
        posterior: PosteriorMean,
        problem: Problem,
    ) -> Sources:
        """See `ancestral`."""
        mean, variance = ancestral(z, x0, sigma, sigma_next)
        return mean + variance.sqrt() * problem.noise.normal_like(z)


class PredictorCorrector:
    """A step to the next level, and Langevin steps at that level (arXiv 2011.13456, appendix G, the VE form).

    `z + eps g + sqrt(2 eps) n`, `g = (x0'(z) - z) / sigma^2` the score of the posterior, `n` white noise and
    `eps = 2 (snr |n| / |g|)^2`, with the norms of each row instead of the batch's means. The corrector
    forgets errors of earlier levels, for one more call of the prior a step.

    Args:
        predictor: Any other solver; None is `Ancestral`.
        snr: Size of the Langevin step; larger forgets faster and leaves more noise behind. 0.16 is published
            for images, 0.5 in UDiffSE.
        n_corrections: Langevin steps at each level, each one call of the prior.
    """

    def __init__(self, predictor: Solver | None = None, snr: float = 0.16, n_corrections: int = 1) -> None:
        self.predictor = predictor or Ancestral()
        self.snr, self.n_corrections = snr, n_corrections

    def step(
        self,
        z: Sources,
        x0: Sources,
        sigma: Tensor,
        sigma_next: Tensor,
        posterior: PosteriorMean,
        problem: Problem,
    ) -> Sources:
        """See class. There is no level to correct at after the last move, to sigma 0."""
        z = self.predictor.step(z, x0, sigma, sigma_next, posterior, problem)
        if is_last(sigma_next):
            return z
        for _ in range(self.n_corrections):
            drift = posterior(z, sigma_next) - z
            noise = problem.noise.normal_like(z)
            size = self._size(drift, noise, sigma_next)
            z = z + size * drift + (2 * size).sqrt() * sigma_next[:, None, None] * noise
        return z

    def _size(self, drift: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        """`eps / sigma^2`, `[rows, 1, 1]`; at most 1, a step all the way to the estimate."""
        noise_rms, drift_rms = (x.square().mean((1, 2)).sqrt() for x in (noise, drift))
        ratio = self.snr * noise_rms * sigma / drift_rms.clamp_min(torch.finfo(drift.dtype).tiny)
        return (2 * ratio.square()).clamp_max(1)[:, None, None]


class PosteriorTransition:
    """The observation enters the transition itself (DEPSE, arXiv 2507.02391): use it with `Unguided`.

    The prior's transition `N(mu, b^2)` (see `ancestral`) times a Gaussian likelihood of the next state z':

    * `implicit` (DEPSE-IL): `N(y; A z', v + sigma_next^2 A A')`, widened by the state's own noise.
    * `tractable` (DEPSE-TL): `N(y + sigma_next A e; A z', v)`, the observation noised to the next level too.

    A draw of the product is the next state; nothing has to be tuned. Neither is exact: the state's noise is
    taken as independent of what the estimate knows already, and the spread comes out too narrow.

    From the published form for an amplitude-compressed STFT with an Ornstein-Uhlenbeck process to a waveform
    with a variance-exploding one: the decay exp(-theta t) becomes 1; `b^2 = g^2 dt` becomes that of
    `ancestral`, the same to first order. What cannot carry over: v is the noise's true power (theirs is
    fitted in the compressed domain, where speech and noise do not add up), and the state's noise is white in
    samples, thus not in compressed bins. Their figures are not claimed for this one.

    Args:
        observed: One of the two.

    Raises:
        ConfigError: No such likelihood.
    """

    def __init__(self, observed: Observed = "implicit") -> None:
        if observed not in get_args(Observed):
            raise ConfigError(f"observed is {observed!r}; expected one of {', '.join(get_args(Observed))}.")
        self.observed = observed

    def step(
        self,
        z: Sources,
        x0: Sources,
        sigma: Tensor,
        sigma_next: Tensor,
        posterior: PosteriorMean,
        problem: Problem,
    ) -> Sources:
        """See class. The last move, to sigma 0, returns the estimate."""
        if is_last(sigma_next):
            return x0
        mean, variance = ancestral(z, x0, sigma, sigma_next)
        state = sigma_next.square()[:, None, None]
        known = variance + state if self.observed == "implicit" else variance
        bins = problem.likelihood.stft.bin_variance(known[:, 0, 0])[:, None]
        innovation = Innovation(problem, mean, bins)
        deviation = variance.sqrt() * problem.noise.normal_like(z)
        noise = coloured(problem.noise.normal_like(problem.y), innovation.v, problem)
        # implicit: a draw of the noise that widens the likelihood; tractable: what noises the observation
        noise = noise + innovation.observe(state.sqrt() * problem.noise.normal_like(z) - deviation)
        share = variance / known
        return mean + deviation + share * innovation.move(problem.residual(mean) + noise)
