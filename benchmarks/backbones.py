"""Backbones after equal training time on the same speech: losses, gains, cost.

    python benchmarks/backbones.py --data TRAIN.csv --valid VALID.csv --minutes 60 \
        --backbones tf_transformer,tf_dualpath,tf_dualpath:width=64:depth=6:heads=2

Each backbone, with its own defaults or with the arguments named, trains for the same time on the same
crops from the same seed, in a process of its own. `--clock processor` counts the time of the processor,
which on one thread (`--threads 1`) depends little on what else the machine does. `--levels` compares noise
levels of the training, each in an `--out` of its own. What is finished is kept there, and an interrupted
training goes on: the same command again does the rest. Prints a markdown table.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

import torch
import yaml
from lightning import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback, Timer
from lightning.pytorch.trainer.states import RunningStage

from data_modules import CleanSpeech
from diffsr.callbacks import AtomicCheckpoints, AveragedWeights, LastCheckpoint, TrainingProgress
from diffsr.diffusion import LogNormalLevels, Prior, RhoUniformLevels
from diffsr.diffusion.schedule import NoiseLevels
from diffsr.evaluation.tables import markdown_table, number
from diffsr.io.atomic import replacing
from diffsr.io.memory import PeakMemory
from diffsr.io.run_layout import exported_prior, last_checkpoint
from diffsr.networks import NETWORKS, Backbone
from diffsr.report.prior_quality import measure
from diffsr.tasks import PriorModule

TRAINING, SCORES = "training.json", "scores.json"
LEVELS: dict[str, NoiseLevels] = {
    "log_normal": LogNormalLevels(),
    "wide": LogNormalLevels(spread=2.4),
    "rho_uniform": RhoUniformLevels(),
}
"""Distributions of the training noise levels to choose from."""
Precision = Literal["64-true", "32-true", "16-true", "bf16-true", "16-mixed", "bf16-mixed"]


@dataclass(frozen=True)
class Settings:
    """What all backbones have in common; also the options of the command line."""

    data: str
    valid: str | None = None
    minutes: float = 10.0
    crop_s: float = 4.096
    batch_size: int = 8
    valid_crops: int = 24
    rate_hz: int = 16000
    learning_rate: float = 1e-3
    precision: Precision = "bf16-mixed"
    accelerator: str = "auto"
    threads: int = 2
    seed: int = 0
    clock: str = "wall"
    levels: str = "log_normal"

    def speech(self) -> CleanSpeech:
        """The data of the training and of the scores."""
        return CleanSpeech(
            data=self.data,
            valid=self.valid,
            rate_hz=self.rate_hz,
            crop_s=self.crop_s,
            batch_size=self.batch_size,
            n_valid_crops=self.valid_crops,
            seed=self.seed,
        )


class QuietPriorModule(PriorModule):
    """The training of a prior without what follows it: export, scores and samples take time here."""

    def configure_callbacks(self) -> list[Callback]:
        return []


class ProcessorTimer(Timer):
    """Ends the training after a time of this process on the processor."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._processor_s = time.process_time()
        super().on_train_start(trainer, pl_module)

    def time_elapsed(self, stage: str = RunningStage.TRAINING) -> float:
        if stage != RunningStage.TRAINING or not hasattr(self, "_processor_s"):
            return 0.0
        return self._offset + time.process_time() - self._processor_s


def main() -> None:
    settings, names, out = parse()
    for name in names:
        build(name)  # a wrong name or argument shows before an hour of training
    results = {}
    for name in names:
        folder = out / name.replace(":", "_")
        if not (folder / TRAINING).is_file():
            print(f"{name}: training for {settings.minutes:g} min", flush=True)
            write_json(folder / TRAINING, in_new_process(train, name, settings, folder))
        if not (folder / SCORES).is_file():
            print(f"{name}: scoring", flush=True)
            write_json(folder / SCORES, in_new_process(score, settings, folder))
        results[name] = {
            key: value
            for file in (TRAINING, SCORES)
            for key, value in json.loads((folder / file).read_text()).items()
        }
    table = to_markdown(results)
    print(f"\n{table}")
    with replacing(out / "table.md") as part:
        part.write_text(table + "\n")


def train(name: str, settings: Settings, folder: Path) -> dict[str, float]:
    """Train one backbone, or go on where it stopped, and write its prior folder."""
    torch.set_num_threads(settings.threads)
    seed_everything(settings.seed, verbose=False)
    network, speech = build(name), settings.speech()
    prior = Prior(network, settings.rate_hz, speech.level, settings.crop_s)
    levels = LEVELS[settings.levels]
    module = QuietPriorModule(prior, levels, learning_rate=settings.learning_rate, seed=settings.seed)
    limit = timedelta(minutes=settings.minutes)
    timer = ProcessorTimer(limit) if settings.clock == "processor" else Timer(limit)
    trainer = Trainer(
        default_root_dir=folder,
        max_steps=-1,
        max_epochs=-1,
        accelerator=settings.accelerator,
        devices=1,
        precision=settings.precision,
        gradient_clip_val=1.0,
        limit_val_batches=0,
        logger=False,
        enable_model_summary=False,
        plugins=[AtomicCheckpoints()],
        callbacks=[timer, AveragedWeights(0.999), LastCheckpoint(), TrainingProgress()],
    )
    memory = PeakMemory(str(trainer.strategy.root_device))
    memory.start()
    start = last_checkpoint(folder)
    trainer.fit(module, speech, ckpt_path=start if start.is_file() else None, weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    peak_mib = memory.mib()
    prior.cpu().save_pretrained(exported_prior(folder))
    return {"steps": trainer.global_step, "training_mib": peak_mib}


def score(settings: Settings, folder: Path) -> dict[str, float]:
    """Scores and cost of a trained prior on the validation crops."""
    torch.set_num_threads(settings.threads)
    prior = Prior.from_pretrained(exported_prior(folder))
    if settings.accelerator != "cpu" and torch.cuda.is_available():
        prior.cuda()
    speech = settings.speech()
    speech.setup()
    batches = list(speech.val_dataloader())
    waves = torch.cat([batch["wave"] for batch in batches])
    talkers = torch.cat([batch["speaker"] for batch in batches])
    quality = measure(prior, list(waves), [str(talker) for talker in talkers.tolist()])
    return {
        **{name: found.mean for name, found in quality.scores.items()},
        **asdict(quality.cost),
        "parameters": sum(parameter.numel() for parameter in prior.parameters()),
    }


def build(name: str) -> Backbone:
    """`NAME` or `NAME:argument=value:...` as a network."""
    kind, *arguments = name.split(":")
    if kind not in NETWORKS:
        raise SystemExit(f"{kind} is no backbone; expected one of {', '.join(NETWORKS)}.")
    pairs = [argument.partition("=")[::2] for argument in arguments]
    try:
        return NETWORKS[kind](**{key: yaml.safe_load(value) for key, value in pairs})
    except (TypeError, ValueError) as error:
        raise SystemExit(f"{name}: {error}") from error


def in_new_process(function: Callable[..., dict[str, float]], *arguments: object) -> dict[str, float]:
    """The result of a function called in a process of its own, so that its memory is its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def to_markdown(results: dict[str, dict[str, float]]) -> str:
    """One column for each backbone."""
    first = next(iter(results.values()))
    rows: dict[str, tuple[str, float, int]] = {"steps": ("steps", 1, 0)}
    for name in first:
        if name == "loss" or name.startswith("loss_sigma_"):
            rows[name] = (name.replace("_sigma_", ", sigma ").replace("loss", "validation loss"), 1, 3)
        elif name.startswith("gain_db_at_"):
            level = name.removeprefix("gain_db_at_").removesuffix("_db")
            rows[name] = (f"gain at {level} dB (dB)", 1, 2)
    rows |= {
        "gflop_per_s": ("GFLOP per second of audio, one call", 1, 2),
        "seconds_per_s": ("seconds per second of audio, one call", 1, 4),
        "parameters": ("parameters (M)", 1e-6, 2),
        "peak_mib": ("memory of a call (MiB)", 1, 0),
        "training_mib": ("memory of the training (MiB)", 1, 0),
    }
    lines = [
        [title, *(number(result.get(name, float("nan")) * unit, digits) for result in results.values())]
        for name, (title, unit, digits) in rows.items()
    ]
    return markdown_table(["", *results], lines)


def parse() -> tuple[Settings, list[str], Path]:
    """Settings, backbones, and the folder, which belongs to these settings alone."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--valid")
    parser.add_argument("--backbones", default="tf_transformer,tf_dualpath,ncsnpp:nf=32")
    parser.add_argument("--out", type=Path, default=Path("runs/backbones"))
    for name, default in asdict(Settings("")).items():
        if name not in ("data", "valid"):
            choices = {"clock": ("wall", "processor"), "levels": tuple(LEVELS)}.get(name)
            parser.add_argument(f"--{name}", type=type(default), default=default, choices=choices)
    options = vars(parser.parse_args())
    names, out = options.pop("backbones").split(","), options.pop("out")
    settings = Settings(**options)
    record = out / "settings.json"
    if not record.is_file():
        write_json(record, asdict(settings))
    elif json.loads(record.read_text()) != asdict(settings):
        raise SystemExit(f"{record} holds other settings, which do not compare; choose another --out.")
    return settings, names, out


def write_json(path: Path, content: Mapping[str, object]) -> None:
    with replacing(path) as part:
        part.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
