"""What every state fulfils before the prior sees it: hard consistency of states, not of estimates."""

from __future__ import annotations

from typing import Protocol

import torch

from diffsr.degradations import Mixing
from diffsr.errors import ConfigError
from diffsr.samplers.problem import Problem
from diffsr.typing import Sources


class Constraint(Protocol):
    """A projection of the state; twice is the same as once."""

    def apply(self, z: Sources, problem: Problem) -> Sources:
        """`z [rows, S, T]` -> the state that fulfils it, `[rows, S, T]`."""
        ...


class EvenShare:
    """The nearest state that explains the recording as if it were clean: each talker takes an equal share.

    `z_k + (y - sum_j z_j) / S`, the projection of UnDiff (arXiv 2306.00721, source separation), in general
    `Degradation.consistent`. It takes the noise out of the sum of the states: each is left with the level
    `sigma sqrt(1 - 1 / S)`, of which the prior, told sigma, knows nothing.
    """

    def apply(self, z: Sources, problem: Problem) -> Sources:
        """See class.

        Raises:
            ConfigError: The degradation has no projection in closed form.
        """
        return problem.degradation.consistent(z, problem.y)


class Remainder:
    """One talker is what the others leave of the recording: `z_n = y - sum_(k != n) z_k`.

    The Dirac likelihood of MSDM (arXiv 2302.02257): the state of one source follows from the others. Two
    talkers are treated alike, and each state holds as much noise as the prior is told, the one minus that of
    the other. Of three or more the remainder is noisier, and gets whatever the others do not explain.

    Args:
        talker: n; counted from 0, or from the last with -1.
    """

    def __init__(self, talker: int = 0) -> None:
        self.talker = talker

    def apply(self, z: Sources, problem: Problem) -> Sources:
        """See class.

        Raises:
            ConfigError: The recording is no plain sum of the talkers, or there is no such talker.
        """
        return remainder(z, problem, self.talker)


def remainder(x: Sources, problem: Problem, talker: int) -> Sources:
    """`x [rows, S, T]` with one talker replaced by what the others leave of the recording.

    Raises:
        ConfigError: See `Remainder`.
    """
    n_talkers = x.shape[1]
    if type(problem.degradation) is not Mixing:
        raise ConfigError(
            "What the others leave is known for plain sums alone, found "
            f"{type(problem.degradation).__name__}. Use Mixing, or another guidance and constraint."
        )
    if not -n_talkers <= talker < n_talkers:
        raise ConfigError(
            f"There is no talker {talker} of {n_talkers}; expected {-n_talkers} to {n_talkers - 1}."
        )
    place = torch.tensor([talker % n_talkers], device=x.device)
    left = problem.y[:, :1] - x.index_fill(1, place, 0.0).sum(1, keepdim=True)
    return x.index_copy(1, place, left)
