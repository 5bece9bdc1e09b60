"""Damage without noise: clipping, lost packets, missing upper bands."""

from __future__ import annotations

from diffsr.degradations import Degradation
from diffsr.likelihoods import Likelihood
from diffsr.recipes import Recipe
from diffsr.samplers import AnnealedSampler
from diffsr.tasks.restoration import RestorationModule


class RepairModule(RestorationModule):
    """Undoes one known kind of damage; what was recorded stays as it is.

    Args:
        prior: A prior that ships (`speech-16k-fast`), a prior folder or a checkpoint.
        sampler: The loop with its schedule, guidance, solver and M-steps.
        degradation: The damage: `Clipping` and `PacketLoss` are found in each recording.
        likelihood: Noise model.
        output: Folder to write to.
        seed: Seed of the posterior samples.
        overwrite: Whether to restore again what is there already.
        channels: `each` restores every channel, `mean` their average, a number that channel alone.
    """

    def __init__(
        self,
        prior: str,
        sampler: AnnealedSampler,
        degradation: Degradation,
        likelihood: Likelihood,
        output: str = "restored",
        seed: int = 0,
        overwrite: bool = False,
        channels: str | int = "each",
    ) -> None:
        super().__init__(prior, Recipe(sampler, likelihood, degradation), output, seed, overwrite, channels)
