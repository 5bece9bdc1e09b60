"""What it costs to restore long recordings in sections: scores, time and memory by the length of a section.

    python benchmarks/sections.py DATA [--task enhance] [--preset default] [--sections_s 30 60 120 0]

Recordings of talkers who take turns, valid utterances with pauses of 0.3 s at one level, in one train noise
each and, of tasks with a room, one measured train room. DATA as for `make_mixtures.py`. Improvement of each
utterance, its mean, and the mean difference from the last length with its standard error; 0 cuts nothing.
One CPU thread: set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import itertools
import random
import time
from pathlib import Path

import numpy as np
import torch
from make_mixtures import RATE_HZ, in_turns, read_noise, read_speech, rows
from torch import Tensor

from diffsr.api import Restorer
from diffsr.evaluation.metrics import si_sdr_db
from diffsr.evaluation.perceptual import estoi, pesq_wb
from diffsr.evaluation.tables import markdown_table
from diffsr.io.audio import read_audio
from diffsr.io.memory import PeakMemory
from diffsr.recipes import PRESETS
from diffsr.signal.filtering import fft_convolve
from diffsr.signal.levels import active_rms, rms
from diffsr.signal.resampling import resample

PAUSE_S = 0.3
LEVEL = 0.05
LONGEST_S = 12.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--task", default="enhance", choices=("enhance", "dereverb", "denoise_dereverb"))
    parser.add_argument("--preset", default="default", choices=PRESETS)
    parser.add_argument("--sections_s", type=float, nargs="+", default=[30.0, 60.0, 120.0, 0.0])
    parser.add_argument("--count", type=int, default=3, help="recordings")
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--snr_db", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    recordings = made(options)
    before = np.concatenate([scores(*one) for one in recordings])
    table, gains, memory = [], {}, PeakMemory("cpu")
    for section_s in options.sections_s:
        restorer = Restorer(task=options.task, preset=options.preset, section_s=section_s or None)
        memory.start()
        began = time.perf_counter()
        done = [restorer.restore(noisy[None], RATE_HZ).wave[0] for noisy, _, _ in recordings]
        seconds = time.perf_counter() - began
        after = [scores(wave, *one[1:]) for wave, one in zip(done, recordings, strict=True)]
        gains[section_s] = np.concatenate(after) - before
        table.append((section_s, seconds, memory.mib()))
        print(f"{section_s:g} s: {seconds:.0f} s", flush=True)
    whole, lasted_s = gains[options.sections_s[-1]], sum(len(one[0]) for one in recordings) / RATE_HZ
    shown = []
    for section_s, seconds, mib in table:
        off = gains[section_s] - whole
        error = off.std(0, ddof=1) / len(off) ** 0.5
        shown.append(
            [
                f"{section_s:g} s" if section_s else "whole",
                *(f"{mean:+.3f}" for mean in gains[section_s].mean(0)),
                *(f"{a:+.3f} ({b:.3f})" for a, b in zip(off.mean(0), error, strict=True)),
                f"{seconds / lasted_s:.2f}",
                f"{mib:.0f}",
            ]
        )
    names = ["SI-SDR", "PESQ", "ESTOI"]
    print(f"{len(whole)} utterances, {options.task} {options.preset}")
    heads = ["sections", *names, *(f"{name} off" for name in names), "real-time factor", "MiB"]
    print(markdown_table(heads, shown))


def made(options: argparse.Namespace) -> list[tuple[Tensor, Tensor, list[slice]]]:
    """Noisy recordings `[T]`, their clean speech, and where the utterances lie."""
    rng, found = random.Random(options.seed), []
    speech = in_turns(rows(options.data / "speech_valid.csv"), "speaker", rng)
    noises = in_turns(rows(options.data / "noise_train.csv"), "category", rng)
    rooms = [one for one in rows(options.data / "rir_train.csv") if float(one["t20_s"]) < 1]
    rooms = rng.sample(rooms, options.count)
    utterances = itertools.cycle(speech)
    for number in range(options.count):
        parts, spans, length = [], [], 0
        while length < options.seconds * RATE_HZ:
            wave = read_speech(options.data, next(utterances), LONGEST_S)[0]
            wave = wave * (LEVEL / active_rms(wave, RATE_HZ))
            spans.append(slice(length, length + len(wave)))
            parts += [wave, torch.zeros(round(PAUSE_S * RATE_HZ))]
            length += len(wave) + len(parts[-1])
        clean = torch.cat(parts)
        heard = clean
        if options.task != "enhance":
            heard = in_room(clean, options.data, rooms[number])
        if options.task != "dereverb":
            noise = read_noise(options.data, noises[number], len(clean), rng)[0]
            heard = heard + noise * (rms(heard) / rms(noise) * 10 ** (-options.snr_db / 20))
        found.append((heard, clean, spans))
    return found


def in_room(clean: Tensor, data: Path, row: dict[str, str]) -> Tensor:
    """With the direct path at its time and level."""
    response, info = read_audio(data / row["path"])
    direct = int(row["onset_sample"])
    response = response[:1] / response[0, direct]
    return fft_convolve(clean[None], resample(response, info.rate_hz, RATE_HZ), direct)[0]


def scores(wave: Tensor, clean: Tensor, spans: list[slice]) -> np.ndarray:
    """SI-SDR, PESQ and ESTOI of each utterance, `[N, 3]`."""
    pairs = [(wave[None, span], clean[None, span]) for span in spans]
    return np.array(
        [
            [float(si_sdr_db(*pair)), float(pesq_wb(*pair, RATE_HZ)), float(estoi(*pair, RATE_HZ))]
            for pair in pairs
        ]
    )


if __name__ == "__main__":
    main()
