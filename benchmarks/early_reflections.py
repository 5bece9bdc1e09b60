"""What early reflections cost, how well the cepstrum finds them, and how much of them the prior takes away.

    python benchmarks/tune_rooms.py pack DATA rooms.pt [--track denoise_dereverb]
    python benchmarks/early_reflections.py rooms.pt [--prior NAME] [--count 8]

First table: SI-SDR against the direct path of the direct path and all reflections up to some time after
it, mean over the simulated rooms. Second: how much of the long-term cepstrum of dry speech and of its
early room stands out, by time (RMS). Third: the SI-SDR of dry speech, of direct path and early
reflections, and of all of the room, after what `EarlyReflections` finds in each was taken away, and
after what there is by the response. Fourth: white noise of level sigma is added to the direct path and
the reflections of a span of time, and the denoised estimate is written as `a` times the direct path
plus `b` times the reflections (least squares). Where b is no smaller than a, the prior takes
reflections for speech.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor
from tune_rooms import RATE_HZ, load

from diffsr.diffusion import Prior
from diffsr.diffusion.prior import DEFAULT
from diffsr.evaluation.metrics import si_sdr_db
from diffsr.samplers import EarlyReflections
from diffsr.samplers.early_reflections import without
from diffsr.signal.filtering import fft_convolve
from diffsr.signal.levels import active_rms
from diffsr.signal.reflections import long_term_cepstrum
from diffsr.signal.room_acoustics import direct_path_sample
from diffsr.signal.stft import STFT

ENDS_MS = (2, 4, 8, 16, 24, 32, 50)
SPANS_MS = ((2, 10), (10, 30), (30, 1000))
EARLY_MS = 28
QUEFRENCIES_MS = (2, 4, 8, 12, 16, 20, 28)
SIGMAS = (0.3, 0.1, 0.05, 0.02, 0.01)


def between(x: Tensor, response: Tensor, first_ms: int, last_ms: int) -> Tensor:
    """The part of the room between two times after the direct path, which has the factor 1, `[T]`."""
    place = direct_path_sample(response, RATE_HZ)
    start, stop = (place + ms * RATE_HZ // 1000 for ms in (first_ms, last_ms))
    part = torch.zeros_like(response)
    part[start:stop] = response[start:stop] / response[place]
    return fft_convolve(x[None], part[None], place)[0]


def show_cost(rooms: list[tuple[Tensor, Tensor]]) -> None:
    costs = [[float(si_sdr_db(x + between(x, h, 1, end), x)) for end in ENDS_MS] for x, h in rooms]
    print("| reflections up to (ms) | " + " | ".join(str(end) for end in ENDS_MS) + " |")
    print("| --- " * (len(ENDS_MS) + 1) + "|")
    print("| SI-SDR (dB) | " + " | ".join(f"{one:.1f}" for one in torch.tensor(costs).mean(0)) + " |")


def cepstrum_of_response(response: Tensor, n: int) -> Tensor:
    """Of the log magnitude of the early response, `[n]`."""
    place = direct_path_sample(response, RATE_HZ)
    early = response[place : place + EARLY_MS * RATE_HZ // 1000] / response[place]
    size = torch.fft.rfft(early, 4 * n).abs().clamp_min(1e-3)
    return torch.fft.irfft(size.log(), 4 * n)[:n]


def show_cepstra(rooms: list[tuple[Tensor, Tensor]]) -> None:
    stft, n_lags = STFT(4096, 512), 1 + QUEFRENCIES_MS[-1] * RATE_HZ // 1000
    speech = torch.stack([long_term_cepstrum(stft(x[None])[0].abs().square(), n_lags) for x, _ in rooms])
    room = torch.stack([cepstrum_of_response(h, speech.shape[-1]) for _, h in rooms])
    spans = list(zip(QUEFRENCIES_MS, QUEFRENCIES_MS[1:], strict=False))
    print("| RMS of the cepstrum (1e-3) | " + " | ".join(f"{a} to {b} ms" for a, b in spans) + " |")
    print("| --- " * (len(spans) + 1) + "|")
    for name, cepstra in (("speech, around its mean", speech - speech.mean(0)), ("early room", room)):
        parts = [cepstra[:, a * RATE_HZ // 1000 : b * RATE_HZ // 1000] for a, b in spans]
        print(
            f"| {name} | " + " | ".join(f"{1e3 * part.square().mean().sqrt():.1f}" for part in parts) + " |"
        )


def show_found(rooms: list[tuple[Tensor, Tensor]]) -> None:
    finder = EarlyReflections(last_ms=EARLY_MS)
    print("| SI-SDR (dB) of | as it is | found in it | response known |")
    print("| --- | --- | --- | --- |")
    ends = {"dry speech": 1, f"direct path and {EARLY_MS} ms": EARLY_MS, "all of the room": 10_000}
    for name, end_ms in ends.items():
        found = []
        for x, h in rooms:
            y = (x + between(x, h, 1, end_ms))[None]
            heard = finder.heard(y, RATE_HZ)
            true = cepstrum_of_response(h, heard.shape[-1])[None] * float(end_ms > 1)
            true[:, 0] = 0.0
            waves = (y, without(y, heard), without(y, true))
            found.append([min(float(si_sdr_db(wave[0], x)), 60.0) for wave in waves])
        means = " | ".join(f"{mean:.1f}" for mean in torch.tensor(found).mean(0))
        print(f"| {name} | {means} |", flush=True)


@torch.no_grad()
def kept(prior: Prior, direct: Tensor, reflections: Tensor, sigma: float) -> Tensor:
    """Factors of the direct path and of the reflections in a denoised estimate, `[2]`."""
    noise = torch.randn(direct.shape, generator=torch.Generator().manual_seed(0))
    z = direct + reflections + sigma * noise
    x0 = prior.denoise(z[None, None], torch.full((1, 1), sigma))[0, 0]
    return torch.linalg.lstsq(torch.stack([direct, reflections], 1), x0[:, None]).solution[:, 0]


def show_kept(rooms: list[tuple[Tensor, Tensor]], prior: Prior) -> None:
    print("| sigma | " + " | ".join(f"{a} to {b} ms: direct, reflections" for a, b in SPANS_MS) + " |")
    print("| --- " * (len(SPANS_MS) + 1) + "|")
    for sigma in SIGMAS:
        cells = []
        for span in SPANS_MS:
            found = [kept(prior, x, between(x, h, *span), sigma) for x, h in rooms]
            direct, reflections = torch.stack(found).mean(0)
            cells.append(f"{direct:.2f}, {reflections:.2f}")
        print(f"| {sigma:g} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", help="of tune_rooms.py pack")
    parser.add_argument("--prior", default=DEFAULT)
    parser.add_argument("--count", type=int, default=8, help="rooms of the second table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    prior, data = Prior.from_pretrained(options.prior), load(options.file)
    rooms = []
    for x, response, kind in zip(data["x"], data["responses"], data["kind"], strict=True):
        if kind == "simulated":
            rooms.append((x * (prior.sigma_data / active_rms(x[None], RATE_HZ)), response[0].float()))
    show_cost(rooms)
    show_cepstra(rooms)
    show_found(rooms)
    show_kept(rooms[: options.count], prior)


if __name__ == "__main__":
    main()
