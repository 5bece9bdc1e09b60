"""Separates mixtures of the benchmark in several ways and prints what each is worth.

    python benchmarks/separation.py DATA [--task joint] [--count 20] [--restarts 4] [--ways default]
    python benchmarks/separation.py DATA --talkers 3          # the first talker of the next item joins in
    python benchmarks/separation.py DATA --quieter_db 10      # the second talker is quieter by so much
    python benchmarks/separation.py DATA --silent_share .5    # the second talker is silent in the last half
    python benchmarks/separation.py DATA --long_s 120         # both go on without a pause
    python benchmarks/separation.py DATA --cut_s 4            # the first seconds only
    python benchmarks/separation.py --list

Each way is the shipped recipe `separate` (or `joint`) with something changed. Improvements of SI-SDR in dB
over the mixture: all restarts, the best of each item (an oracle), the one that a ranker chooses, all of them
joined as the recipe does; then of the joined: median, share made worse, after an oracle has put its pieces
of 1 s, 250 ms and 64 ms in order, ESTOI, swaps a minute; with --silent_share the level in dB of the track of
the one who is silent, relative to the other track. One CPU thread: set OMP_NUM_THREADS=1. Restarts are kept
in --output; what is there already is not made again. What each item took goes to stderr.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from data_modules.corpus import decode
from diffsr.api import Restorer
from diffsr.benchmark.items import Item, committed_list
from diffsr.benchmark.scenes import render_item
from diffsr.degradations import Chain, Gain, Mixing
from diffsr.diffusion.devices import PRECISIONS
from diffsr.evaluation.item import score_item
from diffsr.evaluation.permutation import best_assignment
from diffsr.io.manifest import read_manifest
from diffsr.io.memory import PeakMemory
from diffsr.recipe_file import load_recipe
from diffsr.recipes import PRESETS, TALKER_TASKS, Recipe, make_recipe
from diffsr.samplers import (
    AnnealedSampler,
    BalancedRenoise,
    Dirac,
    ExchangeTracks,
    ExchangeVoices,
    FromNoise,
    LearnVoices,
    OneVoice,
    Proximal,
    Remainder,
    Renoise,
    SpeakerGuidance,
    TellVoices,
    UpdateGain,
    VoicesInOrder,
)
from diffsr.samplers.estimation import Estimator
from diffsr.samplers.guidance import Guidance
from diffsr.samplers.joining import Joiner
from diffsr.samplers.ranking import mean_agreement_db, nearness_db

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments" / "separate"

PIECES = ("si_sdr_1000ms_db", "si_sdr_250ms_db", "si_sdr_64ms_db")
METRICS = ("si_sdr_db", *PIECES, "estoi", "swaps_per_min")
COLUMNS = (
    "way",
    "all",
    "best",
    "agreement",
    "voices",
    "nearness",
    "**joined**",
    "median",
    "worse",
    "1 s",
    "250 ms",
    "64 ms",
    "ESTOI",
    "swaps",
)


def shares(
    high: float, low: float, sigma_high: float = 0.5, sigma_low: float = 0.05, kept: float = 0.0
) -> Callable[[Recipe], None]:
    """Another temperature: shares of the noise that the prior is told, at large and small noise.

    Fresh at each level, unless some of it is kept, or its opposite.
    """

    def change(recipe: Recipe) -> None:
        recipe.sampler.solver = BalancedRenoise(high, low, sigma_high, sigma_low, kept)

    return change


def twice_the_levels(recipe: Recipe) -> None:
    """Levels between those of the search; the tracker is asked as often as before."""
    sampler = recipe.sampler
    search, last = (sampler.sigmas[part] for part in (sampler.sigmas > 0.0045, sampler.sigmas <= 0.0045))
    between = (search[:-1] * search[1:]).sqrt()
    sampler.sigmas = torch.cat([torch.stack([search[:-1], between], dim=1).flatten(), search[-1:], last])
    if isinstance(sampler.exchange, ExchangeTracks):
        sampler.exchange.every *= 2


def renoise(recipe: Recipe) -> None:
    """Independent states, the residual split by uncertainty: no rule of states."""
    recipe.sampler.guidance, recipe.sampler.solver = Proximal(), Renoise(sampled=True)


def dirac(churn: float = 7.0, exchange: ExchangeVoices | None = None) -> Callable[[Recipe], None]:
    """The difference of scores, with fresh noise: `separate` before `BalancedRenoise`; not for `joint`."""

    def change(recipe: Recipe) -> None:
        n_steps = len(recipe.sampler.sigmas) - 1
        recipe.voices = None
        recipe.sampler = AnnealedSampler(
            Dirac(share_below=5.1e-3),
            estimators=[],
            n_steps=n_steps,
            sigma_max=1.27,
            sigma_min=5e-3,
            churn=churn * n_steps / 60,
            initialiser=FromNoise(),
            constraint=Remainder(),
            exchange=exchange,
        )

    return change


def untold(recipe: Recipe) -> None:
    """Nobody is told any voice."""
    recipe.voices = None


def told(recipe: Recipe) -> None:
    """The prior is told voices, and not adapted to them: `fast` before."""
    recipe.voices = TellVoices()


def learnt(recipe: Recipe) -> None:
    """The prior is adapted to voices, and not told them, however many levels there are."""
    recipe.voices = LearnVoices()


def both(*changes: Callable[[Recipe], None]) -> Callable[[Recipe], None]:
    """One after the other."""

    def change(recipe: Recipe) -> None:
        for one in changes:
            one(recipe)

    return change


def gains(recipe: Recipe) -> None:
    """Each talker has a level of his own, beside that which the prior gives him."""
    recipe.degradation = Chain([Gain(fit=True), Mixing()])
    steps: list[Estimator] = [UpdateGain()]
    recipe.sampler.estimators = steps


def untracked(recipe: Recipe) -> None:
    """No tracker: the default before it."""
    recipe.sampler.exchange, recipe.joiner = None, VoicesInOrder()


def guided(recipe: Recipe) -> None:
    """Estimates are moved towards one voice in each track, besides."""
    moved = SpeakerGuidance(guidance=recipe.sampler.guidance, strength=0.15, sigma_high=1.0, sigma_low=0.1)
    recipe.sampler.guidance = cast(Guidance, moved)  # whose needs_gradient can only be read


def published(name: str, n_steps: int, churn: float = 0.0) -> Callable[[Recipe], None]:
    """A published rule with as many calls as the default; not for `joint`."""

    def change(recipe: Recipe) -> None:
        told = [f"sampler.init_args.n_steps={n_steps}", f"sampler.init_args.churn={churn}"]
        recipe.sampler, recipe.voices = load_recipe(EXPERIMENTS / f"{name}.yaml", told).sampler, None
        recipe.joiner = VoicesInOrder()

    return change


WAYS: dict[str, Callable[[Recipe], None]] = {
    "default": lambda recipe: None,
    "untold": untold,
    "told": told,
    "told, shares .86 .7": both(told, shares(0.86, 0.7)),
    "learnt": learnt,
    "untracked": untracked,
    "gains": gains,
    "shares 1 1": shares(1.0, 1.0),
    "shares .86 .86": shares(0.86, 0.86),
    "shares .74 .74": shares(0.74, 0.74),
    "shares .62 .62": shares(0.62, 0.62),
    "shares .5 .5": shares(0.5, 0.5),
    "shares .86 .59": shares(0.86, 0.59),
    "shares .86 .7": shares(0.86, 0.7),  # the default before noise was opposite
    "shares .86 .8": shares(0.86, 0.8),
    "opposite .5, shares .86 .7": shares(0.86, 0.7, kept=-0.5),
    "opposite .5, shares .86 .85": shares(0.86, 0.85, kept=-0.5),
    "opposite .5, shares .86 1.15": shares(0.86, 1.15, kept=-0.5),
    "opposite .5, shares 1 1": shares(1.0, 1.0, kept=-0.5),
    "opposite .5, shares .74 1": shares(0.74, 1.0, kept=-0.5),
    "opposite .7, shares .86 .95": shares(0.86, 0.95, kept=-0.7),
    "twice the levels": twice_the_levels,
    "shares .95 .65": shares(0.95, 0.65),
    "shares .86 .45": shares(0.86, 0.45),
    "shares .86 .59 from .2": shares(0.86, 0.59, 0.2, 0.03),
    "shares .86 .59 from 1": shares(0.86, 0.59, 1.0, 0.15),
    "shares .56 .86": shares(0.56, 0.86),
    "dirac": dirac(),
    "dirac, churn 5": dirac(5.0),
    "dirac, churn 10": dirac(10.0),
    "dirac, exchange": dirac(exchange=ExchangeVoices()),
    "speaker guidance 0.15": guided,
    "proximal, renoise": renoise,
}

PUBLISHED = {
    "undiff": published("undiff", 60),
    "msdm_dirac": published("msdm_dirac", 30, 1.1),
    "msdm_gaussian": published("msdm_gaussian", 30, 1.1),
    "unasdiff": published("unasdiff", 60),
    "unsepdiff": published("unsepdiff", 30, 1.8),
}
WAYS.update(PUBLISHED)
TALKERS_ONLY = {*PUBLISHED, *(way for way in WAYS if way.startswith("dirac"))}


def sounds(options: argparse.Namespace) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name, mixture `[C, T]` and talkers `[S, T]` of each item, changed as the options say."""
    found = committed_list(options.task, options.split)
    first = found.choose(20)
    items = [*first, *(item for item in found.items if item not in first)]
    for place in range(options.skip, options.count):
        sound = render_item(items[place], options.data, found)
        talkers, name = sound.reference.clone(), items[place].id
        if options.quieter_db:
            talkers[1] *= 10 ** (-options.quieter_db / 20)
            name += f"-{options.quieter_db:g}dB"
        if options.silent_share:
            talkers[1, silent_from(talkers, options) :] = 0.0
            name += f"-{options.silent_share:g}silent"
        if options.long_s:
            talkers = torch.stack([going_on(one.speaker, options) for one in items[place].plan.talkers])
            name += f"-{options.long_s:g}s"
        if options.cut_s:
            talkers, name = talkers[:, : round(options.cut_s * 16000)], f"{name}-{options.cut_s:g}s"
        if options.talkers == 3:
            talkers, name = torch.cat([talkers, guest(items, place, options, talkers)]), name + "-three"
        is_changed = name != items[place].id  # so that the recording is their sum
        yield name, talkers.sum(0)[None] if is_changed else sound.observation, talkers


def silent_from(talkers: Tensor, options: argparse.Namespace) -> int:
    """The sample from which on the second talker of `[S, T]` says nothing."""
    return round((1 - options.silent_share) * talkers.shape[-1])


def level_where_silent_db(joined: Tensor, talkers: Tensor, start: int) -> float:
    """Of the track of the second talker from there on, relative to that of the first, `[2, T]` each."""
    order = best_assignment(joined, talkers)
    first, second = joined[list(order), start:].square().mean(-1)
    return float(10 * (second / first).log10())


def going_on(speaker: str | None, options: argparse.Namespace) -> Tensor:
    """All that the data have of a talker at RMS 0.05, one file after the other and over again, `[T]`."""
    manifest = read_manifest(options.data / f"speech_{options.split}.csv")
    files = [decode(one, 16000) for one in manifest if one.speaker == speaker]
    wave = torch.cat([0.05 * one.scale * one.samples for one in files])
    length = round(options.long_s * 16000)
    return wave.repeat(-(-length // len(wave)))[:length]


def guest(items: Sequence[Item], place: int, options: argparse.Namespace, talkers: Tensor) -> Tensor:
    """A third talker, who is in another item, as loud as the first, `[1, T]`."""
    own = {talker.speaker for talker in items[place].plan.talkers}
    others = [*items[place + 1 :], *items[:place]]
    other = next(one for one in others if one.plan.talkers[0].speaker not in own)
    wave = render_item(other, options.data, committed_list(options.task, options.split)).reference[0]
    length = talkers.shape[-1]
    wave = wave.repeat(-(-length // len(wave)))[:length]
    return (wave * talkers[0].norm() / wave.norm())[None]


def recipe_of(way: str, options: argparse.Namespace) -> Recipe:
    """The shipped one, changed."""
    recipe = make_recipe(options.task, options.preset, talkers=options.talkers)
    recipe.each_talker = None  # restarts are looked at as they come before that
    WAYS[way](recipe)
    return recipe


def restarts_of(way: str, mixture: Tensor, item_id: str, options: argparse.Namespace) -> Tensor:
    """`[R, S, T]`, made or read."""
    recipe = recipe_of(way, options)
    place = Path(options.output) / f"{way}-{digest(recipe, options)}" / f"{item_id}.pt"
    if place.is_file():
        return torch.load(place, weights_only=True)
    restorer = Restorer(
        options.prior,
        recipe=recipe,
        device="cpu",
        n_samples=options.restarts,
        precision=options.precision,
        seed=options.seed,
    )
    memory = PeakMemory()
    memory.start()
    done = restorer.restore(mixture, 16000, item_id)
    made = torch.as_tensor(done.samples)
    cost = f"{done.n_calls} calls, {done.seconds:.0f} s, {memory.mib():.0f} MiB"
    print(f"{item_id}: {cost} for {mixture.shape[-1] / 16000:.1f} s", file=sys.stderr, flush=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    torch.save(made, place)
    return made


def digest(recipe: Recipe, options: argparse.Namespace) -> str:
    """Of task, sampler, told voices, prior and number: results of others are not read by mistake."""

    def plain(thing: object) -> object:
        if isinstance(thing, Tensor):
            return thing.tolist()
        if isinstance(thing, (int, float, str, bool, type(None))):
            return thing
        if isinstance(thing, (list, tuple)):
            return [plain(one) for one in thing]
        settings = {} if isinstance(thing, torch.nn.Module) else vars(thing)
        return [type(thing).__name__, *((name, plain(value)) for name, value in sorted(settings.items()))]

    told = [
        options.task,
        plain(recipe.sampler),
        plain(recipe.voices),
        *([plain(recipe.degradation)] if recipe.sampler.estimators else []),
        options.prior,
        options.restarts,
        options.precision,
        *([options.seed] if options.seed else []),
    ]
    return hashlib.sha1(json.dumps(told).encode()).hexdigest()[:8]


def ranks(restarts: Tensor, heard: Tensor, joined: Tensor) -> dict[str, int]:
    """The restart that each ranker chooses, from the scores of its voices and what was made of all."""
    return {
        "voices": int(heard.argmax()),
        "agreement": int(mean_agreement_db(restarts).argmax()),
        "nearness": int(nearness_db(restarts, joined).argmax()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--task", default="separate", choices=TALKER_TASKS)
    parser.add_argument("--split", default="valid")
    parser.add_argument("--count", type=int, default=20, help="the stratified 20 come first")
    parser.add_argument("--skip", type=int, default=0, help="of these, so that two processes share them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--restarts", type=int, default=4)
    parser.add_argument("--talkers", type=int, default=2, choices=(2, 3))
    parser.add_argument("--quieter_db", type=float, default=0.0)
    parser.add_argument("--silent_share", type=float, default=0.0, help="0 to below 1")
    parser.add_argument("--long_s", type=float, default=0.0)
    parser.add_argument("--cut_s", type=float, default=0.0)
    parser.add_argument("--preset", default="default", choices=PRESETS)
    parser.add_argument("--prior", default="speech-16k-fast")
    parser.add_argument("--precision", default="float32", choices=PRECISIONS)
    parser.add_argument("--output", default="runs/separation")
    parser.add_argument("--ways", nargs="*", default=["default"], choices=WAYS)
    parser.add_argument("--list", action="store_true", help="print the ways")
    options = parser.parse_args()
    if options.list or options.data is None:
        print("\n".join(WAYS))
        return
    refuse_unfit(parser, options)
    voices = OneVoice()
    columns = [*COLUMNS, "where silent"] if options.silent_share else COLUMNS
    print("| " + " | ".join(columns) + " |")
    print("| --- " * len(columns) + "|")
    for way in options.ways:
        rows = []
        joiner = recipe_of(way, options).joiner or VoicesInOrder()
        for name, mixture, talkers in sounds(options):
            restarts = restarts_of(way, mixture, name, options)
            start = silent_from(talkers, options) if options.silent_share else None
            rows.append(scores_of(restarts, talkers, mixture[0], voices, joiner, start))
        print(line(way, rows), flush=True)


def refuse_unfit(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End with what was expected where options do not go together."""
    if options.task == "joint" and (unfit := sorted(TALKERS_ONLY.intersection(options.ways))):
        parser.error(f"{unfit} know neither noise nor room; expected other ways for --task joint")
    if not 0 <= options.skip < options.count:
        parser.error(f"--skip is {options.skip}; expected 0 to {options.count - 1}, below --count")
    if options.restarts < 2:
        parser.error(f"--restarts is {options.restarts}; expected 2 or more, of which one is chosen")
    if not 0 <= options.silent_share < 1:
        parser.error(f"--silent_share is {options.silent_share:g}; expected 0 to below 1")
    if options.silent_share and (options.talkers == 3 or options.long_s or options.cut_s):
        parser.error("--silent_share is for two talkers and whole items")
    changes = (options.talkers == 3, options.quieter_db, options.silent_share, options.long_s, options.cut_s)
    if any(changes) and options.task == "joint":
        parser.error(
            "--talkers, --quieter_db, --silent_share, --long_s and --cut_s make mixtures of no room; "
            "expected separate"
        )


def scores_of(
    restarts: Tensor,
    reference: Tensor,
    mixture: Tensor,
    voices: OneVoice,
    joiner: Joiner,
    silent_start: int | None = None,
) -> dict[str, float]:
    """Improvements of one item in dB; where the second talker is silent from a sample on, his level there."""
    scored = [score_item(one, reference, 16000, mixture, METRICS) for one in restarts]
    before = scored[0].input["si_sdr_db"]
    gains = [row.output["si_sdr_db"] - before for row in scored]
    heard = voices.scores(restarts)
    joined = joiner(restarts, heard, 16000)
    chosen = ranks(restarts, heard, joined)
    result = score_item(joined, reference, 16000, mixture, METRICS)
    pieces = {name: result.output[name] - before for name in PIECES}
    pieces["swaps"] = result.output["swaps_per_min"]
    pieces["estoi"] = result.output["estoi"] - result.input["estoi"]
    found = {name: gains[place] for name, place in chosen.items()}
    if silent_start is not None:
        pieces["silent_db"] = level_where_silent_db(joined, reference, silent_start)
    found["joined"] = result.output["si_sdr_db"] - before
    return {"all": float(np.mean(gains)), "best": max(gains), **found, **pieces}


RANKED = ("all", "best", "agreement", "voices", "nearness", "joined")
"""Of all restarts, the best one, those that are chosen, and what is made of all."""


def line(way: str, rows: list[dict[str, float]]) -> str:
    mean = {name: np.nanmean([row[name] for row in rows]) for name in rows[0]}
    result = np.array([row["joined"] for row in rows])
    shown = [mean[name] for name in RANKED] + [np.median(result)]
    pieces = [f"{mean[name]:.1f}" for name in PIECES]
    figures = [f"{value:.1f}" for value in shown] + [f"{np.mean(result < 0):.0%}"]
    last = [f"{mean['estoi']:.3f}", f"{mean['swaps']:.1f}"]
    if "silent_db" in mean:
        last.append(f"{mean['silent_db']:.1f}")
    return "| " + " | ".join([way, *figures, *pieces, *last]) + " |"


if __name__ == "__main__":
    main()
