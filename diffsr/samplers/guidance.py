"""Rules that turn the prior's estimate into one that also explains the observation.

All act on additive mixtures in STFT bins: exact where noise is white over a frame, a good approximation
elsewhere (the exact solution needs conjugate gradients over time).
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

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
    """The prior alone: unconditional sampling."""

    needs_gradient = False

    def correct(self, z: Sources, x0: Sources, sigma: Tensor, problem: Problem) -> Sources:
        """The estimate as it is."""
        return x0


class Proximal:
    """The most probable sources between estimate and observation, without a gradient of the network.

    `argmin_x |(Y - sum_k X_k)|^2 / v + sum_k |X_k - X0_k|^2 / r_k^2` in each bin, solved in closed form:
    the residual is split in proportion to the uncertainties, `r_k^2 / (sum_j r_j^2 + v)`. For Gaussian
    priors this is the exact posterior mean (DiffPIR, arXiv 2305.08995, Eq. 12, with the uncertainty of
    PiGDM in place of a free weight).
    """

    needs_gradient = False

    def correct(self, z: Sources, x0: Sources, sigma: Tensor, problem: Problem) -> Sources:
        """See class."""
        stft = problem.likelihood.stft
        residual = stft(problem.residual(x0))
        r2 = problem.source_variance(x0, sigma)
        gain = r2 / (r2.sum(1, keepdim=True) + problem.likelihood.variance[:, None])
        return x0 + stft.inverse(gain * residual, x0.shape[-1])


class NoisePerturbed:
    """The likelihood evaluated at the noisy state instead of at the estimate (UDiffSE, arXiv 2309.10450).

    `x0 + weight * sigma^2 * grad_z log N(Y; sum_k Z_k, v + S sigma^2)`: the state's own noise widens the
    likelihood. Cheap, but the prior is counted twice: the posterior comes out too narrow with an ODE.

    Args:
        weight: Strength of the likelihood; 1 is Bayes' rule for this approximation, 1.5 is published.
    """

    needs_gradient = False

    def __init__(self, weight: float = 1.5) -> None:
        self.weight = weight

    def correct(self, z: Sources, x0: Sources, sigma: Tensor, problem: Problem) -> Sources:
        """See class."""
        stft = problem.likelihood.stft
        residual = stft(problem.residual(z))
        state = stft.bin_variance(sigma.square())[:, None]
        gain = state / (problem.n_sources * state + problem.likelihood.variance[:, None])
        return x0 + self.weight * stft.inverse(gain * residual, x0.shape[-1])
