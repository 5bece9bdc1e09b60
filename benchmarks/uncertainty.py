"""How well `Prior.uncertainty` predicts the true error of a denoising call, on clean speech.

    python benchmarks/uncertainty.py FOLDER_OF_CLEAN_WAVS PRIOR

For each noise level: true over predicted error for the local prediction, over all bins and in the bins that
hold most of the predicted error, and for the white Gaussian prediction. 1 is perfect.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from diffsr.diffusion import Prior
from diffsr.diffusion.analytic import WhiteGaussianPrior
from diffsr.io.audio import read_audio
from diffsr.signal.levels import active_rms
from diffsr.signal.stft import STFT

LEVELS = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005)
LENGTH = 48_000


@torch.no_grad()
def main(folder: str, source: str) -> None:
    prior, stft = Prior.from_pretrained(source), STFT(512, 128)
    waves = [read_audio(path)[0][0] for path in sorted(Path(folder).glob("*.wav"))]
    x = torch.stack([wave[:LENGTH] for wave in waves if len(wave) >= LENGTH])
    x *= (prior.sigma_data / active_rms(x, prior.rate_hz))[:, None]
    white = WhiteGaussianPrior(prior.sigma_data)
    print(
        "| sigma | local, all bins | local, bins above -10 dB of sigma | white |\n| --- | --- | --- | --- |"
    )
    for level in LEVELS:
        sigma = torch.full((len(x),), level)
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        x0 = prior.denoise(x + level * noise, sigma)
        error = (stft(x) - stft(x0)).abs().square()
        local, flat = prior.uncertainty(x0, sigma, stft), white.uncertainty(x0, sigma, stft)
        unsure = local > 0.1 * stft.bin_variance(sigma.square())
        ratios = (
            error.mean() / local.mean(),
            error[unsure].mean() / local[unsure].mean(),
            error.mean() / flat.mean(),
        )
        print(f"| {level:g} | " + " | ".join(f"{float(ratio):.2f}" for ratio in ratios) + " |")


if __name__ == "__main__":
    main(*sys.argv[1:])
