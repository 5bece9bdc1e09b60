"""Parts of which published enhancement methods are made: UDiffSE, UDiffSE+ and DiffUSEEN, in waveform form.

arXiv 2309.10450, 2410.05301 and 2601.09931. `docs/method.md` tells what cannot carry over.
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import torch
from torch import Tensor

from diffsr.errors import ConfigError
from diffsr.samplers.annealed import AnnealedSampler, OnStep, Samples
from diffsr.samplers.divergence import DivergedError
from diffsr.samplers.guidance import Guidance, Unguided
from diffsr.samplers.innovation import Innovation
from diffsr.samplers.problem import Problem
from diffsr.typing import Sources


class Every:
    """Another guidance at the first of every n calls of the prior, and the prior alone at the others.

    UDiffSE takes a likelihood step at every second level; with a predictor and a corrector that is every
    fourth call.

    Args:
        guidance: What guides.
        n: Calls.

    Raises:
        ConfigError: n is below 1.
    """

    def __init__(self, guidance: Guidance, n: int = 2) -> None:
        if n < 1:
            raise ConfigError(f"Every has n = {n}; expected 1 or more calls.")
        self.guidance, self.n = guidance, n
        self.needs_gradient = guidance.needs_gradient

    def correct(self, z: Sources, x0: Sources, sigma: Tensor, problem: Problem) -> Sources:
        """See class."""
        count = problem.memory.get("every", torch.zeros((), dtype=torch.long))  # on the CPU: nobody waits
        problem.memory["every"] = count + 1
        return x0 if int(count) % self.n else self.guidance.correct(z, x0, sigma, problem)


class NoiseLatent:
    """The noise as a variable of its own, estimated at each level and taken off the recording (DiffUSEEN).

        n_hat = V (V + A R A')^-1 (y - A x0),                 R = sigma^2 + w in place of the uncertainty
        x0'   = x0 + weight sigma^2 A' (W + sigma^2 A A')^-1 (y - n_hat - A z)

    What is left of the recording without the estimated noise is clean but for a slack of variance w. The
    state is compared with it as in `NoisePerturbed`. With `UpdateNoise` the noise model is fitted to the
    posterior power of that noise (arXiv 2601.09931).

    Args:
        weight: Strength; 1.75 is published.
        slack: w in units of the prior's variance; 5e-4 is published for a compressed spectrum.

    Raises:
        ConfigError: The slack is not above 0.
    """

    needs_gradient = False

    def __init__(self, weight: float = 1.75, slack: float = 5e-4) -> None:
        if not slack > 0:
            raise ConfigError(f"NoiseLatent has slack = {slack:g}; expected a number above 0.")
        self.weight, self.slack = weight, slack

    def correct(self, z: Sources, x0: Sources, sigma: Tensor, problem: Problem) -> Sources:
        """See class."""
        stft = problem.likelihood.stft
        state = stft.bin_variance(sigma.square())[:, None]
        slack = stft.bin_variance(torch.full_like(sigma, self.slack * problem.prior.sigma_data**2))[:, None]
        known, residual = Innovation(problem, x0, state + slack), problem.residual(x0)
        # V M^-1 r = r - A R A' M^-1 r: one filter, where two of a great range would not cancel in frames.
        noise = residual - known.observe(known.move(residual, memory="noise_latent_noise"))
        speech = problem.y - noise
        innovation = Innovation(problem, z, state, noise_variance=slack)
        return x0 + self.weight * innovation.move(speech - problem.degradation(z), memory="noise_latent")


class ResidualNoise:
    """M-step on the noise: fitted to the power of what the estimate leaves, as if the estimate were exact.

    `|Y - A(X0)|^2`, the update of UDiffSE+ and DEPSE (arXiv 2410.05301, 2507.02391). It takes the speech that
    the estimate still lacks for noise; `UpdateNoise` takes the uncertainty into account.

    Args:
        sigma_start: Above this level the noise model stays as it started; it is updated at every level in the
            published schedules, at whose top the loud parts of the speech still stand out of the noise.
        n_updates: Updates at each level.
    """

    def __init__(self, sigma_start: float = math.inf, n_updates: int = 1) -> None:
        self.sigma_start, self.n_updates = sigma_start, n_updates

    def update(self, x0: Sources, sigma: Tensor, problem: Problem) -> None:
        """See class."""
        if float(sigma.max()) > self.sigma_start:
            return
        residual = problem.residual(x0)
        for _ in range(self.n_updates):
            problem.likelihood.update(residual, torch.zeros_like(sigma)[:, None, None])


class EMPasses(AnnealedSampler):
    """Another sampler several times from the start, the noise model refitted in between (UDiffSE).

    Expectation-maximisation in whole passes: each runs from noise to an estimate, the E-step; then the noise
    model is updated once on the final estimates, averaged over restarts, the M-step. Calls add up.

    Args:
        sampler: What runs in each pass; without estimators, as published.
        n_passes: Passes.
        n_unguided: This many of the first passes run without guidance, as published, where the noise model
            of the first pass is random.
        n_updates: Updates of the noise model after each pass.

    Raises:
        ConfigError: There is no pass with guidance.
    """

    def __init__(
        self, sampler: AnnealedSampler, n_passes: int = 5, n_unguided: int = 0, n_updates: int = 1
    ) -> None:
        if not 0 <= n_unguided < n_passes:
            raise ConfigError(
                f"EMPasses has n_passes = {n_passes} and n_unguided = {n_unguided}; expected fewer passes "
                "without guidance than passes."
            )
        super().__init__(
            sampler.guidance,
            sampler.solver,
            sampler.estimators,
            churn=sampler.churn,
            churn_above=sampler.churn_above,
        )
        self.sigmas, self.initialiser = sampler.sigmas, sampler.initialiser
        self.sampler, self.n_passes, self.n_unguided = sampler, n_passes, n_unguided
        self.residual_noise = ResidualNoise(n_updates=n_updates)

    @torch.no_grad()
    def sample(self, problem: Problem, z: Sources, on_step: OnStep | None = None) -> Samples:
        """See class; the first pass starts from `z [rows, S, T]`, the others from a new start."""
        n_calls = 0
        lost: dict[int, None] = {}
        message = ""
        for number in range(self.n_passes):
            one = copy.copy(self.sampler)
            if number < self.n_unguided:
                one.guidance = Unguided()
            start = z if number == 0 else self.start(problem)
            try:
                done = one.sample(problem, start, self._news_of(number, on_step))
            except DivergedError as error:  # the other rows go on
                done, message = error.samples, message or str(error)
                lost |= dict.fromkeys(error.rows)
            n_calls += done.n_calls
            if number + 1 < self.n_passes:
                sigma = self.sigmas[-1].to(z.device).expand(z.shape[0])
                self.residual_noise.update(done.x, sigma, problem)
        samples = replace(done, n_calls=n_calls)
        if lost:
            raise DivergedError(message, samples, list(lost))
        return samples

    def gentler(self) -> EMPasses:
        """See base: passes of a gentler sampler."""
        twin = copy.copy(self)
        twin.sampler = self.sampler.gentler()
        twin.sigmas, twin.churn, twin.guidance = (
            twin.sampler.sigmas,
            twin.sampler.churn,
            twin.sampler.guidance,
        )
        return twin

    def _news_of(self, number: int, on_step: OnStep | None) -> OnStep | None:
        """The steps of a pass counted among those of all."""
        if on_step is None:
            return None
        return lambda done, total: on_step(number * total + done, self.n_passes * total)
