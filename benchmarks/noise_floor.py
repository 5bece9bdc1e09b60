"""Starts of the noise model, without any network: quantiles against minima.

    python benchmarks/noise_floor.py MIXTURES

For recordings at 0, 10 and 25 dB: bias of the mean level, and the SI-SDR-like gain of a Wiener filter with
the estimate. An estimate that is best at one SNR and harmful at another is no good start.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from diffsr.io.audio import read_audio
from diffsr.signal.noise_floor import noise_floor
from diffsr.signal.stft import STFT


def minimum_statistics(power: Tensor, bias: float) -> Tensor:
    """Minimum over 1.2 s of the spectrum smoothed over 15 frames."""
    smooth = F.avg_pool1d(power, 15, stride=1, padding=7, count_include_pad=False)
    minimum = -F.max_pool1d(-smooth, 151, stride=1, padding=75)
    return bias * F.avg_pool1d(minimum, 151, stride=1, padding=75, count_include_pad=False)


METHODS: dict[str, Callable[[Tensor], Tensor]] = {
    "minimum, bias 1.8": partial(minimum_statistics, bias=1.8),
    "minimum, bias 2.5": partial(minimum_statistics, bias=2.5),
    "quantile .1, bias 1.5": partial(noise_floor, quantile=0.1, bias=1.5),
    "quantile .25, bias 1.3 (used)": noise_floor,
    "quantile .25, bias 1.3, 2 s": partial(noise_floor, window_frames=250),
    "quantile .3, bias 1.2": partial(noise_floor, quantile=0.3, bias=1.2),
    "quantile .4, bias 1": partial(noise_floor, quantile=0.4, bias=1.0),
    "quantile .5, bias 1": partial(noise_floor, quantile=0.5, bias=1.0),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("mixtures", type=Path, help="folder of make_mixtures.py, with noisy/ and clean/")
    mixtures = parser.parse_args().mixtures
    if not any((mixtures / "noisy").glob("*.wav")):
        parser.error(f"{mixtures} has no noisy/*.wav; make them with make_mixtures.py")
    stft = STFT(512, 128)
    print("| start | " + " | ".join(f"{snr} dB: level bias, gain (worst)" for snr in (0, 10, 25)) + " |")
    print("| --- | --- | --- | --- |")
    for name, method in METHODS.items():
        cells = [cell(mixtures, method, stft, snr_db) for snr_db in (0, 10, 25)]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def cell(mixtures: Path, method: Callable[[Tensor], Tensor], stft: STFT, snr_db: float) -> str:
    bias, gain = [], []
    for path in sorted((mixtures / "noisy").glob("*.wav")):
        clean = read_audio(mixtures / "clean" / path.name)[0]
        noise = (read_audio(path)[0] - clean) * 10 ** (-snr_db / 20)
        spec = stft(clean + noise)
        floor = method(spec.abs().square()).clamp_min(1e-8)
        bias.append(10 * torch.log10(floor.mean() / stft(noise).abs().square().mean()))
        wiener = (1 - floor / spec.abs().square().clamp_min(1e-12)).clamp_min(0.01)
        error = stft.inverse(wiener * spec, clean.shape[-1]) - clean
        gain.append(10 * torch.log10(noise.square().sum() / error.square().sum()))
    levels, gains = torch.stack(bias), torch.stack(gain)
    return f"{levels.mean():.1f} dB, {gains.mean():.2f} ({gains.min():.2f}) dB"


if __name__ == "__main__":
    main()
