"""Scenes per second that the DataLoader of `data_modules.Whamr` gives with 0, 1 and 2 worker processes.

python benchmarks/loader.py --speech speech.csv --noise noise.csv --rooms pool/ [--scenes 300]

WHAMR!-style scenes (2 talkers, 16 kHz, 4 s, noise); the first 20 scenes of each run are not timed.
On a machine that others use, start it with `chrt -r 1`: else the figures are of your share of the cores,
and more workers only divide it.
"""

from __future__ import annotations

import argparse
import time

import torch

from data_modules import Whamr
from diffsr.simulation.draw import SceneSettings

N_WARM = 20


def scenes_per_second(data: Whamr) -> float:
    """Speed of the training loader."""
    data.setup("fit")
    n_seen, started = 0, 0.0
    for batch in data.train_dataloader():
        n_seen += len(batch["id"])
        if not started and n_seen >= N_WARM:
            n_warm, started = n_seen, time.perf_counter()
    return (n_seen - n_warm) / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--speech", default=None)
    parser.add_argument("--noise", default=None)
    parser.add_argument("--rooms", default=None)
    parser.add_argument("--microphones", type=int, default=1)
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--parts", nargs="*", default=None, help="parts that travel; all when not given")
    options = parser.parse_args()
    torch.set_num_threads(1)

    scene = SceneSettings(crop_s=4.0, n_microphones=options.microphones)
    for n_workers in options.workers:
        chosen = {} if options.parts is None else {"parts": options.parts}
        data = Whamr(
            options.speech,
            options.noise,
            options.rooms,
            scene=scene,
            scenes_per_epoch=options.scenes,
            batch_size=options.batch_size,
            num_workers=n_workers,
            **chosen,
        )
        print(f"{n_workers} workers: {scenes_per_second(data):.1f} scenes a second")


if __name__ == "__main__":
    main()
