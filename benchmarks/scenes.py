"""How fast scenes are made on one core: 4 s, 2 talkers, 1 microphone, 16 kHz, noise, rooms from a pool.

    python benchmarks/scenes.py --speech SPEECH.csv --noise NOISE.csv --rooms POOL [--count 200]

Prints scenes per second, with the share of each part of the work.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

from diffsr.io.manifest import read_manifest
from diffsr.simulation import scene
from diffsr.simulation.draw import SceneMaker, SceneSettings
from diffsr.simulation.sources import open_rooms

_P = ParamSpec("_P")
_R = TypeVar("_R")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--speech", required=True)
    parser.add_argument("--noise", required=True)
    parser.add_argument("--rooms")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--microphones", type=int, default=1)
    parser.add_argument("--rate_hz", type=int, default=16000)
    options = parser.parse_args()
    torch.set_num_threads(1)

    settings = SceneSettings(n_microphones=options.microphones, crop_s=4.0, rate_hz=options.rate_hz)
    rooms = open_rooms(options.rooms) if options.rooms else None
    maker = SceneMaker(settings, read_manifest(options.speech), read_manifest(options.noise), rooms)
    spent: defaultdict[str, float] = defaultdict(float)
    for name in ("read_part", "convolve", "snr_db", "to_level", "resample"):
        setattr(scene, name, clocked(getattr(scene, name), name, spent))
    if rooms is not None:
        rooms.responses = clocked(rooms.responses, "room responses", spent)  # type: ignore[method-assign]
    for index in range(5):
        maker.scene(1_000_000 + index)
    spent.clear()
    started_s = time.perf_counter()
    for index in range(options.count):
        maker.scene(index)
    took_s = time.perf_counter() - started_s
    print(f"{options.count / took_s:.1f} scenes/s, {1e3 * took_s / options.count:.1f} ms each")
    for name, seconds in sorted(spent.items(), key=lambda pair: pair[1], reverse=True):
        print(f"  {name:15s} {1e3 * seconds / options.count:5.1f} ms")


def clocked(function: Callable[_P, _R], name: str, spent: defaultdict[str, float]) -> Callable[_P, _R]:
    """The function, with its time added to `spent`."""

    def timed(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        started_s = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            spent[name] += time.perf_counter() - started_s

    return timed


if __name__ == "__main__":
    main()
