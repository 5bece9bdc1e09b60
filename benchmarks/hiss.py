"""How loud pauses are in clean recordings, and in what is made of them.

    python benchmarks/hiss.py speech_test.csv [--count 12] [--task enhance] [--preset default]

The first seconds of one recording of each talker, which are restored as if they were noisy, with a ceiling
and without. Of the quietest tenth of the frames the level of three bands over the mean power of
the recording, and how far the result is from the recording, which is the best that one can hope for. Means in
dB, and the largest rise. One CPU thread: set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data_modules.corpus import decode
from diffsr.api import Restorer
from diffsr.evaluation.tables import markdown_table
from diffsr.io.manifest import read_manifest
from diffsr.recipes import PRESETS, make_recipe
from diffsr.signal.stft import STFT

RATE_HZ = 16000
ONE_TALKER = ("enhance", "dereverb", "denoise_dereverb")
BANDS_HZ = ((0, 1000), (1000, 4000), (4000, 8000))
QUIETEST = 0.1
LEVEL = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("speech", type=Path)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--task", default="enhance", choices=ONE_TALKER)
    parser.add_argument("--preset", default="default", choices=PRESETS)
    options = parser.parse_args()
    recordings = one_of_each(options.speech, options.count, options.seconds)
    recipe = make_recipe(options.task, options.preset)
    before = np.array([pauses_db(wave, wave) for wave in recordings])
    rows = [["the recordings", *shown(before), "", ""]]
    for name, ceiling in (("without a ceiling", None), ("**with one**", recipe.ceiling)):
        restorer = Restorer(recipe=replace(recipe, ceiling=ceiling), device="cpu")
        made = [torch.as_tensor(restorer.restore(wave[None], RATE_HZ).wave)[0] for wave in recordings]
        after = np.array([pauses_db(one, wave) for one, wave in zip(made, recordings, strict=True)])
        away = [float(ratio_db(one - wave, wave)) for one, wave in zip(made, recordings, strict=True)]
        rise = (after - before).max(0)
        rows.append([name, *shown(after), ", ".join(f"{db:+.0f}" for db in rise), f"{np.mean(away):.1f}"])
    bands = [f"{low} to {high} Hz" for low, high in BANDS_HZ]
    print(markdown_table(["pauses", *bands, "largest rise in each", "difference"], rows))


def one_of_each(path: Path, count: int, seconds: float) -> list[Tensor]:
    """The first recordings of different talkers."""
    found: dict[str, Tensor] = {}
    for one in read_manifest(path):
        if one.speaker and one.speaker not in found and len(found) < count:
            speech = decode(one, RATE_HZ)
            found[one.speaker] = LEVEL * speech.scale * speech.samples[: round(seconds * RATE_HZ)]
    return list(found.values())


def pauses_db(wave: Tensor, recording: Tensor) -> list[float]:
    """Power of the bands in the pauses of a recording, over the mean power of that."""
    stft = STFT()
    power, heard = stft(wave).abs().square(), stft(recording).abs().square()
    loudness = heard.sum(0)
    quiet = power[:, loudness <= loudness.quantile(QUIETEST)].mean(-1)
    hz = torch.linspace(0, RATE_HZ / 2, len(quiet))
    bands = [quiet[(low <= hz) & (hz < high)].sum() for low, high in BANDS_HZ]
    return [float(10 * (band / loudness.mean()).log10()) for band in bands]


def ratio_db(wave: Tensor, other: Tensor) -> Tensor:
    return 10 * (wave.square().sum() / other.square().sum()).log10()


def shown(levels: np.ndarray) -> list[str]:
    return [f"{db:.1f}" for db in levels.mean(0)]


if __name__ == "__main__":
    main()
