"""The start of unasdiff: one noised recording for all talkers."""

from __future__ import annotations

from diffsr.samplers.initialise import Initialiser
from diffsr.samplers.problem import Problem
from diffsr.typing import Sources


class FromNoisedMixture(Initialiser):
    """The recording with the same noise for every talker: `gain y + noise sigma_max e` (arXiv 2512.07226).

    Published: the recording noised to step 149 of 200 of a variance-preserving process, taken for a state of
    step 199. Divided by the factor of the process at step 199 the recording is 1.56 times itself, and the
    noise 0.885 times the level that the prior is told. All talkers start equal: only fresh noise of the
    solver tells them apart (`Ancestral`, or churn).

    Args:
        gain: Factor of the recording in each talker.
        noise: Level of the noise in units of sigma_max.
    """

    def __init__(self, gain: float = 1.56, noise: float = 0.885) -> None:
        self.gain, self.noise = gain, noise

    def __call__(self, problem: Problem, sigma_max: float) -> Sources:
        """See `Initialiser`."""
        wave = problem.y[:, :1]
        state = self.gain * wave + self.noise * sigma_max * problem.noise.normal_like(wave)
        return state.expand(-1, problem.n_sources, -1).clone()
