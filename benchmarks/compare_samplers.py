"""Guidance, solver and noise updates of `enhance`, side by side on the same recordings with the same prior.

    python benchmarks/make_mixtures.py DATA valid mixtures/valid
    python benchmarks/compare_samplers.py mixtures/valid PRIOR [--only NAME ...] [--steps 60]

Prints SI-SDR improvement (mean, worst, share made worse) and ESTOI change for each variant. `known noise`
rows give the sampler the true noise power, smoothed over 9 frames: an oracle that shows what the noise
estimate costs.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from diffsr.api import Restorer
from diffsr.diffusion import Prior
from diffsr.evaluation.metrics import estoi, si_sdr_db
from diffsr.io.audio import read_audio
from diffsr.likelihoods import NMFNoise
from diffsr.recipes import Recipe
from diffsr.samplers import AnnealedSampler, NoisePerturbed, Proximal, Renoise, UpdateNoise
from diffsr.samplers.guidance import Guidance


class KnownNoise(NMFNoise):
    """Oracle: the power of the true noise, scaled to the level at which the sampler works."""

    def __init__(self) -> None:
        super().__init__()
        self.noisy, self.noise = torch.empty(0), torch.empty(0)

    def reset(self, y: Tensor, item_of_row: Tensor) -> None:
        noise = self.noise * (y[0, 0].norm() / self.noisy.norm())
        power = self.stft(noise).abs().square()[None]
        self.known = F.avg_pool2d(power, (3, 9), stride=1, padding=(1, 4), count_include_pad=False)[0] + 1e-10

    @property
    def variance(self) -> Tensor:
        return self.known

    def update(self, residual: Tensor, extra_variance: Tensor) -> None:
        pass


def variants(n_steps: int) -> dict[str, Recipe]:
    def sampler(guidance: Guidance, **options: Any) -> AnnealedSampler:
        return AnnealedSampler(guidance, **{"n_steps": n_steps, "churn": 0.0, **options})

    always = UpdateNoise(sigma_start=10.0)
    return {
        "noise_perturbed 1.5, churn 2 (default)": Recipe(sampler(NoisePerturbed(), churn=2.0)),
        "noise_perturbed 1.5, churn 1": Recipe(sampler(NoisePerturbed(), churn=1.0)),
        "noise_perturbed 1.5, churn 4": Recipe(sampler(NoisePerturbed(), churn=4.0)),
        "noise_perturbed 1.5, ODE": Recipe(sampler(NoisePerturbed())),
        "noise_perturbed 1, churn 2": Recipe(sampler(NoisePerturbed(1.0), churn=2.0)),
        "proximal, ODE": Recipe(sampler(Proximal())),
        "proximal, churn 2": Recipe(sampler(Proximal(), churn=2.0)),
        "proximal, mean re-noising": Recipe(sampler(Proximal(), solver=Renoise(sampled=False))),
        "proximal, sampled re-noising": Recipe(sampler(Proximal(), solver=Renoise(sampled=True))),
        "default, noise model as it starts": Recipe(sampler(NoisePerturbed(), churn=2.0, estimators=[])),
        "default, noise updated at all levels": Recipe(
            sampler(NoisePerturbed(), churn=2.0, estimators=[always])
        ),
        "default, noise from the 10 % quantile": Recipe(
            sampler(NoisePerturbed(), churn=2.0), NMFNoise(quantile=0.1, bias=1.5)
        ),
        "default, known noise (oracle)": Recipe(sampler(NoisePerturbed(), churn=2.0), KnownNoise()),
        "proximal, mean re-noising, known noise (oracle)": Recipe(
            sampler(Proximal(), solver=Renoise(sampled=False)), KnownNoise()
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("mixtures", type=Path)
    parser.add_argument("prior")
    parser.add_argument("--only", nargs="*", default=[], help="parts of names")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--count", type=int, default=None)
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    prior = Prior.from_pretrained(options.prior)
    files = sorted((options.mixtures / "noisy").glob("*.wav"))[: options.count]
    pairs = [(read_audio(f)[0], read_audio(options.mixtures / "clean" / f.name)[0]) for f in files]
    print(f"| {len(pairs)} recordings, {options.steps} calls | SI-SDRi mean | worst | made worse | ESTOI |")
    print("| --- | --- | --- | --- | --- |")
    for name, recipe in variants(options.steps).items():
        if not options.only or any(part in name for part in options.only):
            print(row(name, prior, recipe, pairs), flush=True)


def row(name: str, prior: Prior, recipe: Recipe, pairs: list[tuple[Tensor, Tensor]]) -> str:
    restorer = Restorer(prior, recipe=recipe, device="cpu", precision="float32")
    gains, clarity = [], []
    for index, (noisy, clean) in enumerate(pairs):
        if isinstance(recipe.likelihood, KnownNoise):
            recipe.likelihood.noisy, recipe.likelihood.noise = noisy, noisy - clean
        restored = restorer.restore(noisy, 16_000, f"{index:02d}").wave
        gains.append(float(si_sdr_db(restored, clean) - si_sdr_db(noisy, clean)))
        clarity.append(float(estoi(restored, clean, 16_000) - estoi(noisy, clean, 16_000)))
    gain, change = torch.tensor(gains), torch.tensor(clarity)
    worse = float((gain < 0).float().mean())
    return f"| {name} | {gain.mean():.2f} | {gain.min():.2f} | {worse:.0%} | {change.nanmean():+.3f} |"


if __name__ == "__main__":
    main()
