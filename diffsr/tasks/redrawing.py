"""Tracks as a search with the prior leaves them: seams that are healed, and what the prior does to voices."""

from __future__ import annotations

import torch
from torch import Tensor

from diffsr.diffusion import Prior
from diffsr.errors import ConfigError
from diffsr.speakers.exchanges import Plan
from diffsr.speakers.pair_bands import PairBands


class Redrawing:
    """Sends tracks whose voices change places through one call of a prior each.

    A search leaves no seam where its tracks change places, since the prior goes over it at every level. One
    call at small noise does the same to tracks of clean voices, each by itself: no mixture is made.

    It is no `nn.Module`: what trains, averages or saves a module that holds it does not see the prior.

    Args:
        prior: What `Prior.from_pretrained` takes.
        share: Share of the pairs of a batch that are redrawn.
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

    def __call__(self, waves: Tensor, plan: Plan, bands: PairBands, rng: torch.Generator) -> Tensor:
        """Powers `[B, 2, M, N]` of the tracks that a plan makes of voices `[B, 2, T]`, redrawn."""
        prior = self.prior.to(waves.device)
        tracks = bands.stft.inverse(plan.of_spectra(bands.stft(waves), bands.band_of_bin), waves.shape[-1])
        level = tracks.square().mean((1, 2), keepdim=True).sqrt().clamp_min(1e-12) / prior.sigma_data
        low, high = self.sigma
        drawn = torch.rand(len(waves), 1, generator=rng, device=waves.device)
        sigma = (low * (high / low) ** drawn).expand(-1, 2)
        noise = torch.randn(tracks.shape, generator=rng, device=waves.device)
        return bands(level * prior.denoise(tracks / level + sigma[..., None] * noise, sigma))
