"""Time of training crops, and what they hold: how much silence, how many references.

    OMP_NUM_THREADS=1 python benchmarks/crops.py --data TRAIN.csv --device cpu

Prints, for crops of 4.096 and 8.192 s: milliseconds a batch for planning (always on the CPU) and rendering
(processor time on a CPU, wall time on a GPU; median and fastest), without variation, with it, and with
references of 4.096 s. Then, over all crops: the share of samples in pauses between joined utterances, the
share of padding, and the share of crops without a reference.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from data_modules.corpus import Corpus
from data_modules.crops import CropMaker, TrainCrops
from data_modules.planner import Augmentation
from diffsr.io.manifest import read_manifest
from diffsr.signal.shaping import SPEEDS

RATE_HZ, N_BATCHES, N_CROPS = 16000, 40, 4000
PLAIN = Augmentation(speed_share=0.0, equaliser_db=0.0, polarity=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", required=True, help="manifest or folder of speech")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch_size", type=int, default=8)
    options = parser.parse_args()
    rows = [row for row in read_manifest(options.data) if row.split in (None, "train")]
    start_s = time.time(), time.process_time()
    corpus = Corpus(rows, RATE_HZ, sorted({row.speaker for row in rows if row.speaker}))
    hours = float(corpus.lengths.sum()) / RATE_HZ / 3600
    wall_s, cpu_s = time.time() - start_s[0], time.process_time() - start_s[1]
    print(f"{hours:.2f} h read in {wall_s:.0f} s ({cpu_s:.0f} s of processor time)")
    for crop_s in (4.096, 8.192):
        for name, augmentation, reference_s in (
            ("plain", PLAIN, 0.0),
            ("varied", Augmentation(), 0.0),
            ("varied, references", Augmentation(), 4.096),
        ):
            maker = CropMaker(corpus, RATE_HZ, round(crop_s * RATE_HZ), 0.05, round(reference_s * RATE_HZ))
            crops = TrainCrops(maker, N_CROPS, augmentation, seed=0)
            print(f"{options.batch_size} x {crop_s} s, {name}: {times(crops, options)}", flush=True)
        print(f"{crop_s} s: {contents(crops)}")


def times(crops: TrainCrops, options: argparse.Namespace) -> str:
    """Planning and rendering of some batches."""
    on_gpu = options.device != "cpu"
    clock: Callable[[], float] = time.perf_counter if on_gpu else time.process_time
    spent = []
    for epoch in range(N_BATCHES + 5):
        start = time.process_time()
        plans = crops.maker.collate([crops[epoch, number] for number in range(options.batch_size)])
        planned = time.process_time() - start
        moved, begin = plans.to(options.device), clock()
        crops.maker.render(moved)
        if on_gpu:
            torch.cuda.synchronize()
        spent.append((planned, clock() - begin))
    planning, rendering = 1000 * np.array(spent[5:]).T  # the first ones prepare transforms
    return (
        f"plans {np.median(planning):.1f} ms, rendering {np.median(rendering):.1f} ms "
        f"(fastest {rendering.min():.1f})"
    )


def contents(crops: TrainCrops) -> str:
    """What the crops of an epoch hold."""
    pauses, padding, without, n_pieces = 0.0, 0.0, 0, 0
    for number in range(N_CROPS):
        plan = crops[number]
        length = SPEEDS[plan.speed] * crops.maker.n_samples
        edges = np.array([[p.position, p.position + p.stop - p.first] for p in plan.crop.pieces])
        edges = edges.clip(0, length)
        speech, outside = np.diff(edges).sum(), edges[0, 0]
        # A crop of several utterances ends in a pause, one of a single utterance in padding.
        outside += length - edges[-1, 1] if len(edges) == 1 else 0
        padding += outside / length
        pauses += 1 - (speech + outside) / length
        without += not plan.reference.pieces
        n_pieces = max(n_pieces, len(edges))
    return (
        f"padding {padding / N_CROPS:.1%}, pauses {pauses / N_CROPS:.1%}, "
        f"without a reference {without / N_CROPS:.1%}, at most {n_pieces} pieces"
    )


if __name__ == "__main__":
    main()
