"""Noisy test recordings with known clean speech: a fixed set from a folder of speech and noise.

    python benchmarks/make_mixtures.py DATA valid OUT    # valid speech + train noise: to tune on
    python benchmarks/make_mixtures.py DATA test OUT     # test speech + test noise: to report

DATA holds `speech_<split>.csv`, `noise_train.csv` and `noise_test.csv` (columns as `diffsr` reads them).
Writes `OUT/noisy/*.wav` and `OUT/clean/*.wav`, 16 kHz. The choice of files, crops and offsets follows from
the seed alone; every talker comes once before any comes twice, and the noises take turns.
"""

from __future__ import annotations

import argparse
import csv
import random
from pathlib import Path

from torch import Tensor

from diffsr.io.audio import read_audio, write_audio
from diffsr.signal.levels import active_rms, rms
from diffsr.signal.resampling import resample

RATE_HZ = 16_000
NOISE_OF = {"valid": "noise_train.csv", "test": "noise_test.csv"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("split", choices=sorted(NOISE_OF))
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--snr_db", type=float, default=0.0, help="by RMS over the speech span")
    parser.add_argument("--seconds", type=float, default=6.0, help="longest crop")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    rng = random.Random(options.seed)
    speech = in_turns(rows(options.data / f"speech_{options.split}.csv"), "speaker", rng)
    noise = in_turns(rows(options.data / NOISE_OF[options.split]), "category", rng)
    for index in range(options.count):
        clean = read_speech(options.data, speech[index % len(speech)], options.seconds)
        n_samples = clean.shape[-1]
        disturbance = read_noise(options.data, noise[index % len(noise)], n_samples, rng)
        gain = rms(clean) / rms(disturbance) * 10 ** (-options.snr_db / 20)
        noisy = clean + gain * disturbance
        scale = float(0.05 / active_rms(clean, RATE_HZ))  # -26 dBFS, with room for the noise
        scale = min(scale, 0.95 / float(noisy.abs().max()))
        for kind, wave in (("clean", clean), ("noisy", noisy)):
            write_audio(options.out / kind / f"{index:02d}.wav", scale * wave, RATE_HZ, "FLOAT")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def in_turns(items: list[dict[str, str]], key: str, rng: random.Random) -> list[dict[str, str]]:
    """Shuffled, then ordered so that every value of `key` comes once before any comes twice."""
    items = rng.sample(items, len(items))
    seen: dict[str, int] = {}
    turns = []
    for item in items:
        seen[item[key]] = seen.get(item[key], 0) + 1
        turns.append(seen[item[key]])
    return [item for _, item in sorted(zip(turns, items, strict=True), key=lambda pair: pair[0])]


def read_speech(data: Path, row: dict[str, str], longest_s: float) -> Tensor:
    start_s, end_s = float(row["speech_start_s"]), float(row["speech_end_s"])
    wave, info = read_audio(data / row["path"], start_s, min(end_s, start_s + longest_s))
    return resample(wave[:1], info.rate_hz, RATE_HZ)


def read_noise(data: Path, row: dict[str, str], n_samples: int, rng: random.Random) -> Tensor:
    wave, info = read_audio(data / row["path"])
    wave = resample(wave[:1], info.rate_hz, RATE_HZ)
    while wave.shape[-1] < n_samples:
        wave = wave.repeat(1, 2)
    start = rng.randrange(wave.shape[-1] - n_samples + 1)
    return wave[:, start : start + n_samples]


if __name__ == "__main__":
    main()
