"""Run a system on a track of the open benchmark, and score what was run."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diffsr.commands.report_listen import check_page
from diffsr.commands.terminal import Progress, names_of, note, say
from diffsr.io.atomic import check_writable

if TYPE_CHECKING:
    from diffsr.benchmark.items import ItemList
    from diffsr.benchmark.store import TrackPlace

OUTPUT = "runs/benchmark"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `diffsr benchmark`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    run_it = actions.add_parser("run", help="write the estimates of a system, item by item")
    score = actions.add_parser(
        "score", help="score what was run, also on another machine, and print the table"
    )
    for sub in (run_it, score):
        sub.add_argument(
            "--track", required=True, help="enhance, dereverb, denoise_dereverb, separate or joint"
        )
        sub.add_argument(
            "--data", required=True, metavar="DIR", help="folder with the manifests (no default)"
        )
        sub.add_argument("--split", default="test", help="test for reported rows, valid for tuning")
        sub.add_argument("--subset", type=int, metavar="20", help="the stratified 20 of the items")
        sub.add_argument("--output", default=OUTPUT, metavar="OUT", help=f"where results go ({OUTPUT})")
        sub.add_argument(
            "--own", action="store_true", help="draw own tracks though DIR holds the benchmark's files"
        )
    run_it.add_argument(
        "--system", required=True, metavar="NAME", help="a baseline or a task; wrong names list all"
    )
    run_it.add_argument(
        "--label", metavar="NAME", help="name of the folder and the rows (default: the system's)"
    )
    run_it.add_argument(
        "--prior", metavar="PATH", help="for a task: a prior folder, a run folder or a checkpoint"
    )
    run_it.add_argument(
        "--preset",
        metavar="NAME",
        help="for a task: fast, default or quality, or an experiment: experiments/enhance/udiffse.yaml",
    )
    run_it.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change the experiment: --set sampler.init_args.n_steps=60",
    )
    run_it.add_argument(
        "--oracle",
        metavar="WHAT",
        help="for a task: tell it the true noise power, room or voices of each item: noise,room,identity",
    )
    run_it.add_argument("--device", help="for a task: auto, cpu, cuda, cuda:1, mps")
    run_it.add_argument("--precision", help="for a task: auto, float32, bfloat16")
    run_it.add_argument("--seed", type=int, help="for a task: of the posterior samples (0)")
    run_it.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes that restore items, each its own (1)"
    )
    score.add_argument(
        "--system",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="names or labels (default: all that were run)",
    )
    score.add_argument(
        "--metrics",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="further scores: sdr_db, stoi, pesq_nb, dnsmos_ovrl, dnsmos_sig, dnsmos_bak, dnsmos_p808, srmr",
    )
    score.add_argument(
        "--listen",
        metavar="FILE.html",
        help="also write a page to listen to 20 items of all systems",
    )


def run(options: argparse.Namespace) -> int:
    """Run or score; exit code 2 when items failed or estimates are missing."""
    return _run(options) if options.action == "run" else _score(options)


def _run(options: argparse.Namespace) -> int:
    from diffsr.benchmark.oracle import parse_oracle
    from diffsr.benchmark.runner import run_items
    from diffsr.benchmark.systems import open_system
    from diffsr.benchmark.workers import Workers

    open_alike = functools.partial(
        open_system,
        options.system,
        options.prior,
        options.preset,
        options.device,
        options.seed,
        options.set,
        parse_oracle(options.oracle),
        options.precision,
    )
    system = open_alike()
    workers = None if options.workers == 1 else Workers(options.workers, open_alike)
    found, folder, place = _open(options)
    items = found.choose(options.subset)
    at = place.system(options.label or system.label)
    with Progress(at.label) as progress:
        report = run_items(found, items, folder, system, at, progress, workers)
    before = f", {report.n_before} were there already" if report.n_before else ""
    say(f"{at.folder}: {report.n_run} items restored{before}")
    for name, reason in report.failed.items():
        sys.stderr.write(f"diffsr: error: {name}: {reason}\n")
    return 2 if report.failed else 0


def _score(options: argparse.Namespace) -> int:
    from diffsr.benchmark.scorer import choose_labels, missing_of, score_system
    from diffsr.benchmark.table import tables
    from diffsr.evaluation.results import Evaluation

    if options.listen:
        check_page(options.listen, "--listen")
        check_writable(options.listen)
    metrics = _metrics(options)
    found, folder, place = _open(options)
    items = found.choose(options.subset)
    labels = choose_labels(found, place, _parts(options.system))
    scores = []
    with Progress("scoring") as progress:
        for label in labels:
            scores.append(score_system(found, items, folder, place, label, metrics, progress))
    rows = [row for system in scores for row in system.rows]
    if rows:
        Evaluation(rows).write_csv(place.scores(options.subset))
    n_shown = None
    if options.listen:
        from diffsr.commands.benchmark_page import write_benchmark_page

        n_shown = write_benchmark_page(options.listen, found, items, folder, place, scores)
    say(tables(found, scores) + (f"\nscores of each item: {place.scores(options.subset)}" if rows else ""))
    if n_shown is not None:
        say(f"{options.listen}: {n_shown} items to listen to")
    n_missing = missing_of(scores)
    if n_missing:
        note(f"{n_missing} estimates are missing or cannot be scored; run the system again to complete them")
    return 2 if n_missing else 0


def _parts(words: Sequence[str] | None) -> list[str]:
    """Names that are separated by blanks or by commas."""
    return [name for word in words or () for name in names_of(word) or ()]


def _metrics(options: argparse.Namespace) -> list[str]:
    """Scores of every table, those of the track that can be had, and those that were asked for."""
    from diffsr.benchmark.tracks import EXTRA_METRICS, METRICS, find_track
    from diffsr.errors import ConfigError
    from diffsr.evaluation.metrics import select_metrics

    track = find_track(options.track)
    extra = EXTRA_METRICS.get(track.name, ())
    asked = [*METRICS, *_parts(options.metrics)]
    try:
        return [metric.name for metric in select_metrics([*asked, *extra], track.n_talkers)]
    except ConfigError as error:
        found = [metric.name for metric in select_metrics(asked, track.n_talkers)]  # fails where it was these
        note(f"{', '.join(extra)} left out: {error}")
        return found


def _open(options: argparse.Namespace) -> tuple[ItemList, Path, TrackPlace]:
    """The list, with the news where it was drawn from the user's own data."""
    from diffsr.benchmark.lists import open_list

    with Progress("drawing items") as progress:
        found, folder, place = open_list(
            options.track,
            options.split,
            options.data,
            options.output,
            own=options.own,
            on_progress=progress,
        )
    if found.own:
        note(f"own data: these items are not those of the benchmark; they are kept in {place.items}")
    return found, folder, place
