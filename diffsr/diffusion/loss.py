"""The training loss of a prior."""

from __future__ import annotations

import torch
from torch import Tensor

from diffsr.diffusion.precondition import precondition
from diffsr.diffusion.prior import Prior


def denoising_loss(
    prior: Prior,
    wave: Tensor,
    sigma: Tensor,
    rng: torch.Generator,
    speaker: Tensor | None = None,
    adaptation: Tensor | None = None,
) -> Tensor:
    """Weighted squared error of denoising, per item (EDM, arXiv 2206.00364, Eq. 8 with weight 1 / c_out^2).

    Written on the raw network output, where weight and scalings cancel: the target is
    `(x - c_skip z) / c_out`, of unit variance for every sigma.

    Args:
        prior: The prior in training.
        wave: Clean speech `[B, T]`.
        sigma: Noise level of each item `[B]`.
        rng: Its numbers are drawn on the device where it lives.
        speaker: Embeddings of the talkers `[B, E]`; a row of zeros for nobody in particular.
        adaptation: Of each item, see `Prior.denoise`.

    Returns:
        Loss `[B]`; 1 is what the best constant scaling of `z` reaches on white signals.
    """
    noise = torch.randn(wave.shape, generator=rng, device=rng.device).to(wave.device)
    z = wave + sigma[:, None] * noise
    scale = precondition(sigma, prior.sigma_data)
    output = prior.output(scale.c_in[:, None] * z, scale.c_noise, speaker, adaptation)
    target = (wave - scale.c_skip[:, None] * z) / scale.c_out[:, None]
    return (output - target).square().mean(-1)
