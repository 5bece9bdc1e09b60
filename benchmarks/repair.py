"""Damages clean speech, repairs it and prints how near the repair comes to the original.

    python benchmarks/repair.py speech_test.csv PRIOR [--count 20] [--presets default]
    python benchmarks/repair.py speech_test.csv PRIOR --undiff 60 published    # experiments/repair
    python benchmarks/repair.py speech_valid.csv PRIOR --count 6 --samplers    # which guidance and solver

The damage of each crop: clipping at an input SDR of 3 dB; 20 % of the time lost in gaps of 20 to 60 ms; an
ideal low-pass at 4 kHz. Scores are means: SI-SDR, PESQ (wide band), ESTOI, and the log-spectral distance: the
mean over frames of the RMS over bins of the difference of the levels in dB, which count from 80 dB below the
loudest bin of the original. One CPU thread: set OMP_NUM_THREADS=1.
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
from diffsr.baselines import System, make_baseline
from diffsr.baselines.band_copy import BandCopy
from diffsr.degradations import BlindLowPass, LowPass
from diffsr.diffusion import Prior
from diffsr.evaluation.metrics import METRICS
from diffsr.io.audio import read_audio
from diffsr.recipe_file import load_recipe
from diffsr.recipes import PRESETS, Recipe, make_recipe
from diffsr.samplers import Ancestral, AnnealedSampler, Projection, Proximal, Renoise
from diffsr.samplers.guidance import Guidance
from diffsr.samplers.solvers import Solver
from diffsr.signal.resampling import resample
from diffsr.signal.stft import STFT

CROP_S = 3.0
INPUT_SDR_DB = 3.0
LOST_SHARE = 0.2
GAP_MS = (20.0, 60.0)
CUTOFF_HZ = 4000.0
RANGE_DB = 80.0
SCORES = ("si_sdr_db", "pesq_wb", "estoi", "lsd_db")


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

    def baselines(self) -> list[System]:
        if self.task == "bandwidth":
            return [BandCopy(CUTOFF_HZ)]
        names = ["declip_cubic"] if self.task == "declip" else ["gaps_linear", "gaps_ar"]
        return [make_baseline(name) for name in names]

    def own(self, preset: str) -> dict[str, Recipe]:
        """What `diffsr restore` runs."""
        known = CUTOFF_HZ if self.task == "bandwidth" else None
        found = {f"{preset}": make_recipe(self.task, preset, self.rate_hz, known)}
        if known:
            found[f"{preset}, blind cut-off"] = make_recipe(self.task, preset, self.rate_hz)
        return found

    def undiff(self, calls: str) -> dict[str, Recipe]:
        """UnDiff's experiment with its own number of calls or another."""
        path = Path(__file__).parents[1] / "experiments" / "repair" / f"undiff_{self.task}.yaml"
        if calls == "published":
            return {"undiff, published calls": load_recipe(path)}
        per_step = 2 if self.task == "declip" else 1  # the corrector calls, too
        n_steps = int(calls) // per_step
        return {f"undiff, {calls} calls": load_recipe(path, [f"sampler.init_args.n_steps={n_steps}"])}

    def _low_pass(self, wave: Tensor) -> Tensor:
        model = LowPass(CUTOFF_HZ, self.rate_hz)
        model.reset(wave[None], 1)
        return model(wave[None])[0]


def samplers(n_steps: int) -> dict[str, AnnealedSampler]:
    """What could be chosen."""

    def make(guidance: Guidance, solver: Solver | None = None, churn: float = 0.0) -> AnnealedSampler:
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


def recipes(repair: Repair, options: argparse.Namespace) -> dict[str, Recipe]:
    """The task's own recipes and published ones, or one for each sampler."""
    if options.samplers:
        (own, *_) = repair.own(options.presets[0]).values()
        made = samplers(PRESETS[options.presets[0]])
        return {name: replace(own, sampler=sampler) for name, sampler in made.items()}
    found: dict[str, Recipe] = {}
    for preset in options.presets:
        found |= repair.own(preset)
    for calls in options.undiff:
        found |= repair.undiff(calls)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path, help="a table with the columns path and speech_start_s")
    parser.add_argument("prior")
    parser.add_argument("--tasks", nargs="*", default=["declip", "packet_loss", "bandwidth"])
    parser.add_argument("--count", type=int, default=20, help="crops, each of another talker")
    parser.add_argument("--crop_s", type=float, default=CROP_S)
    parser.add_argument("--presets", nargs="*", default=["default"], choices=PRESETS)
    parser.add_argument("--undiff", nargs="*", default=[], help="calls, or published")
    parser.add_argument("--samplers", action="store_true", help="compare guidance and solvers")
    parser.add_argument("--only", nargs="*", default=[""], help="parts of names of recipes")
    options = parser.parse_args()

    prior = Prior.from_pretrained(options.prior)
    clean = crops(options.manifest, options.count, prior.rate_hz, options.crop_s)
    print(f"| {len(clean)} crops of {options.crop_s:g} s | task | {' | '.join(SCORES)} | calls | s per s |")
    print("| --- " * (len(SCORES) + 4) + "|")
    for task in options.tasks:
        repair = Repair(task, prior.rate_hz)
        damaged = [repair.damage(wave, index) for index, wave in enumerate(clean)]
        print(row("damaged", repair, damaged, clean))
        for system in repair.baselines():
            print(row(system.name, repair, [system(w, prior.rate_hz, 1) for w in damaged], clean))
        for name, recipe in recipes(repair, options).items():
            if any(part in name for part in options.only):
                print(restored_row(name, repair, recipe, prior, damaged, clean), flush=True)


def restored_row(
    name: str, repair: Repair, recipe: Recipe, prior: Prior, damaged: list[Tensor], clean: list[Tensor]
) -> str:
    restorer = Restorer(prior, recipe=recipe, device="cpu", precision="float32")
    started = time.perf_counter()
    made, errors = [], []
    for index, wave in enumerate(damaged):
        made.append(restorer.restore(wave, prior.rate_hz, f"{index:02d}"))
        if isinstance(recipe.degradation, BlindLowPass):
            errors.append(abs(float(recipe.degradation.cutoff_hz[0]) / CUTOFF_HZ - 1))
    took = time.perf_counter() - started
    if errors:
        name += f" (off by {np.mean(errors):.1%})"
    return row(name, repair, [one.wave for one in made], clean, made[0].n_calls, took)


def crops(manifest: Path, count: int, rate_hz: int, crop_s: float) -> list[Tensor]:
    """The first seconds of speech of as many talkers, `[1, T]` each."""
    found: dict[str, Tensor] = {}
    with manifest.open(encoding="utf-8") as lines:
        for line in csv.DictReader(lines):
            start_s = float(line["speech_start_s"])
            if line["speaker"] in found or float(line["duration_s"]) < start_s + crop_s:
                continue
            wave, info = read_audio(manifest.parent / line["path"])
            wave = resample(wave[:1], info.rate_hz, rate_hz)
            start = round(start_s * rate_hz)
            found[line["speaker"]] = wave[:, start : start + round(crop_s * rate_hz)]
            if len(found) == count:
                break
    return list(found.values())


def row(
    name: str,
    repair: Repair,
    estimates: list[Tensor],
    clean: list[Tensor],
    n_calls: int = 0,
    took_s: float = 0.0,
) -> str:
    scores = [scores_of(one, wave, repair.rate_hz) for one, wave in zip(estimates, clean, strict=True)]
    means = " | ".join(f"{mean:.2f}" for mean in np.mean(scores, axis=0))
    pace = took_s * repair.rate_hz / sum(wave.shape[-1] for wave in clean)
    return f"| {name} | {repair.task} | {means} | {n_calls} | {pace:.2f} |"


def scores_of(estimate: Tensor, clean: Tensor, rate_hz: int) -> list[float]:
    by_metric = [float(METRICS[name].score(estimate, clean, rate_hz)) for name in SCORES if name in METRICS]
    return [*by_metric, log_spectral_distance_db(estimate, clean)]


if __name__ == "__main__":
    main()
