"""Damages clean speech, repairs it and prints how near the repair comes to the original.

    python benchmarks/repair.py speech_valid.csv PRIOR [--count 20] [--preset fast]
    python benchmarks/repair.py speech_valid.csv PRIOR --count 6 --samplers    # which guidance and solver

The damage of each crop of 3 s: clipping at an input SDR of 3 dB; 20 % of the time lost in gaps of 20 to
60 ms; an ideal low-pass at 4 kHz. Scores are means: SI-SDR for clipping and gaps; for the low-pass the
log-spectral distance, the mean over frames of the RMS over bins of the difference of the levels in dB, which
count from 80 dB below the loudest bin of the original.
`interpolated` draws a straight line through what is lost.
"""

from __future__ import annotations

import argparse
import csv
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffsr.api import Restorer
from diffsr.degradations import LowPass
from diffsr.diffusion import Prior
from diffsr.evaluation.metrics import si_sdr_db
from diffsr.io.audio import read_audio
from diffsr.recipes import PRESETS, Recipe, make_recipe
from diffsr.samplers import Ancestral, AnnealedSampler, Projection, Proximal, Renoise
from diffsr.signal.resampling import resample
from diffsr.signal.stft import STFT

CROP_S = 3.0
INPUT_SDR_DB = 3.0
LOST_SHARE = 0.2
GAP_MS = (20.0, 60.0)
CUTOFF_HZ = 4000.0
RANGE_DB = 80.0


def clip(wave: Tensor) -> Tensor:
    """`[1, T]`, cut off at the level that gives the input SDR."""
    low, high = 0.0, float(wave.abs().max())
    for _ in range(40):
        level = (low + high) / 2
        error = wave - wave.clamp(-level, level)
        is_too_much = wave.norm() < 10 ** (INPUT_SDR_DB / 20) * error.norm()
        low, high = (level, high) if is_too_much else (low, level)
    return wave.clamp(-high, high)


def lose(wave: Tensor, rate_hz: int, seed: int) -> Tensor:
    """`[1, T]` with gaps until the share is reached; the ends stay."""
    rng = np.random.default_rng(seed)
    n_samples = wave.shape[-1]
    received = np.ones(n_samples, dtype=bool)
    while received.mean() > 1 - LOST_SHARE:
        length = round(rng.uniform(*GAP_MS) * rate_hz / 1000)
        start = int(rng.integers(rate_hz // 50, n_samples - length - rate_hz // 50))
        received[start : start + length] = False
    return wave * torch.from_numpy(received)


def interpolate(wave: Tensor, lost: Tensor) -> Tensor:
    """A straight line through each run of lost samples."""
    times = np.arange(wave.shape[-1])
    kept = ~lost[0].numpy()
    line = np.interp(times, times[kept], wave[0].numpy()[kept])
    return torch.from_numpy(line).to(wave)[None]


def log_spectral_distance_db(estimate: Tensor, reference: Tensor) -> float:
    """See above, `[1, T]`."""
    stft = STFT(512, 128)
    powers = [stft(wave).abs().square() for wave in (estimate, reference)]
    floor = powers[1].max() * 10 ** (-RANGE_DB / 10)
    levels = [10 * power.maximum(floor).log10() for power in powers]
    return float((levels[0] - levels[1]).square().mean(-2).sqrt().mean())


class Repair:
    """One kind of damage, and what undoes it."""

    def __init__(self, task: str, rate_hz: int) -> None:
        self.task, self.rate_hz = task, rate_hz

    def damage(self, wave: Tensor, index: int) -> Tensor:
        if self.task == "declip":
            return clip(wave)
        return lose(wave, self.rate_hz, index) if self.task == "packet_loss" else self._low_pass(wave)

    def baseline(self, damaged: Tensor) -> Tensor:
        if self.task == "declip":
            return interpolate(damaged, damaged.abs() >= 0.9999 * damaged.abs().max())
        return interpolate(damaged, damaged == 0) if self.task == "packet_loss" else damaged

    def recipe(self, preset: str) -> Recipe:
        cutoff_hz = CUTOFF_HZ if self.task == "bandwidth" else None
        return make_recipe(self.task, preset, self.rate_hz, cutoff_hz)

    def score(self, estimate: Tensor, clean: Tensor) -> float:
        if self.task == "bandwidth":
            return log_spectral_distance_db(estimate, clean)
        return float(si_sdr_db(estimate, clean))

    def _low_pass(self, wave: Tensor) -> Tensor:
        model = LowPass(CUTOFF_HZ, self.rate_hz)
        model.reset(wave[None], 1)
        return model(wave[None])[0]


def samplers(n_steps: int) -> dict[str, AnnealedSampler]:
    """What could be chosen."""

    def make(guidance, solver=None, churn=0.0) -> AnnealedSampler:
        return AnnealedSampler(guidance, solver, estimators=[], n_steps=n_steps, churn=churn)

    return {
        "projection, ODE": make(Projection()),
        "projection, churn 1": make(Projection(), churn=1.0),
        "projection, churn 2": make(Projection(), churn=2.0),
        "projection, churn 4": make(Projection(), churn=4.0),
        "projection, churn 8": make(Projection(), churn=8.0),
        "projection, mean re-noising": make(Projection(), Renoise(sampled=False)),
        "projection, ancestral": make(Projection(), Ancestral()),
        "proximal, ODE": make(Proximal()),
        "proximal, mean re-noising": make(Proximal(), Renoise(sampled=False)),
    }


def recipes(repair: Repair, preset: str, all_samplers: bool) -> dict[str, Recipe]:
    """The task's own recipe, or one for each sampler."""
    own = repair.recipe(preset)
    if not all_samplers:
        return {f"diffsr restore --task {repair.task}": own}
    return {name: replace(own, sampler=sampler) for name, sampler in samplers(PRESETS[preset]).items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path, help="a table with the columns path and speech_start_s")
    parser.add_argument("prior")
    parser.add_argument("--tasks", nargs="*", default=["declip", "packet_loss", "bandwidth"])
    parser.add_argument("--count", type=int, default=20, help="crops, each of another talker")
    parser.add_argument("--preset", default="fast", choices=PRESETS)
    parser.add_argument("--samplers", action="store_true", help="compare guidance and solvers")
    parser.add_argument("--only", nargs="*", default=[], help="parts of names of samplers")
    options = parser.parse_args()

    prior = Prior.from_pretrained(options.prior)
    clean = crops(options.manifest, options.count, prior.rate_hz)
    print(f"| {len(clean)} crops, {PRESETS[options.preset]} calls | task | score | s per s of audio |")
    print("| --- | --- | --- | --- |")
    for task in options.tasks:
        repair = Repair(task, prior.rate_hz)
        damaged = [repair.damage(wave, index) for index, wave in enumerate(clean)]
        print(row("damaged", repair, damaged, clean))
        print(row("interpolated", repair, [repair.baseline(wave) for wave in damaged], clean))
        for name, recipe in recipes(repair, options.preset, options.samplers).items():
            if any(part in name for part in options.only or [""]):
                restorer = Restorer(prior, recipe=recipe, device="cpu")
                started = time.perf_counter()
                repaired = [
                    restorer.restore(w, prior.rate_hz, f"{i:02d}").wave for i, w in enumerate(damaged)
                ]
                took = time.perf_counter() - started
                print(row(name, repair, repaired, clean, took), flush=True)


def crops(manifest: Path, count: int, rate_hz: int) -> list[Tensor]:
    """The first seconds of speech of as many talkers, `[1, T]` each."""
    found: dict[str, Tensor] = {}
    with manifest.open(encoding="utf-8") as lines:
        for line in csv.DictReader(lines):
            start_s = float(line["speech_start_s"])
            if line["speaker"] in found or float(line["duration_s"]) < start_s + CROP_S:
                continue
            wave, info = read_audio(manifest.parent / line["path"])
            wave = resample(wave[:1], info.rate_hz, rate_hz)
            start = round(start_s * rate_hz)
            found[line["speaker"]] = wave[:, start : start + round(CROP_S * rate_hz)]
            if len(found) == count:
                break
    return list(found.values())


def row(name: str, repair: Repair, estimates: list[Tensor], clean: list[Tensor], took_s: float = 0.0) -> str:
    scores = [repair.score(estimate, wave) for estimate, wave in zip(estimates, clean, strict=True)]
    pace = f"{took_s / (CROP_S * len(clean)):.2f}" if took_s else ""
    unit = "LSD, dB" if repair.task == "bandwidth" else "SI-SDR, dB"
    return f"| {name} | {repair.task} | {np.mean(scores):.2f} ({unit}) | {pace} |"


if __name__ == "__main__":
    main()
