"""How much of what the best restart has over the mean signs of it recover, that need no reference.

    python benchmarks/ranking.py DATA                                        # 4 restarts of 20 valid items
    python benchmarks/ranking.py DATA --cut_s 4 --count 8 --restarts 16

Signs of a restart, each computed on it alone but for agreement and nearness:

* voices      one voice in each track (`OneVoice`)
* agreement   mean SI-SDR with the other restarts
* nearness    SI-SDR with what is made of all of them
* prior       the prior's own denoising loss of its talkers, in noise of sigma 0.05, 0.1 and 0.2
* likelihood  what the talkers leave of the mixture
* residual    what the prior's estimates of both, made out of noise of sigma 0.35, 0.5 and 0.65, leave of the
              mixture: a pair of talkers that is not in it should explain less

Sums of several signs are of standardised ones (over the restarts of an item). The same restarts as those of
`benchmarks/separation.py` with the same options, kept in --output. One CPU thread: set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from separation import restarts_of, sounds
from torch import Tensor

from diffsr.diffusion import Prior
from diffsr.diffusion.devices import PRECISIONS
from diffsr.diffusion.windowed import WindowedPrior
from diffsr.evaluation.item import score_item
from diffsr.recipes import make_recipe
from diffsr.samplers import OneVoice
from diffsr.samplers.ranking import mean_agreement_db, nearness_db

PRIOR_SIGMAS = (0.05, 0.1, 0.2)
RESIDUAL_SIGMAS = (0.35, 0.5, 0.65)
DRAWS = 2
"""Of noise at each level, the same ones for all restarts."""
SIGNS = ("voices", "agreement", "nearness", "prior", "likelihood", "residual")
SUMS = 3
"""Signs in a sum, at most."""


def main() -> None:
    """Make or read restarts, and print what each sign and each sum of signs recovers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--count", type=int, default=20, help="of the valid items, the stratified 20 first")
    parser.add_argument("--skip", type=int, default=0, help="of these")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="float32", choices=PRECISIONS)
    parser.add_argument("--restarts", type=int, default=4)
    parser.add_argument("--cut_s", type=float, default=0.0)
    parser.add_argument("--output", default="runs/separation")
    parser.set_defaults(
        task="separate", split="valid", preset="default", prior="speech-16k-fast", talkers=2,
        quieter_db=0.0, silent_share=0.0, long_s=0.0,
    )  # fmt: skip
    options = parser.parse_args()
    prior = WindowedPrior(Prior.from_pretrained(options.prior), 8.192)
    items = []
    for name, mixture, talkers in sounds(options):
        restarts = restarts_of("default", mixture, name, options)
        gains = gains_of(restarts, talkers, mixture[0])
        items.append((gains, signs_of(restarts, mixture[0], prior)))
    report(items)


def gains_of(restarts: Tensor, reference: Tensor, mixture: Tensor) -> np.ndarray:
    """Improvement of SI-SDR of each restart, dB."""
    scored = [score_item(one, reference, 16000, mixture, ["si_sdr_db"]) for one in restarts]
    return np.array([row.output["si_sdr_db"] - row.input["si_sdr_db"] for row in scored])


@torch.no_grad()
def signs_of(restarts: Tensor, mixture: Tensor, prior: WindowedPrior) -> dict[str, np.ndarray]:
    """Every sign of the restarts `[R, S, T]`, larger where it speaks for one."""
    joiner = make_recipe("separate").joiner
    heard = OneVoice().scores(restarts)
    joined = joiner(restarts, heard, 16000) if joiner is not None else restarts.mean(0)
    scale = prior.sigma_data / restarts.square().mean((0, 2)).mean().sqrt()
    x, y = scale * restarts, scale * mixture
    found = {
        "voices": heard,
        "agreement": mean_agreement_db(restarts),
        "nearness": nearness_db(restarts, joined),
        "prior": -torch.stack([lost(x, sigma, prior) / sigma**2 for sigma in PRIOR_SIGMAS]).mean(0),
        "likelihood": -(y - x.sum(1)).square().mean(-1),
        "residual": -torch.stack([left(x, y, sigma, prior) for sigma in RESIDUAL_SIGMAS]).mean(0),
    }
    return {name: value.double().numpy() for name, value in found.items()}


def denoised(x: Tensor, sigma: float, prior: WindowedPrior, draw: int) -> Tensor:
    """The prior's estimates of `x [R, S, T]` out of noise that all restarts share."""
    noise = torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(draw))
    return torch.stack([prior.denoise(one + sigma * noise, torch.full(x.shape[1:2], sigma)) for one in x])


def lost(x: Tensor, sigma: float, prior: WindowedPrior) -> Tensor:
    """Denoising loss, mean over talkers, time and draws, `[R]`."""
    draws = [(denoised(x, sigma, prior, draw) - x).square().mean((1, 2)) for draw in range(DRAWS)]
    return torch.stack(draws).mean(0)


def left(x: Tensor, y: Tensor, sigma: float, prior: WindowedPrior) -> Tensor:
    """Energy of the mixture that the estimates leave, mean over time and draws, `[R]`."""
    draws = [(y - denoised(x, sigma, prior, draw).sum(1)).square().mean(-1) for draw in range(DRAWS)]
    return torch.stack(draws).mean(0)


def report(items: list[tuple[np.ndarray, dict[str, np.ndarray]]]) -> None:
    """Print the share of the gap between mean and best that each choice recovers, over all items."""
    mean = np.mean([gains.mean() for gains, _ in items])
    best = np.mean([gains.max() for gains, _ in items])
    print(f"{len(items)} items: mean {mean:.2f} dB, best {best:.2f} dB")
    for size in range(1, SUMS + 1):
        rows = []
        for names in combinations(SIGNS, size):
            chosen = [gains[summed(signs, names).argmax()] for gains, signs in items]
            rows.append(((np.mean(chosen) - mean) / (best - mean), " + ".join(names)))
        for share, name in rows if size == 1 else sorted(rows, reverse=True)[:6]:
            print(f"{share:5.0%}  {name}")


def summed(signs: dict[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Standardised signs, one on the other."""
    return np.sum([standard(signs[name]) for name in names], axis=0)


def standard(values: np.ndarray) -> np.ndarray:
    """Without mean, with a standard deviation of 1; all equal say nothing."""
    values = np.nan_to_num(values, nan=float(np.nanmin(values)) if np.isfinite(values).any() else 0.0)
    spread = values.std()
    return (values - values.mean()) / spread if spread > 1e-6 * abs(values.mean()) else np.zeros_like(values)


if __name__ == "__main__":
    main()
