"""Variants of dereverberation side by side on the same recordings with the same prior.

    python benchmarks/tune_rooms.py pack DATA rooms.pt [--track dereverb] [--count 20] [--seconds 4]
    python benchmarks/tune_rooms.py run rooms.pt [--only NAME ...] [--exact] [--steps 60] [--rows 1]
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
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from diffsr.api import Restorer
from diffsr.baselines import make_baseline
from diffsr.degradations import BlindRoom, Room
from diffsr.degradations.prediction import LatePrediction
from diffsr.diffusion import Prior
from diffsr.diffusion.prior import DEFAULT
from diffsr.errors import DiffsrError
from diffsr.likelihoods import DriftingNoise, NMFNoise, WhiteNoise
from diffsr.likelihoods.late_reverberation import LateReverberation
from diffsr.likelihoods.spectral import SpectralCompression
from diffsr.recipe_file import load_recipe
from diffsr.recipes import Recipe, make_recipe
from diffsr.samplers import DPS, AnnealedSampler, NoisePerturbed, Proximal, Renoise, UpdateNoise
from diffsr.samplers.initialise import FromObservation, FromWPE
from diffsr.samplers.prediction_estimation import MeasureDecay, UpdateLateReverberation, UpdatePrediction
from diffsr.samplers.room_estimation import AtLevel, UpdateRoom
from diffsr.signal.room_acoustics import rt60_s

RATE_HZ = 16000


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


# --- variants


def variants(n: int) -> dict[str, Callable[[], Recipe]]:
    """Name -> recipe."""

    def blind(
        guidance=None,
        churn=0.25,
        updates=10,
        late=10,
        start=math.inf,
        freeze=0.0,
        whiten=False,
        level=1e-3,
        initialiser=None,
        sigma_max=0.5,
        rho=10.0,
        solver=None,
        likelihood=None,
        room=None,
        steps=n,
        noise=False,
        late_at=0.1,
        sigma_min=1e-4,
    ) -> Recipe:
        estimators = [UpdateNoise()] if noise else []
        estimators.append(UpdateRoom(start, late_at, freeze, updates, late, whiten))
        sampler = AnnealedSampler(
            guidance or DPS("normalised", zeta=0.8),
            solver,
            estimators,
            n_steps=steps,
            sigma_max=sigma_max,
            rho=rho,
            churn=churn,
            initialiser=initialiser or FromWPE(),
            sigma_min=sigma_min,
        )
        return Recipe(sampler, likelihood or WhiteNoise(level), room or BlindRoom())

    def informed(guidance, likelihood=None, churn=0.25, solver=None, sigma_max=0.5) -> Recipe:
        sampler = AnnealedSampler(
            guidance, solver, [], n_steps=n, rho=10.0, churn=churn, initialiser=FromWPE(), sigma_max=sigma_max
        )
        return Recipe(sampler, likelihood or WhiteNoise(1e-3))

    def late(
        guidance=None,
        churn=2.0,
        likelihood=None,
        sigma_max=0.5,
        noise=True,
        every=3,
        taps=40,
        delay=2,
        freeze=0.01,
        start=0.05,
        init=None,
        rho=7.0,
        tail=False,
        drift=0.0,
        fit=0.0,
    ) -> Recipe:
        estimators = [UpdatePrediction(10.0, freeze, every)] + ([UpdateNoise(start)] if noise else [])
        if tail:
            estimators[1:] = [
                *([UpdateNoise(drift, n_updates=2)] if drift else []),
                UpdateLateReverberation(start),
            ]
        if fit:
            estimators.append(UpdateRoom(sigma_start=fit) if fit > 0 else MeasureDecay())
        sampler = AnnealedSampler(
            guidance or NoisePerturbed(),
            None,
            estimators,
            n_steps=n,
            churn=churn,
            sigma_max=sigma_max,
            rho=rho,
            initialiser=init or FromWPE(10, 3, 3),
        )
        return Recipe(sampler, likelihood or NMFNoise(), LatePrediction(taps, delay))

    dps, prox, spectral = DPS, Proximal, SpectralCompression

    def tail(initial=0.1, start=0.1, level=3e-3, n_updates=3, delay_tail=2, noise=None, **more) -> Recipe:
        likelihood = LateReverberation(
            noise or WhiteNoise(level), initial=initial, n_updates=n_updates, delay=delay_tail
        )
        return late(likelihood=likelihood, tail=True, start=start, **more)

    def near(weight=2.0, start=0.05, **more) -> Recipe:
        return tail(start=start, guidance=NoisePerturbed(weight), fit=-1.0, **more)

    around = {
        "near: default": near,
        "near: weight 1.7": partial(near, 1.7),
        "near: weight 2.3": partial(near, 2.3),
        "near: start .03": partial(near, start=0.03),
        "near: start .08": partial(near, start=0.08),
        "near: churn 1": partial(near, churn=1.0),
        "near: churn 3": partial(near, churn=3.0),
        "near: sigma .2": partial(near, sigma_max=0.2),
        "near: sigma 1": partial(near, sigma_max=1.0),
        "near: rho 5": partial(near, rho=5.0),
        "near: rho 10": partial(near, rho=10.0),
        "near: level 1e-3": partial(near, level=1e-3),
        "near: level 6e-3": partial(near, level=6e-3),
        "near: initial .03": partial(near, initial=0.03),
        "near: initial .3": partial(near, initial=0.3),
        "near: late updates 1": partial(near, n_updates=1),
        "near: late updates 10": partial(near, n_updates=10),
        "near: late from frame 1": partial(near, delay_tail=1),
        "near: late from frame 3": partial(near, delay_tail=3),
        "near: taps 20": partial(near, taps=20),
        "near: taps 60": partial(near, taps=60),
        "near: delay 1": partial(near, delay=1),
        "near: delay 3": partial(near, delay=3),
        "near: every level": partial(near, every=1),
        "near: prediction to .002": partial(near, freeze=0.002),
        "near: prediction to .03": partial(near, freeze=0.03),
        "near: from y": lambda: near(init=FromObservation()),
        "near: from long wpe": lambda: near(init=FromWPE()),
        "noisy: late nmf": late,
        "noisy: drift .2": lambda: near(1.5, noise=DriftingNoise(), drift=0.2),
        "noisy: drift .1": lambda: near(1.5, noise=DriftingNoise(), drift=0.1),
        "noisy: drift .5": lambda: near(1.5, noise=DriftingNoise(), drift=0.5),
        "noisy: drift .2 weight 2": lambda: near(2.0, noise=DriftingNoise(), drift=0.2),
        "noisy: drift .2 weight 2.5": lambda: near(2.5, noise=DriftingNoise(), drift=0.2),
        "noisy: drift .05": lambda: near(2.0, noise=DriftingNoise(), drift=0.05),
        "noisy: drift .2 long": lambda: near(1.5, noise=DriftingNoise(401), drift=0.2),
        "noisy: drift .2 start .02": lambda: near(1.5, start=0.02, noise=DriftingNoise(), drift=0.2),
        "noisy: drift .2 start .1": lambda: near(1.5, start=0.1, noise=DriftingNoise(), drift=0.2),
        "noisy: drift .2 no prediction": lambda: near(1.5, noise=DriftingNoise(), drift=0.2, freeze=10.0),
        "noisy: nmf": lambda: near(2.0, noise=NMFNoise(), drift=0.05),
        "noisy: floor": lambda: near(2.0, noise=DriftingNoise()),
    }
    return {
        **around,
        "tail": tail,
        "tail fit .01": lambda: tail(fit=0.01),
        "buddy": lambda: load_recipe("experiments/dereverb/buddy.yaml"),
        "default": lambda: make_recipe("dereverb", "default"),
        "fast": lambda: make_recipe("dereverb", "fast"),
        "denoise fast": lambda: make_recipe("denoise_dereverb", "fast"),
        "enhance fast": lambda: make_recipe("enhance", "fast"),
        "denoise default": lambda: make_recipe("denoise_dereverb", "default"),
        "tail .05": lambda: tail(start=0.05, fit=-1.0),
        "tail .05 weight 2": lambda: tail(start=0.05, guidance=NoisePerturbed(2.0), fit=-1.0),
        "tail .05 weight 3": lambda: tail(start=0.05, guidance=NoisePerturbed(3.0), fit=-1.0),
        "tail .05 weight 4": lambda: tail(start=0.05, guidance=NoisePerturbed(4.0), fit=-1.0),
        "tail .03 weight 3": lambda: tail(start=0.03, guidance=NoisePerturbed(3.0), fit=-1.0),
        "tail .05 weight 3 v 1e-3": lambda: tail(
            start=0.05, guidance=NoisePerturbed(3.0), level=1e-3, fit=-1.0
        ),
        "tail .05 weight 3 freeze .002": lambda: tail(
            start=0.05, guidance=NoisePerturbed(3.0), freeze=0.002, fit=-1.0
        ),
        "tail .05 weight 3 sigma .2": lambda: tail(
            start=0.05, guidance=NoisePerturbed(3.0), sigma_max=0.2, fit=-1.0
        ),
        "tail .05 weight 3 sigma .1": lambda: tail(
            start=0.05, guidance=NoisePerturbed(3.0), sigma_max=0.1, fit=-1.0
        ),
        "tail .05 weight 3 delay 3": lambda: tail(
            start=0.05, guidance=NoisePerturbed(3.0), delay=3, fit=-1.0
        ),
        "tail .05 weight 3 taps 60": lambda: tail(
            start=0.05, guidance=NoisePerturbed(3.0), taps=60, fit=-1.0
        ),
        "tail .05 weight 3 long wpe": lambda: tail(
            start=0.05, guidance=NoisePerturbed(3.0), init=FromWPE(), fit=-1.0
        ),
        "tail start .05": lambda: tail(start=0.05),
        "tail start .2": lambda: tail(start=0.2),
        "tail initial .02": lambda: tail(0.02),
        "tail v 1e-3": lambda: tail(level=1e-3),
        "tail v 6e-3": lambda: tail(level=6e-3),
        "tail no prediction": lambda: tail(freeze=1.0),
        "tail from y": lambda: tail(init=FromObservation()),
        "tail from long wpe": lambda: tail(init=FromWPE()),
        "tail proximal": lambda: tail(guidance=prox(), churn=1.0),
        "tail weight 1": lambda: tail(guidance=NoisePerturbed(1.0)),
        "tail weight 2": lambda: tail(guidance=NoisePerturbed(2.0)),
        "tail churn 1": lambda: tail(churn=1.0),
        "tail churn 4": lambda: tail(churn=4.0),
        "tail every 1": lambda: tail(every=1),
        "tail prediction freeze .05": lambda: tail(freeze=0.05),
        "tail delay 1": lambda: tail(delay=1),
        "tail delay 3": lambda: tail(delay=3),
        "tail of 1": lambda: tail(delay_tail=1),
        "tail of 4": lambda: tail(delay_tail=4),
        "tail updates 10": lambda: tail(n_updates=10),
        "tail taps 20": lambda: tail(taps=20),
        "tail taps 60": lambda: tail(taps=60),
        "tail sigma .2": lambda: tail(sigma_max=0.2),
        "tail sigma 1": lambda: tail(sigma_max=1.0),
        "late nmf": lambda: late(),
        "late white 3e-3": lambda: late(likelihood=WhiteNoise(3e-3)),
        "late white 1e-2": lambda: late(likelihood=WhiteNoise(1e-2)),
        "late white 3e-3 proximal": lambda: late(prox(), 1.0, likelihood=WhiteNoise(3e-3)),
        "enhance": lambda: Recipe(
            AnnealedSampler(NoisePerturbed(), n_steps=n, churn=2.0, initialiser=FromWPE(10, 3, 3)),
            NMFNoise(),
            LatePrediction(),
        ),
        "informed proximal": lambda: informed(prox()),
        "informed proximal v 1e-2": lambda: informed(prox(), WhiteNoise(1e-2)),
        "informed proximal churn 1": lambda: informed(prox(), churn=1.0),
        "informed proximal cg 20": lambda: informed(prox(20)),
        "informed dps likelihood": lambda: informed(dps("likelihood")),
        "informed spectral 1": lambda: informed(dps("normalised", 1.0, 0.0), spectral()),
        "informed spectral 2.75": lambda: informed(dps("normalised", 2.75, 0.0), spectral()),
        "informed dps normalised 2": lambda: informed(dps("normalised", 2.0)),
        "spectral .5": lambda: blind(dps("normalised", 0.5, 0.0), likelihood=spectral()),
        "spectral .8": lambda: blind(dps("normalised", 0.8, 0.0), likelihood=spectral()),
        "spectral .8 at level": lambda: blind(AtLevel(dps("normalised", 0.8, 0.0)), likelihood=spectral()),
        "spectral 1.2": lambda: blind(dps("normalised", 1.2, 0.0), likelihood=spectral()),
        "dps normalised .8": lambda: blind(),
        "dps normalised .5": lambda: blind(dps("normalised", 0.5)),
        "dps normalised 1.2": lambda: blind(dps("normalised", 1.2)),
        "dps likelihood": lambda: blind(dps("likelihood")),
        "dps likelihood v 3e-3": lambda: blind(dps("likelihood"), level=3e-3),
        "dps likelihood v 1e-2": lambda: blind(dps("likelihood"), level=1e-2),
        "proximal": lambda: blind(prox()),
        "proximal v 3e-3": lambda: blind(prox(), level=3e-3),
        "proximal v 1e-2": lambda: blind(prox(), level=1e-2),
        "proximal churn 1": lambda: blind(prox(), churn=1.0),
        "proximal churn 2": lambda: blind(prox(), churn=2.0),
        "proximal renoise": lambda: blind(prox(), churn=0.0, solver=Renoise(False)),
        "noise perturbed": lambda: blind(NoisePerturbed(), churn=2.0),
        "noise perturbed v 1e-2": lambda: blind(NoisePerturbed(), churn=2.0, level=1e-2),
        "np v 1e-2 late 3": lambda: blind(NoisePerturbed(), churn=2.0, level=1e-2, late=3),
        "np v 1e-2 start .15": lambda: blind(NoisePerturbed(), churn=2.0, level=1e-2, start=0.15),
        "np v 1e-2 start .05": lambda: blind(NoisePerturbed(), churn=2.0, level=1e-2, start=0.05),
        "np nmf": lambda: blind(NoisePerturbed(), churn=2.0, likelihood=NMFNoise(), noise=True),
        "np nmf start .15": lambda: blind(
            NoisePerturbed(), churn=2.0, likelihood=NMFNoise(), noise=True, start=0.15
        ),
        "np nmf whiten": lambda: blind(
            NoisePerturbed(), churn=2.0, likelihood=NMFNoise(), noise=True, whiten=True
        ),
        "np v 1e-2 whiten": lambda: blind(NoisePerturbed(), churn=2.0, level=1e-2, whiten=True),
        "noise perturbed churn 1": lambda: blind(NoisePerturbed(1.0), churn=1.0),
        "proximal v 1e-2 churn 1": lambda: blind(prox(), level=1e-2, churn=1.0),
        "proximal nmf": lambda: blind(prox(), likelihood=NMFNoise(), noise=True, whiten=True),
        "proximal late 3": lambda: blind(prox(), late=3),
        "proximal at level": lambda: blind(AtLevel(prox())),
        "proximal from y": lambda: blind(prox(), initialiser=FromObservation()),
        "proximal sigma 1": lambda: blind(prox(), sigma_max=1.0),
        "proximal sigma .2": lambda: blind(prox(), sigma_max=0.2),
        "proximal whiten": lambda: blind(prox(), whiten=True),
    }


def run(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    data = load(options.file)
    count = min(options.count, len(data["ids"]))
    prior = Prior.from_pretrained(options.prior)
    saved: dict[str, dict] = {}
    print(header(count, data, options), flush=True)
    for name, wave in {"(input)": data["y"][:count], "(wpe)": None}.items():
        if wave is None:
            wpe = make_baseline("wpe")
            wave = torch.stack([wpe(y[None], RATE_HZ, 1)[0] for y in data["y"][:count]])
        print(row(name, {"x": wave}, data), flush=True)
    for name, make in variants(options.steps).items():
        chosen = not options.only or any(
            (part == name) if options.exact else (part in name) for part in options.only
        )
        if chosen:
            try:
                saved[name] = restore(name, make, prior, data, count, options)
            except Exception as error:  # one variant that fails does not stop the others
                print(f"| {name} | failed: {error} |", flush=True)
                continue
            print(row(name, saved[name], data), flush=True)
            if options.out:
                kept = {key: {**one, "x": one["x"].half()} for key, one in saved.items()}
                torch.save(kept, options.out)


def load(file: str) -> dict:
    """What `pack` wrote, in single precision."""
    data: dict = torch.load(file, weights_only=True)
    return {**data, "y": data["y"].float(), "x": data["x"].float()}


def restore(
    name: str, make: Callable[[], Recipe], prior: Prior, data: dict, count: int, options: argparse.Namespace
) -> dict:
    started, waves, times = time.perf_counter(), [], []
    for start in range(0, count, options.rows):
        recipe = make()
        rows = range(start, min(start + options.rows, count))
        if name.startswith("informed"):
            recipe.degradation = true_room([data["responses"][k].float() for k in rows])
        restorer = Restorer(prior, recipe=recipe, device=options.device, batch=options.rows)
        recordings = [data["y"][k][None] for k in rows]
        done = restorer.restore_many(recordings, [RATE_HZ] * len(rows), [data["ids"][k] for k in rows])
        failed = next((one for one in done if isinstance(one, DiffsrError)), None)
        if failed is not None:
            raise failed
        waves += [one.wave for one in done]
        described = recipe.degradation.describe()
        if "rt60_s" in described:
            times += rt60_s(described["room_response"][:, 0, 0].cpu(), RATE_HZ).tolist()
    seconds = time.perf_counter() - started
    sound_s = count * data["y"].shape[-1] / RATE_HZ
    return {"x": torch.cat(waves), "rt60_s": times, "rtf": seconds / sound_s}


def true_room(responses: list[Tensor]) -> Room:
    """Responses `[1, L]` of rows, cut after a second and padded to the same length."""
    size = min(max(one.shape[-1] for one in responses), RATE_HZ)
    padded = [
        torch.nn.functional.pad(one[:, :size], (0, size - one[:, :size].shape[-1])) for one in responses
    ]
    return Room(torch.stack(padded)[:, None])


# --- scores


def header(count: int, data: dict, options: argparse.Namespace) -> str:
    title = f"{count} recordings, {options.steps} steps"
    return (
        f"| {title} | sim SI-SDR | sim ESTOI | sim PESQ | meas SI-SDR | meas ESTOI | meas PESQ | "
        "T60 MAE sim | meas | bias | RTF |\n" + "| --- " * 11 + "|"
    )


def row(name: str, found: dict, data: dict) -> str:
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


def scores() -> list:
    from diffsr.evaluation.metrics import estoi, pesq_wb, si_sdr_db

    return [
        lambda a, b: si_sdr_db(a, b),
        lambda a, b: estoi(a, b, RATE_HZ),
        lambda a, b: pesq_wb(a, b, RATE_HZ),
    ]


def mean_change(score: Callable[[Tensor, Tensor], Tensor], x: Tensor, data: dict, chosen: list[int]) -> str:
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
    options.steps = "?"
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
    one.add_argument("--steps", type=int, default=60)
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
