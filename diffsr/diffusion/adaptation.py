"""Adapting a prior to single talkers, by what has been found of them in a recording.

An embedding that is told says little of a voice. What modulates the blocks of a network (adaptive layer norm)
can say more: a constant that is added to it, one for each talker, learnt by denoising the talker's own track
while all weights stay. A condition that is learnt in place of weights is known from textual inversion
(arXiv 2208.01618); here there is no speech of the talkers but what a first search has made of the mixture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffsr.diffusion.loss import denoising_loss
from diffsr.diffusion.prior import Prior

WARM_UP_STEPS = 5
"""Over which the learning rate rises."""


@dataclass(frozen=True)
class Lesson:
    """How an adaptation is learnt.

    Attributes:
        n_steps: Steps of Adam (betas .9 and .98), each with the gradient of `n_crops` calls for each talker.
        n_crops: Crops of each talker's track in a step, of noise levels that differ.
        crop_s: Their length; at most the window of the prior.
        learning_rate: The largest; it falls to a tenth in the second half of the steps.
        sigma_high: The largest noise level.
        sigma_low: The smallest.
    """

    n_steps: int = 24
    n_crops: int = 2
    crop_s: float = 2.5
    learning_rate: float = 2e-2
    sigma_high: float = 1.5
    sigma_low: float = 0.1

    def rate(self, step: int) -> float:
        """Learning rate of a step, from 0."""
        half = self.n_steps / 2
        return self.learning_rate * min(1.0, (step + 1) / WARM_UP_STEPS, 1 - 0.9 * (step - half) / half)

    def sigmas(self, rng: torch.Generator) -> Tensor:
        """Noise levels of a step, one in each part of the logarithm, `[n_crops]`."""
        place = (torch.arange(self.n_crops) + torch.rand(self.n_crops, generator=rng)) / self.n_crops
        return self.sigma_low * torch.exp(place * math.log(self.sigma_high / self.sigma_low))


def adapted(prior: Prior, tracks: Tensor, lesson: Lesson | None = None, seed: int = 0) -> Tensor:
    """The adaptations of a prior to the talkers of a recording, `[S, *adaptation_shape]`.

    Their mean is taken off: what all talkers of a recording have in common, errors of the tracks among it,
    tells nobody from another.

    Args:
        prior: Can be adapted; stays as it is.
        tracks: What is known of the talkers `[S, T]`, at the level of the prior. Crops lie where there is
            speech.
        lesson: How it is learnt.
        seed: Of crops and noise.

    Raises:
        ValueError: A prior that cannot be adapted.
    """
    if prior.adaptation_shape is None:
        raise ValueError(f"{type(prior.network).__name__} cannot be adapted; expected a network that can.")
    lesson, rng = lesson or Lesson(), torch.Generator().manual_seed(seed)
    with torch.inference_mode(False), torch.enable_grad():
        tracks = tracks.detach().clone()
        found = tracks.new_zeros(len(tracks), *prior.adaptation_shape, requires_grad=True)
        adam = torch.optim.Adam([found], betas=(0.9, 0.98))
        size = round(min(lesson.crop_s, prior.window_s) * prior.rate_hz)
        for step in range(lesson.n_steps):
            adam.param_groups[0]["lr"] = lesson.rate(step)
            crops = crops_of(tracks, size, lesson.n_crops, rng)
            sigma = lesson.sigmas(rng).to(tracks).repeat(len(tracks))
            known = found.repeat_interleave(lesson.n_crops, 0)
            loss = denoising_loss(prior, crops.flatten(0, 1), sigma, rng, adaptation=known)
            (found.grad,) = torch.autograd.grad(loss.sum(), found)
            adam.step()
    return (found - found.mean(0, keepdim=True)).detach()


def crops_of(tracks: Tensor, size: int, n_crops: int, rng: torch.Generator) -> Tensor:
    """Crops `[S, n_crops, size]` of tracks `[S, T]`, around places that are drawn by their power."""
    n_samples = tracks.shape[-1]
    if size >= n_samples:
        return tracks[:, None].expand(-1, n_crops, -1)
    power = tracks.square().cumsum(-1).cpu()
    drawn = torch.rand(len(tracks), n_crops, generator=rng) * power[:, -1:]
    starts = (torch.searchsorted(power, drawn) - size // 2).clamp(0, n_samples - size)
    at = starts[..., None] + torch.arange(size)
    return tracks[:, None].expand(-1, n_crops, -1).gather(-1, at.to(tracks.device))
