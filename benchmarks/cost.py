"""What a prior costs: GFLOP and seconds per second of audio, and the real-time factor of the presets.

python benchmarks/cost.py PRIOR [--threads 2]
"""

from __future__ import annotations

import argparse
import time

import torch

from diffsr.api import Restorer
from diffsr.diffusion import Prior
from diffsr.networks.cost import gflop_per_second
from diffsr.recipes import PRESETS


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("prior")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--presets", nargs="*", default=["fast"], choices=list(PRESETS))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    prior = Prior.from_pretrained(options.prior)
    print(f"{gflop_per_second(prior.network, prior.rate_hz):.2f} GFLOP per second of audio and call")
    wave = 0.05 * torch.randn(1, round(8.192 * prior.rate_hz))
    prior.denoise(wave, torch.tensor([0.1]))
    started = time.perf_counter()
    for _ in range(5):
        prior.denoise(wave, torch.tensor([0.1]))
    seconds = (time.perf_counter() - started) / 5 / 8.192
    print(f"{seconds:.4f} s per second of audio and call, {options.threads} threads")
    recording = 0.05 * torch.randn(1, 10 * prior.rate_hz)
    for preset in options.presets:
        result = Restorer(prior, preset=preset, device="cpu").restore(recording, prior.rate_hz)
        print(f"{preset}: {result.n_calls} calls, real-time factor {result.seconds / 10:.2f}")


if __name__ == "__main__":
    main()
