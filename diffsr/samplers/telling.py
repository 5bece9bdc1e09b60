"""Talkers as parameters: what some restarts have found of them is known to the others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor

from diffsr.diffusion import PersonalPrior, ToldPrior, WindowedPrior
from diffsr.errors import ConfigError
from diffsr.samplers.annealed import OnStep
from diffsr.samplers.voices import SHORTEST_S
from diffsr.speakers import SpeakerEncoder
from diffsr.typing import Denoiser, Sources


def can_be_told(prior: Denoiser, encoder: SpeakerEncoder, n_samples: int) -> TypeGuard[WindowedPrior]:
    """Whether a prior takes the voices of an encoder, and a recording is long enough to hear them."""
    is_heard = n_samples >= SHORTEST_S * encoder.rate_hz and prior.rate_hz == encoder.rate_hz
    return is_heard and isinstance(prior, WindowedPrior) and prior.speaker_width == encoder.embedding_dim


class Telling(ABC):
    """How the later half of the restarts knows the talkers that the first half has found.

    What the first ones give together has a voice in each track, right more often than any of them. Known
    within a restart, from its own estimates, the same does harm: it holds on to what it did wrong
    (docs/separation_trials.md).

    Attributes:
        n_calls: Calls of the prior that it takes for a recording before the later half begins.
    """

    n_calls: int = 0

    @abstractmethod
    def takes(self, prior: Denoiser, n_samples: int) -> bool:
        """Whether a prior can know talkers in this way, and a recording is long enough for it."""

    @abstractmethod
    def told(
        self, prior: WindowedPrior, tracks: Sources, n_restarts: int, on_step: OnStep | None = None
    ) -> PersonalPrior:
        """The prior that knows the talkers of tracks `[K, S, T]`, for `n_restarts` rows of each recording."""

    def n_untold(self, prior: Denoiser, n_restarts: int, n_samples: int) -> int:
        """How many restarts come first: half, at least two; all of them where nobody can be told."""
        return min(max(n_restarts // 2, 2), n_restarts) if self.takes(prior, n_samples) else n_restarts


class TellVoices(Telling):
    """M-step on the talkers: the embeddings of the voices that the first restarts have found.

    The first half of the restarts is told nothing, the other half is told those (`ToldPrior`).

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

    def takes(self, prior: Denoiser, n_samples: int) -> bool:
        """Whether a prior takes the voices of this encoder, and a recording is long enough to hear them."""
        return can_be_told(prior, self.encoder, n_samples)

    def voices(self, tracks: Sources) -> Tensor:
        """Of tracks `[K, S, T]`, `[K, S, E]`."""
        heard = torch.where(tracks.isfinite(), tracks, 0.0)
        return self.encoder.to(tracks.device)(heard.flatten(0, 1)).unflatten(0, heard.shape[:2])

    def told(
        self, prior: WindowedPrior, tracks: Sources, n_restarts: int, on_step: OnStep | None = None
    ) -> ToldPrior:
        """See `Telling`."""
        voices = self.voices(tracks).repeat_interleave(n_restarts, 0)
        return ToldPrior(prior, voices, self.weight, self.sigma_low)


class KnownVoices(TellVoices):
    """All restarts are told voices that are known from elsewhere.

    Args:
        known: `[S, E]`, the same for all recordings.
        others: See `TellVoices`.
    """

    def __init__(self, known: Tensor, **others: Any) -> None:  # noqa: ANN401 - of `TellVoices`
        super().__init__(**others)
        self.known = known

    @classmethod
    def of(cls, known: Tensor, like: Telling | None) -> KnownVoices:
        """As strongly as another one tells the voices that it finds."""
        if not isinstance(like, TellVoices):
            return cls(known)
        return cls(known, weight=like.weight, sigma_low=like.sigma_low)

    def n_untold(self, prior: Denoiser, n_restarts: int, n_samples: int) -> int:
        """None, if the prior takes talkers."""
        return 0 if self.takes(prior, n_samples) else n_restarts

    def voices(self, tracks: Sources) -> Tensor:
        """The known ones for each of K recordings; of the tracks `[K, S, T]` only their number counts."""
        return self.known.to(tracks).expand(len(tracks), -1, -1)
