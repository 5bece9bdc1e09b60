"""Rules that turn the prior's estimate into one that also explains the observation.

All but `DPS` are forward-only. They share one update, `samplers/innovation.py`: closed form in STFT bins for
additive mixtures, conjugate gradients for rooms, gaps and filters. Steps are in units of sigma, so that the
number of noise levels can change without another tuning.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from diffsr.errors import ConfigError
from diffsr.samplers.innovation import N_ITERATIONS, Innovation
from diffsr.samplers.problem import Problem
from diffsr.typing import Sources


class Guidance(Protocol):
    """From the prior's denoised estimate to an estimate of the posterior mean.

    Attributes:
        needs_gradient: Whether `correct` differentiates `x0` with respect to `z` through the network.
    """

    needs_gradient: bool

    def correct(self, z: Sources, x0: Sources, sigma: Tensor, problem: Problem) -> Sources:
        """`z, x0 [rows, S, T]`, `sigma [rows]` -> corrected estimate `[rows, S, T]`."""
        ...


class Unguided:
    """The prior alone: unconditional sampling, and solvers that use the observation themselves."""

    needs_gradient = False

    def correct(self, z: Sources, x0: Sources, sigma: Tensor, problem: Problem) -> Sources:
        """The estimate as it is."""
        return x0


class Proximal:
    """The most probable sources between estimate and observation, without a gradient of the network.

    `argmin_x |y - A x|^2_{1/v} + |x - x0|^2_{1/r^2}` with the prior's uncertainty r^2 per bin: the exact
    posterior mean for Gaussian priors (DiffPIR, arXiv 2305.08995, Eq. 12, with the uncertainty of PiGDM in
    place of a free weight). Without a room the residual is split in each bin in proportion to the
    uncertainties, `r_k^2 / (sum_j r_j^2 + v)`; else a few steps of conjugate gradients start from the
    solution of the level before.

    Args:
        n_iterations: Steps of conjugate gradients at each level, where there is no closed form.
        uncertainty: r^2 of each source as a multiple of sigma^2, the same in all bins, as DiffPIR has it: the
            residual is split evenly, and noise of less than sigma stays. None is the prior's own.

    Raises:
        ConfigError: The uncertainty is not above 0.
    """

    needs_gradient = False

    def __init__(self, n_iterations: int = N_ITERATIONS, uncertainty: float | None = None) -> None:
        if uncertainty is not None and not uncertainty > 0:
            raise ConfigError(
                f"Proximal has uncertainty = {uncertainty:g}; expected a number above 0, or none for that of "
                "the prior."
            )
        self.n_iterations, self.uncertainty = n_iterations, uncertainty

    def correct(self, z: Sources, x0: Sources, sigma: Tensor, problem: Problem) -> Sources:
        """See class."""
        if self.uncertainty is None:
            variance = problem.source_variance(x0, sigma)
        else:
            variance = problem.likelihood.stft.bin_variance(self.uncertainty * sigma.square())[:, None]
        innovation = Innovation(problem, x0, variance, self.n_iterations)
        return x0 + innovation.move(problem.residual(x0), memory="proximal")


class NoisePerturbed:
    """The likelihood evaluated at the noisy state instead of at the estimate (UDiffSE, arXiv 2309.10450).

    `x0 + weight * sigma^2 * grad_z log N(y; A z, v + sigma^2 A A')`: the state's own noise widens the
    likelihood. Cheap, but the prior is counted twice: the posterior comes out too narrow with an ODE.

    Args:
        weight: Strength of the likelihood; 1 is Bayes' rule for this approximation, 1.5 is published.
    """

    needs_gradient = False

    def __init__(self, weight: float = 1.5) -> None:
        self.weight = weight

    def correct(self, z: Sources, x0: Sources, sigma: Tensor, problem: Problem) -> Sources:
        """See class."""
        state = problem.likelihood.stft.bin_variance(sigma.square())[:, None]
        innovation = Innovation(problem, z, state)
        return x0 + self.weight * innovation.move(problem.residual(z), memory="noise_perturbed")


class Projection:
    """The nearest sources that the observation does not contradict: hard consistency.

    For recordings without noise (gaps, clipping, a known low-pass): what was recorded is kept as it is, and
    the prior fills in the rest (imputation, arXiv 2011.13456, appendix I.2). With noise it is wrong: it lands
    on the recording.
    """

    needs_gradient = False

    def correct(self, z: Sources, x0: Sources, sigma: Tensor, problem: Problem) -> Sources:
        """See class.

        Raises:
            ConfigError: The degradation has no projection in closed form.
        """
        return problem.degradation.consistent(x0, problem.y)
