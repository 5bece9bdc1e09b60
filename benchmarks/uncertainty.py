"""How well `Prior.uncertainty` predicts the true error of a denoising call, on clean speech.

    python benchmarks/uncertainty.py PRIOR SPEECH [--count 24] [--calibrate VALID_SPEECH]

SPEECH and VALID_SPEECH are manifests or folders. For each noise level: true over predicted error (1 is
perfect) and the mean of `ln(r^2/u) + |X - X0|^2 / r^2`, the negative log-likelihood of Gaussian errors,
which is low where the prediction is right in each bin and not only on average; u is the white prediction.
Predictions: `white` Gaussian prior, `local` formula, `table` of the prior (of its folder, or measured here on
VALID_SPEECH). Bins predicted more than 60 dB below u count as 60 dB below. Last, the time of one call
beside that of a denoising call.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from diffsr.api import load_prior
from diffsr.commands.validate import choose_rows, fixed_crops
from diffsr.diffusion import Prior
from diffsr.diffusion.calibration import local_uncertainty, white_uncertainty
from diffsr.diffusion.calibration_measure import Agreement, ErrorSums
from diffsr.report.calibration import agreement_markdown
from diffsr.signal.stft import STFT

LEVELS = (1e-4, 0.001, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 3.0, 10.0)
LEAST = 1e-6
N_TIMED = 7

Prediction = Callable[[Tensor, Tensor, STFT], Tensor]


def crops_of(source: str, prior: Prior, count: int, crop_s: float) -> list[Tensor]:
    [crops] = fixed_crops(choose_rows(source, None)[0], prior, [crop_s], count)
    return [crops[index]["wave"] for index in range(len(crops))]


def predictions_of(prior: Prior) -> dict[str, Prediction]:
    def white(x0: Tensor, sigma: Tensor, stft: STFT) -> Tensor:
        return stft.bin_variance(white_uncertainty(sigma, prior.sigma_data))

    found: dict[str, Prediction] = {"white": white, "local": local_uncertainty}
    return found | ({} if prior.calibration is None else {"table": prior.calibration})


@torch.no_grad()
def agreement_on(prior: Prior, waves: list[Tensor], stft: STFT) -> Agreement:
    predictions = predictions_of(prior)
    sums = torch.zeros(len(predictions), len(LEVELS), 3, dtype=torch.float64)
    n_edge = -(-(stft.n_fft // 2) // stft.hop_samples)
    total = 0
    for seed, wave in enumerate(waves):
        rng = torch.Generator().manual_seed(10_000 + seed)  # not the noise that a table is measured with
        for row, level in enumerate(LEVELS):
            sigma = torch.full((1,), level)
            x0 = prior.denoise(wave[None] + level * torch.randn(wave.shape, generator=rng), sigma)
            unit = stft.bin_variance(white_uncertainty(sigma, prior.sigma_data))
            error = (stft(wave - x0).abs().square() / unit)[..., n_edge:-n_edge].double()
            for column, predict in enumerate(predictions.values()):
                r2 = (predict(x0, sigma, stft) / unit).expand(*x0.shape[:-1], *stft(x0).shape[-2:])
                r2 = r2[..., n_edge:-n_edge].double().clamp_min(LEAST)
                sums[column, row] += torch.stack([error.sum(), r2.sum(), (r2.log() + error / r2).sum()])
        total += error.numel()
    return Agreement(
        sigmas=list(LEVELS),
        ratio={
            name: (part[:, 0] / part[:, 1]).tolist() for name, part in zip(predictions, sums, strict=True)
        },
        score={name: (part[:, 2] / total).tolist() for name, part in zip(predictions, sums, strict=True)},
    )


@torch.no_grad()
def cost(prior: Prior, wave: Tensor, stft: STFT) -> str:
    sigma = torch.full((1,), 0.05)
    x0 = wave[None]
    calls: dict[str, Callable[[], Tensor]] = {"denoise": lambda: prior.denoise(x0, sigma)}
    for name, predict in predictions_of(prior).items():
        calls[name] = partial(predict, x0, sigma, stft)
    took_ms = {}
    for name, call in calls.items():
        call()
        times_s = []
        for _ in range(N_TIMED):
            started_s = time.perf_counter()
            call()
            times_s.append(time.perf_counter() - started_s)
        took_ms[name] = 1000 * min(times_s)
    return ", ".join(f"{name} {value:.2f} ms" for name, value in took_ms.items())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("prior")
    parser.add_argument("speech")
    parser.add_argument("--calibrate")
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--crop_s", type=float, default=4.096)
    parser.add_argument("--stft", type=int, nargs=2, default=(512, 128), metavar=("N_FFT", "HOP_SAMPLES"))
    options = parser.parse_args()
    prior, stft = load_prior(options.prior), STFT(*options.stft)
    if options.calibrate:
        sums = ErrorSums()
        for wave in crops_of(options.calibrate, prior, options.count, options.crop_s):
            sums.add(prior, wave)
        prior.calibration = sums.table(prior.rate_hz, prior.sigma_data)
    waves = crops_of(options.speech, prior, options.count, options.crop_s)
    print(agreement_markdown(agreement_on(prior, waves, stft)))
    print(f"\n{len(waves)} crops of {options.crop_s:g} s, STFT {stft.n_fft}/{stft.hop_samples}.")
    print(f"One call on {options.crop_s:g} s, the fastest of {N_TIMED}: {cost(prior, waves[0], stft)}.")


if __name__ == "__main__":
    main()
