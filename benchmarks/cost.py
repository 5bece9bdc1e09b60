"""What a prior costs: GFLOP and seconds per second of audio, and the real-time factor of the presets.

    python benchmarks/cost.py PRIOR [--threads 2] [--precisions float32 bfloat16]
    python benchmarks/cost.py PRIOR --threads 1 --tasks dereverb joint --presets fast default --input IN

Of each preset: calls, seconds in the network and in all else (noise, room, joining) for a second of audio,
and peak memory. Without a recording it is white noise, in which a room has nothing to find.
"""

from __future__ import annotations

import argparse
import itertools
import time

import torch

from diffsr.api import Restorer
from diffsr.diffusion import Prior, WindowedPrior
from diffsr.diffusion.devices import PRECISIONS, takes_bfloat16
from diffsr.io.audio import read_audio
from diffsr.io.memory import PeakMemory
from diffsr.networks.cost import gflop_per_second
from diffsr.recipes import PRESETS

N_CALLS = 8
WINDOW_S = 8.192


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("prior")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tasks", nargs="*", default=["enhance"], help="of diffsr restore")
    parser.add_argument("--input", help="a recording, such as one of 5 s")
    parser.add_argument("--presets", nargs="*", default=["fast"], choices=list(PRESETS))
    parser.add_argument("--precisions", nargs="+", default=["auto"], choices=PRECISIONS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    prior = Prior.from_pretrained(options.prior)
    print(f"{gflop_per_second(prior.network, prior.rate_hz):.2f} GFLOP per second of audio and call")
    recording, rate_hz = 0.05 * torch.randn(1, 10 * prior.rate_hz), prior.rate_hz
    if options.input:
        recording, info = read_audio(options.input)
        recording, rate_hz = recording[:1], info.rate_hz
    clock = Clock(prior)
    for precision in options.precisions:
        in_bfloat16 = takes_bfloat16(precision, torch.device("cpu"))
        windowed = WindowedPrior(prior, WINDOW_S, in_bfloat16=in_bfloat16)
        call_s = {count: seconds_of_call(windowed, count) for count in (1, 2)}
        print(f"{precision}: " + ", ".join(f"{s:.4f} s with {n} at once" for n, s in call_s.items()))
        for task, preset in itertools.product(options.tasks, options.presets):
            clock.seconds = 0.0
            memory = PeakMemory()
            memory.start()
            restorer = Restorer(prior, task, preset, device="cpu", precision=precision)
            result = restorer.restore(recording, rate_hz)
            factor, network = (s * rate_hz / recording.shape[-1] for s in (result.seconds, clock.seconds))
            shares = f"network {network:.2f}, all else {factor - network:.2f}"
            cost = f"{result.n_calls} calls, real-time factor {factor:.2f} ({shares}), {memory.mib():.0f} MiB"
            print(f"  {task} {preset}: {cost}", flush=True)


class Clock:
    """The seconds that a prior's network takes from now on."""

    def __init__(self, prior: Prior) -> None:
        self.seconds = self._started = 0.0
        prior.network.register_forward_pre_hook(self._start)
        prior.network.register_forward_hook(self._stop)

    def __deepcopy__(self, memo: object) -> Clock:
        return self  # the copy of a prior in bfloat16 goes by the same clock

    def _start(self, *_: object) -> None:
        self._started = time.perf_counter()

    def _stop(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._started


def seconds_of_call(prior: WindowedPrior, n_signals: int) -> float:
    """The fastest of some calls, per second of audio."""
    waves, sigma = 0.05 * torch.randn(n_signals, prior.window), torch.full((n_signals,), 0.1)
    prior.denoise(waves, sigma)
    took_s = []
    for _ in range(N_CALLS):
        started = time.perf_counter()
        prior.denoise(waves, sigma)
        took_s.append(time.perf_counter() - started)
    return min(took_s) / (n_signals * WINDOW_S)


if __name__ == "__main__":
    main()
