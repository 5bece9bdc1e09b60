"""Guidance by a speaker encoder: one voice in each track, different voices in different ones."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from diffsr.samplers.gradients import unit_rms
from diffsr.samplers.guidance import Guidance, Unguided
from diffsr.samplers.problem import Problem
from diffsr.samplers.voices import SHORTEST_S, check_rate, check_segments
from diffsr.speakers import SpeakerEncoder
from diffsr.speakers.consistency import Segments
from diffsr.typing import Sources


class SpeakerGuidance:
    """Moves estimates towards one voice in each track before another guidance sees them (arXiv 2509.24395).

    `x0_k - strength sigma g_k / rms(g_k)`, `g_k` the derivative by x0_k of

        sum_k mean_ij (1 - c_ki,kj) + sum_(k < l) mean_ij c_ki,lj,

    `c` the cosines between embeddings of overlapping segments i and j of tracks k and l. Published between
    steps 75 and 175 of 200 of a variance-preserving process, thus sigma 0.58 to 1.95 at a speech RMS of 0.1,
    and with a strength of 0.09 times the deviation of the step's noise, 0.008 to 0.012. There an encoder that
    is trained for noise reads each frame of the noisy state; ours is trained for clean and denoised speech,
    so it reads segments of the denoised estimate. No gradient goes through the prior. Recordings below 0.5 s
    are left as they are.

    Args:
        encoder: What `SpeakerEncoder.from_pretrained` takes.
        guidance: What corrects the estimate afterwards; None is the prior alone.
        strength: RMS of the move of each talker in units of sigma.
        sigma_high: The level below which it begins.
        sigma_low: The level where it ends.
        segment_s: Length of a segment, at least the 0.5 s of the encoder.
        hop_s: Distance of segments.

    Raises:
        ConfigError: Segments that are too short, or a hop that is not above 0.
        CheckpointError: The encoder cannot be loaded.
    """

    def __init__(
        self,
        encoder: str | Path = "speaker-16k",
        guidance: Guidance | None = None,
        strength: float = 0.01,
        sigma_high: float = 0.97,
        sigma_low: float = 0.29,
        segment_s: float = 1.0,
        hop_s: float = 0.5,
    ) -> None:
        check_segments(type(self).__name__, segment_s, hop_s)
        self.encoder = SpeakerEncoder.from_pretrained(encoder)
        self.guidance, self.strength = guidance or Unguided(), strength
        self.sigma_high, self.sigma_low = sigma_high, sigma_low
        self.segment_s, self.hop_s = segment_s, hop_s

    @property
    def needs_gradient(self) -> bool:
        """That of the guidance within."""
        return self.guidance.needs_gradient

    def correct(self, z: Sources, x0: Sources, sigma: Tensor, problem: Problem) -> Sources:
        """See class.

        Raises:
            ConfigError: The encoder is for another rate than the prior.
        """
        check_rate(self.encoder, problem.prior.rate_hz)
        is_long = x0.shape[-1] >= round(SHORTEST_S * self.encoder.rate_hz)
        if is_long and self.sigma_low <= float(sigma.max()) <= self.sigma_high:
            x0 = x0 - self.strength * sigma[:, None, None] * unit_rms(self.gradient(x0))
        return self.guidance.correct(z, x0, sigma, problem)

    def gradient(self, x0: Sources) -> Sources:
        """Derivative of the loss of each row by its estimates, `[rows, S, T]`, detached."""
        with torch.enable_grad():
            at = x0.detach().requires_grad_(True)
            (found,) = torch.autograd.grad(self.loss(at).sum(), at)
        return found

    def loss(self, x: Sources) -> Tensor:
        """How little the tracks are one voice each, `[rows, S, T] -> [rows]`; see class."""
        embedding = Segments.of(self.encoder.to(x.device), x, self.segment_s, self.hop_s).embedding
        cosine = torch.einsum("rkie,rlje->rklij", embedding, embedding).mean((-2, -1))
        own = cosine.diagonal(dim1=1, dim2=2)
        return (1 - own).sum(-1) + (cosine.sum((1, 2)) - own.sum(-1)) / 2
