"""Talkers as parameters: their voices, found by some restarts, are told to others."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from diffsr.diffusion import ToldPrior, WindowedPrior
from diffsr.errors import ConfigError
from diffsr.samplers.voices import SHORTEST_S
from diffsr.speakers import SpeakerEncoder
from diffsr.typing import Denoiser, Sources


class TellVoices:
    """M-step on the talkers: the embeddings of the voices that the first restarts have found.

    The first half of the restarts is told nothing. What they give together has a voice in each track,
    right more often than any of them; the other half is told those (`ToldPrior`). Told within a restart,
    from its own estimates, the same does harm: it holds on to what it did wrong (docs/separation.md).

    Args:
        weight: How much a voice is exaggerated, see `ToldPrior`.
        sigma_low: Noise level below which nobody is told.
        encoder: What `SpeakerEncoder.from_pretrained` takes; the prior must have been trained with it.

    Raises:
        ConfigError: A weight that is not above 0.
        CheckpointError: The encoder cannot be loaded.
    """

    def __init__(
        self, weight: float = 6.0, sigma_low: float = 0.25, encoder: str | Path = "speaker-16k"
    ) -> None:
        if not weight > 0:
            raise ConfigError(f"TellVoices has a weight of {weight:g}; expected a number above 0.")
        self.weight, self.sigma_low = weight, sigma_low
        self.encoder = SpeakerEncoder.from_pretrained(encoder)

    def n_untold(self, prior: Denoiser, n_restarts: int, n_samples: int) -> int:
        """How many restarts come first: half, at least two.

        All of them where nobody can be told: the prior takes no talkers, or those of another encoder, or the
        recording of `n_samples` is too short to hear a voice in.
        """
        takes = isinstance(prior, WindowedPrior) and prior.speaker_width == self.encoder.embedding_dim
        is_heard = n_samples >= SHORTEST_S * self.encoder.rate_hz and prior.rate_hz == self.encoder.rate_hz
        return min(max(n_restarts // 2, 2), n_restarts) if takes and is_heard else n_restarts

    def told(self, prior: WindowedPrior, tracks: Sources, n_restarts: int) -> ToldPrior:
        """The prior that knows the voices in tracks `[K, S, T]`, for rows of `n_restarts` each."""
        heard = torch.where(tracks.isfinite(), tracks, 0.0)
        encoder = self.encoder.to(tracks.device)
        voices: Tensor = encoder(heard.flatten(0, 1)).unflatten(0, heard.shape[:2])
        return ToldPrior(prior, voices.repeat_interleave(n_restarts, 0), self.weight, self.sigma_low)
