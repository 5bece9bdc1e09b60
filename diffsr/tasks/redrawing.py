"""Speech as a search with a prior hears it: estimates from noisy states, in place of recordings."""

from __future__ import annotations

import torch
from torch import Tensor

from diffsr.diffusion import Prior
from diffsr.errors import ConfigError


class Redrawing:
    """Sends waves through one call of a prior each, at a random noise level.

    A search hears estimates, not recordings: without seams where its tracks change places, as the prior goes
    over them at every level, without what the noise of the level hides, and with what the prior makes up. One
    call does the same to clean speech: no mixture is made.

    It is no `nn.Module`: what trains, averages or saves a module that holds it does not see the prior.

    Args:
        prior: What `Prior.from_pretrained` takes.
        share: Share of a batch that is redrawn; the training that holds this applies it.
        sigma: Range of the noise level, log-uniform, where speech is at the level that the prior expects.

    Raises:
        CheckpointError: There is no such prior.
        ConfigError: `share` or `sigma` is out of range.
    """

    def __init__(
        self,
        prior: str = "speech-16k-fast",
        share: float = 0.5,
        sigma: tuple[float, float] = (0.02, 0.15),
    ) -> None:
        if not 0 <= share <= 1:
            raise ConfigError(f"Redrawing has share = {share:g}; expected a number from 0 to 1.")
        if not 0 < sigma[0] <= sigma[1]:
            raise ConfigError(
                f"Redrawing has sigma = {sigma}; expected two numbers above 0, the smaller first."
            )
        self.prior = Prior.from_pretrained(prior).eval().requires_grad_(False)
        self.share, self.sigma = share, sigma

    def check_rate(self, rate_hz: int, what: str) -> None:
        """Make sure that the prior is for what is trained, such as "the tracker".

        Raises:
            ConfigError: It is for another rate.
        """
        if self.prior.rate_hz != rate_hz:
            raise ConfigError(
                f"The prior that redraws is for {self.prior.rate_hz} Hz, and {what} for {rate_hz} Hz. Use a "
                "prior of the same rate, or none."
            )

    @torch.no_grad()
    def __call__(self, waves: Tensor, rng: torch.Generator) -> Tensor:
        """Redraw waves `[B, S, T]`, at a noise level for each of the batch; silence stays silent."""
        prior = self.prior.to(waves.device)
        level = waves.square().mean((1, 2), keepdim=True).sqrt().clamp_min(1e-12) / prior.sigma_data
        low, high = self.sigma
        drawn = torch.rand(len(waves), 1, generator=rng, device=waves.device)
        sigma = (low * (high / low) ** drawn).expand(-1, waves.shape[1])
        noise = torch.randn(waves.shape, generator=rng, device=waves.device)
        return level * prior.denoise(waves / level + sigma[..., None] * noise, sigma)
