"""Variants of dereverberation side by side on the same recordings with the same prior.

    python benchmarks/tune_rooms.py pack DATA rooms.pt [--track dereverb] [--count 20] [--seconds 4]
    python benchmarks/tune_rooms.py run rooms.pt [--only NAME ...] [--exact] [--calls 60] [--rows 1]
        [--precision float32]
        [--device cuda] [--out estimates.pt]
    python benchmarks/tune_rooms.py score rooms.pt estimates.pt

`pack` renders valid items once (it alone needs pyroomacoustics); all are cut to the same length, so that they
can run as rows of one batch. `run` needs PyTorch, SciPy and soundfile only; scores whose packages are missing
are left out, and can be had later by `score` from the estimates. Prints for each variant the mean changes
over the recordings of SI-SDR, ESTOI and PESQ in simulated and in measured rooms, the mean absolute error and
the bias of the reverberation time, and the seconds for a second of sound. The reference is the direct path;
that of measured rooms is the dry talker, whose SI-SDR says little.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from room_variants import Make, variants
from torch import Tensor

from diffsr.api import Restorer
from diffsr.baselines import make_baseline
from diffsr.diffusion import Prior
from diffsr.diffusion.prior import DEFAULT
from diffsr.errors import DiffsrError
from diffsr.signal.room_acoustics import rt60_s

RATE_HZ = 16000

Kept = dict[str, Any]
"""What a file holds by name: recordings, or the estimates of one variant."""
Score = Callable[[Tensor, Tensor], Tensor]


# --- recordings


def pack(options: argparse.Namespace) -> None:
    from diffsr.benchmark.items import committed_list
    from diffsr.benchmark.scenes import _rooms_of, located
    from diffsr.simulation.scene import render

    items = committed_list(options.track, options.split).items[options.skip : options.skip + options.count]
    n_samples = round(options.seconds * RATE_HZ)
    observations, references, rt60, responses = [], [], [], []
    for item in items:
        plan = located(item.plan, Path(options.data))
        scene = render(plan, _rooms_of(plan))
        dry = scene.dry[0] if item.response == "measured" else scene.direct[0, 0]
        assert scene.responses is not None
        full = scene.responses.full[0][:1]
        observations.append(scene.observation[0, :n_samples])
        references.append(dry[:n_samples])
        rt60.append(float(rt60_s(full[0], RATE_HZ)))
        responses.append(full.half())
    torch.save(
        {
            "ids": [item.id for item in items],
            "kind": [item.response for item in items],
            "y": torch.stack(observations).half(),
            "x": torch.stack(references).half(),
            "rt60_s": rt60,
            "responses": responses,
        },
        options.file,
    )


# --- restoration


def run(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    data = load(options.file)
    count = min(options.count, len(data["ids"]))
    prior = Prior.from_pretrained(options.prior)
    saved: dict[str, Kept] = {}
    print(header(count, data, options), flush=True)
    for name, wave in {"(input)": data["y"][:count], "(wpe)": None}.items():
        if wave is None:
            wpe = make_baseline("wpe")
            wave = torch.stack([wpe(y[None], RATE_HZ, 1)[0] for y in data["y"][:count]])
        print(row(name, {"x": wave}, data), flush=True)
    for name, make in variants(options.calls).items():
        chosen = not options.only or any(
            (part == name) if options.exact else (part in name) for part in options.only
        )
        if chosen:
            try:
                saved[name] = restore(make, prior, data, count, options)
            except Exception as error:  # one variant that fails does not stop the others
                print(f"| {name} | failed: {error} |", flush=True)
                continue
            print(row(name, saved[name], data), flush=True)
            if options.out:
                kept = {key: {**one, "x": one["x"].half()} for key, one in saved.items()}
                torch.save(kept, options.out)


def load(file: str) -> Kept:
    """What `pack` wrote, in single precision."""
    data: Kept = torch.load(file, weights_only=True)
    return {**data, "y": data["y"].float(), "x": data["x"].float()}


def restore(make: Make, prior: Prior, data: Kept, count: int, options: argparse.Namespace) -> Kept:
    started, waves, times = time.perf_counter(), [], []
    for start in range(0, count, options.rows):
        rows = range(start, min(start + options.rows, count))
        recipe = make(together([data["responses"][k].float() for k in rows]))
        restorer = Restorer(
            prior,
            recipe=recipe,
            device=options.device,
            batch=options.rows,
            precision=options.precision,
        )
        recordings = [data["y"][k][None] for k in rows]
        done = restorer.restore_many(recordings, [RATE_HZ] * len(rows), [data["ids"][k] for k in rows])
        for one in done:
            if isinstance(one, DiffsrError):
                raise one
            waves.append(one.wave)
            found = one.physics.values if one.physics else {}
            if "rt60_s" in found:  # of the samples of the only channel
                times.append(float(rt60_s(found["room_response"][0, :, 0, 0], RATE_HZ).mean()))
    seconds = time.perf_counter() - started
    sound_s = count * data["y"].shape[-1] / RATE_HZ
    return {"x": torch.cat(waves), "rt60_s": times, "rtf": seconds / sound_s}


def together(responses: list[Tensor]) -> Tensor:
    """Responses `[1, L]` of rows, cut after a second and padded to the same length: `[B, 1, 1, L]`."""
    size = min(max(one.shape[-1] for one in responses), RATE_HZ)
    cut = [one[:, :size] for one in responses]
    return torch.stack([F.pad(one, (0, size - one.shape[-1])) for one in cut])[:, None]


# --- scores


def header(count: int, data: Kept, options: argparse.Namespace) -> str:
    title = f"{count} recordings, {options.calls} calls"
    return (
        f"| {title} | sim SI-SDR | sim ESTOI | sim PESQ | meas SI-SDR | meas ESTOI | meas PESQ | "
        "T60 MAE sim | meas | bias | RTF |\n" + "| --- " * 11 + "|"
    )


def row(name: str, found: Kept, data: Kept) -> str:
    x = found["x"].float()
    cells = [name]
    for kind in ("simulated", "measured"):
        chosen = [k for k in range(len(x)) if data["kind"][k] == kind]
        for score in scores():
            cells.append(mean_change(score, x, data, chosen))
    times = found.get("rt60_s") or []
    errors = {k: t - data["rt60_s"][k] for k, t in enumerate(times)}
    for kind in ("simulated", "measured"):
        own = [abs(e) for k, e in errors.items() if data["kind"][k] == kind and math.isfinite(e)]
        cells.append(f"{sum(own) / len(own):.3f}" if own else "")
    finite = [e for e in errors.values() if math.isfinite(e)]
    cells.append(f"{sum(finite) / len(finite):+.3f}" if finite else "")
    cells.append(f"{found['rtf']:.2f}" if "rtf" in found else "")
    return "| " + " | ".join(cells) + " |"


def scores() -> list[Score]:
    from diffsr.evaluation.metrics import estoi, pesq_wb, si_sdr_db

    return [
        lambda a, b: si_sdr_db(a, b),
        lambda a, b: estoi(a, b, RATE_HZ),
        lambda a, b: pesq_wb(a, b, RATE_HZ),
    ]


def mean_change(score: Score, x: Tensor, data: Kept, chosen: list[int]) -> str:
    try:
        changes = [
            float(score(x[k], data["x"][k])) - float(score(data["y"][k], data["x"][k])) for k in chosen
        ]
    except ImportError:
        return "?"
    changes = [change for change in changes if math.isfinite(change)]
    return f"{sum(changes) / len(changes):+.3f}" if changes else ""


def score(options: argparse.Namespace) -> None:
    data = load(options.file)
    estimates = torch.load(options.estimates, weights_only=True)
    count = len(next(iter(estimates.values()))["x"])
    options.calls = "?"
    print(header(count, data, options))
    for name, found in {"(input)": {"x": data["y"][:count]}, **estimates}.items():
        print(row(name, found, data), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(required=True)
    one = verbs.add_parser("pack")
    one.add_argument("data")
    one.add_argument("file")
    one.add_argument("--track", default="dereverb")
    one.add_argument("--split", default="valid")
    one.add_argument("--count", type=int, default=20)
    one.add_argument("--skip", type=int, default=0)
    one.add_argument("--seconds", type=float, default=4.0)
    one.set_defaults(do=pack)
    one = verbs.add_parser("run")
    one.add_argument("file")
    one.add_argument("--prior", default=DEFAULT)
    one.add_argument("--only", nargs="*", default=[], help="parts of names")
    one.add_argument("--exact", action="store_true")
    one.add_argument("--precision", default="float32", help="auto, float32, bfloat16")
    one.add_argument("--calls", type=int, default=60, help="of the network, each recording")
    one.add_argument("--rows", type=int, default=1, help="recordings at once")
    one.add_argument("--count", type=int, default=10**6)
    one.add_argument("--threads", type=int, default=1)
    one.add_argument("--device", default="cpu")
    one.add_argument("--out", default=None, help="where the estimates are kept")
    one.set_defaults(do=run)
    one = verbs.add_parser("score")
    one.add_argument("file")
    one.add_argument("estimates")
    one.set_defaults(do=score)
    options = parser.parse_args()
    options.do(options)


if __name__ == "__main__":
    main()
