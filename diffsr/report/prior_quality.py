"""How good a prior is and what it costs, on crops of one length."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffsr.diffusion import Prior
from diffsr.evaluation.tables import Summary, summarise
from diffsr.io.memory import PeakMemory
from diffsr.networks.cost import gflop_per_second
from diffsr.report.crop_scores import ScoreFile, score_crops

N_TIMED = 5


@dataclass(frozen=True)
class CallCost:
    """What one denoising call costs.

    Attributes:
        gflop_per_s: GFLOP per second of audio, two for each multiply-add.
        seconds_per_s: Wall time per second of audio, of the fastest of five calls, as other work on the
            machine can only slow a call down.
        peak_mib: Peak memory of those calls in MiB: allocated on a GPU, the whole process on a CPU.
    """

    gflop_per_s: float
    seconds_per_s: float
    peak_mib: float


@dataclass(frozen=True)
class PriorQuality:
    """Scores and cost of a prior on crops of one length.

    Attributes:
        crop_s: Length of the crops.
        n_crops: Their number.
        n_talkers: Talkers they come from; a recording without a label counts as one.
        scores: Name of a score, as in `diffsr.diffusion.validation` -> statistics with talkers as groups.
        cost: Of one call on one crop.
    """

    crop_s: float
    n_crops: int
    n_talkers: int
    scores: dict[str, Summary]
    cost: CallCost


def measure(
    prior: Prior,
    crops: Sequence[Tensor],
    talkers: Sequence[str],
    kept: ScoreFile | None = None,
    on_crop: Callable[[int], None] | None = None,
) -> PriorQuality:
    """Score a prior on crops of clean speech of one length, and time it; see `score_crops`."""
    scores = score_crops(prior, crops, talkers, kept, on_crop)
    groups = [(talker,) for talker in talkers]
    n_samples = crops[0].shape[-1]
    return PriorQuality(
        crop_s=n_samples / prior.rate_hz,
        n_crops=len(crops),
        n_talkers=len(set(talkers)),
        scores={name: summarise([crop[name] for crop in scores], groups) for name in scores[0]},
        cost=call_cost(prior, n_samples),
    )


@torch.no_grad()
def call_cost(prior: Prior, n_samples: int) -> CallCost:
    """Cost of one denoising call on one signal of `n_samples`, where the weights of the prior are."""
    device = next(prior.parameters()).device
    duration_s = n_samples / prior.rate_hz
    sigma = torch.tensor([prior.sigma_data], device=device)
    z = 2**0.5 * prior.sigma_data * torch.randn(1, n_samples, device=device)
    prior.denoise(z, sigma)  # plans of FFTs and kernels are made in the first call
    memory, took_s = PeakMemory(str(device)), []
    memory.start()
    for _ in range(N_TIMED):
        _wait_for(device)
        started_s = time.perf_counter()
        prior.denoise(z, sigma)
        _wait_for(device)
        took_s.append(time.perf_counter() - started_s)
    peak_mib = memory.mib()
    gflop = gflop_per_second(prior.network, prior.rate_hz, duration_s)
    return CallCost(gflop, min(took_s) / duration_s, peak_mib)


def _wait_for(device: torch.device) -> None:
    """GPUs compute while Python goes on."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
