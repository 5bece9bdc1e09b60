"""Time of one update of a blind room: all rows and bands at once, and in loops over files and bands.

    OMP_NUM_THREADS=1 python benchmarks/room_update.py [--rows 1] [--seconds 4] [--longest_rt60_s 2]

The loop is the model as published (arXiv 2405.04272, Sec. 3.2): one file and one band after the other, a
complex convolution over frames in each of 513 bins (windows of 512 in transforms of 1024, hops of 128), the
response made consistent and of minimum phase at each update. Both run forward, backward and a step of Adam on
noise, on one thread; the seconds are processor time of one update of all rows. Prints a markdown table.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from diffsr.degradations import BlindRoom
from diffsr.degradations.room_fit import comparison
from diffsr.evaluation.tables import markdown_table
from diffsr.signal.filtering import minimum_phase
from diffsr.signal.stft import STFT

RATE_HZ = 16000


N_FFT, WIN, HOP = 1024, 512, 128


def stft(wave: Tensor) -> Tensor:
    window = torch.hann_window(WIN)
    return torch.stft(
        wave, N_FFT, HOP, WIN, window=window, pad_mode="constant", normalized=True, return_complex=True
    )


def istft(spectrum: Tensor, n_samples: int) -> Tensor:
    window = torch.hann_window(WIN)
    return torch.istft(spectrum, N_FFT, HOP, WIN, window=window, normalized=True, length=n_samples)


class LoopedRoom:
    """One file: bands in a loop, filtered bin by bin over frames."""

    def __init__(self, x: Tensor, y: Tensor, n_frames: int, band_hz: Tensor) -> None:
        self.n_samples, self.n_frames, self.loss_stft = x.shape[-1], n_frames, STFT()
        self.x, self.y = stft(x), self.loss_stft(y[None])
        edges = [
            0,
            *((band_hz[1:] + band_hz[:-1]) / 2 * N_FFT / RATE_HZ).round().int().tolist(),
            N_FFT // 2 + 1,
        ]
        self.bins = [slice(low, high) for low, high in zip(edges, edges[1:], strict=False)]
        self.decay = [torch.tensor(0.2, requires_grad=True) for _ in self.bins]
        self.level = [torch.tensor(-3.0, requires_grad=True) for _ in self.bins]
        self.phase = (6.28 * torch.rand(N_FFT // 2 + 1, n_frames)).requires_grad_(True)
        self.adam = torch.optim.Adam([*self.decay, *self.level, self.phase], lr=0.1, betas=(0.9, 0.99))

    def update(self) -> None:
        frames = torch.arange(self.n_frames)
        bands = []
        for decay, level, bins in zip(self.decay, self.level, self.bins, strict=True):
            size = (level - decay * frames).exp()
            bands.append(torch.polar(size.expand(bins.stop - bins.start, -1), self.phase[bins]))
        wave = istft(torch.cat(bands), (self.n_frames - 1) * HOP)
        early = minimum_phase(wave, 2 * wave.shape[-1])
        room = stft(torch.cat([torch.ones(1), early[1:]]))
        heard = torch.cat([filtered(self.x[bins], room[bins]) for bins in self.bins])
        self.adam.zero_grad()
        comparison(self.y)(self.loss_stft(istft(heard, self.n_samples)[None])).sum().backward()
        self.adam.step()
        with torch.no_grad():
            for decay, level in zip(self.decay, self.level, strict=True):
                decay.clamp_(0.02, 0.6)
                level.clamp_(-5.0, 0.0)


def filtered(signal: Tensor, room: Tensor) -> Tensor:
    padded = F.pad(signal, (room.shape[-1] - 1, 0))[None]
    return F.conv1d(padded, room.flip(-1)[:, None], groups=len(room))[0]


def seconds_of(update: Callable[[], object], count: int) -> float:
    update()
    start = time.process_time()
    for _ in range(count):
        update()
    return (time.process_time() - start) / count


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--longest_rt60_s", type=float, default=2.0)
    parser.add_argument("--count", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    x = 0.05 * torch.randn(options.rows, 1, round(options.seconds * RATE_HZ))
    room = BlindRoom(RATE_HZ, options.longest_rt60_s)
    room.reset(x, 1)
    together = seconds_of(lambda: room.fit(x, x, n_updates=5), max(1, options.count // 5)) / 5
    loops = [LoopedRoom(row[0], row[0], room.n_frames, room.band_hz) for row in x]

    def update_loops() -> None:
        for one in loops:
            one.update()

    looped = seconds_of(update_loops, options.count)
    rows = [["all at once", f"{together:.3f}", "1"], ["loops", f"{looped:.3f}", f"{looped / together:.1f}"]]
    print(markdown_table(["", "processor seconds per update", "times"], rows))


if __name__ == "__main__":
    main()
