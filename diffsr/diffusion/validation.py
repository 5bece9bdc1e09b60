"""How good a prior is, on fixed clean speech and fixed noise."""

from __future__ import annotations

import torch
from torch import Tensor

from diffsr.diffusion.loss import denoising_loss
from diffsr.diffusion.prior import Prior
from diffsr.evaluation.metrics import si_sdr_db
from diffsr.signal.levels import from_db

SIGMAS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Centres of the noise-level bands in which the loss is reported, half a decade apart."""

INPUT_SNRS_DB = (-5.0, 0.0, 5.0, 10.0)

LOSS, OUTPUT, GAIN = "loss_sigma_", "si_sdr_db_at_", "gain_db_at_"
"""How the names of scores begin; the level follows."""


@torch.no_grad()
def band_losses(prior: Prior, wave: Tensor, seed: int, speaker: Tensor | None = None) -> dict[str, Tensor]:
    """Denoising loss of each item of `wave [B, T]` at each level of `SIGMAS`, name -> `[B]`.

    The prior is told the talkers `speaker [B, E]`, if they are given.
    """
    losses = {}
    for sigma in SIGMAS:
        rng = torch.Generator(wave.device).manual_seed(seed)
        level = wave.new_full(wave.shape[:1], sigma)
        losses[f"{LOSS}{sigma:g}"] = denoising_loss(prior, wave, level, rng, speaker)
    return losses


@torch.no_grad()
def denoising_scores(prior: Prior, wave: Tensor, seed: int) -> dict[str, Tensor]:
    """SI-SDR in dB after one denoising call on speech in white noise, and its gain, name -> `[B]`.

    The noise level is set from the RMS of the whole item, so that the input SI-SDR is the nominal SNR.
    Items of silence give NaN.
    """
    outputs, gains = {}, {}
    for snr_db in INPUT_SNRS_DB:
        rng = torch.Generator(wave.device).manual_seed(seed)
        sigma = wave.square().mean(-1).sqrt().clamp_min(1e-6) * from_db(-snr_db)
        z = wave + sigma[:, None] * torch.randn(wave.shape, generator=rng, device=wave.device)
        output_db = si_sdr_db(prior.denoise(z, sigma), wave)
        outputs[f"{OUTPUT}{snr_db:+g}_db"] = output_db
        gains[f"{GAIN}{snr_db:+g}_db"] = output_db - si_sdr_db(z, wave)
    return outputs | gains


def validation_scores(prior: Prior, wave: Tensor, seed: int) -> dict[str, Tensor]:
    """All scores of each item of `wave [B, T]`; `loss` is the mean over the noise bands."""
    losses = band_losses(prior, wave, seed)
    return {
        "loss": torch.stack(list(losses.values())).mean(0),
        **losses,
        **denoising_scores(prior, wave, seed),
    }


def mean_scores(scores: dict[str, Tensor]) -> dict[str, tuple[float, int]]:
    """Name -> mean over the items that have a score, and their number; names without any are left out."""
    finite = {name: values[values.isfinite()] for name, values in scores.items()}
    return {name: (float(values.mean()), len(values)) for name, values in finite.items() if len(values)}
