"""Published rules for talkers in one channel, without a gradient of the network: MSDM.

arXiv 2302.02257. `docs/separation_rules.md` tells what could not carry over.
"""

from __future__ import annotations

from torch import Tensor

from diffsr.errors import ConfigError
from diffsr.samplers.constraint import remainder
from diffsr.samplers.guidance import Proximal
from diffsr.samplers.problem import Problem
from diffsr.typing import Sources


class Dirac:
    """One talker n is what the others leave, and the others feel its score (MSDM Dirac, arXiv 2302.02257).

    The score of talker k becomes `s_k(z_k) - s_n(y - sum_(j != n) z_j)` with `s_k = (x0_k - z_k) / sigma^2`:
    the derivative of the log density of all states with the constraint put in. As an estimate

        x0'_k = x0_k + z_n - x0_n,      x0'_n = y - sum_(k != n) x0'_k,

    so that estimates and states sum to the recording exactly. Give the sampler the constraint `Remainder` of
    the same talker. The noise of z_n is minus that of the others, but counts as noise of its own: with an ODE
    the spread of Gaussian posteriors vanishes, and talkers of unequal power come out too equal. Fresh noise
    at each level (`Resample`, churn) makes up for both.

    Args:
        talker: n; counted from 0, or from the last with -1. Published: 0.
        share_below: Noise level, that of the state with its fresh noise, below which the estimates stay what
            they are, and what they leave of the recording is shared by their uncertainties, as `Proximal`
            does. In pauses x0' holds the noise of the state, which is heard at the last level; the estimates
            do not. Published: never.
    """

    needs_gradient = False

    def __init__(self, talker: int = 0, share_below: float = 0.0) -> None:
        self.talker, self.share_below = talker, share_below

    def correct(self, z: Sources, x0: Sources, sigma: Tensor, problem: Problem) -> Sources:
        """See class.

        Raises:
            ConfigError: The recording is no plain sum of the talkers, or there is no such talker.
        """
        if float(sigma.max()) < self.share_below:
            return remainder(Proximal().correct(z, x0, sigma, problem), problem, self.talker)
        z = remainder(z, problem, self.talker)
        return remainder(x0 + (z - x0)[:, self.talker, None], problem, self.talker)


class StateLikelihood:
    """A Gaussian likelihood of the noisy state whose width follows the noise (MSDM Gaussian).

    `log N(y; A z, (gamma sigma)^2)` enters the score with the factor 1/2 of arXiv 2302.02257:
    `x0 + A' (y - A z) / (2 gamma^2)`. Without noise, and for S talkers, it is
    `NoisePerturbed(weight=S / (2 gamma^2))`; that one knows noise.

    Args:
        gamma: Width of the likelihood in units of sigma; 0.75 is published for separate priors.

    Raises:
        ConfigError: gamma is not above 0.
    """

    needs_gradient = False

    def __init__(self, gamma: float = 0.75) -> None:
        if not gamma > 0:
            raise ConfigError(f"StateLikelihood has gamma = {gamma:g}; expected a number above 0.")
        self.weight = 1 / (2 * gamma**2)

    def correct(self, z: Sources, x0: Sources, sigma: Tensor, problem: Problem) -> Sources:
        """See class.

        Raises:
            ConfigError: The degradation is not linear.
        """
        return x0 + self.weight * problem.degradation.adjoint(problem.residual(z))
