"""Draw speech from a prior alone, without a recording: what it believes speech to be.

Writes OUT/sample_0.wav, OUT/sample_1.wav, ... and OUT/samples.png, their spectrograms. Sample i depends on
the seed and i, not on the count. What is there already is kept, so an interrupted run continues where it
stopped, and a larger count adds samples.
"""

from __future__ import annotations

import argparse

from diffsr.commands.terminal import Progress, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `diffsr sample`."""
    parser.add_argument(
        "prior", metavar="PRIOR", help="a prior folder, a run folder, or a checkpoint of `diffsr fit`"
    )
    parser.add_argument("output", metavar="OUT", help="the folder to write to")
    parser.add_argument("--count", type=int, default=8, help="number of samples (8)")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of each (4)")
    parser.add_argument("--steps", type=int, default=60, help="network calls for each (60)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples (0)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--overwrite", action="store_true", help="replace the samples that are in OUT")


def run(options: argparse.Namespace) -> int:
    """Draw; returns the exit code."""
    from diffsr.api import load_prior
    from diffsr.diffusion.devices import move_to
    from diffsr.report.samples import Draws, save_samples

    draws = Draws(options.count, options.seconds, options.steps, options.seed)
    prior = load_prior(options.prior)
    move_to(options.device, prior)
    with Progress("drawing", "network calls") as progress:
        saved = save_samples(prior, options.output, draws, options.overwrite, progress)
    n_before = draws.n_items - saved.n_drawn
    before = f", {n_before} were there already" if n_before else ""
    say(f"{options.output}: {saved.n_drawn} samples of {draws.duration_s:g} s drawn{before}; {saved.picture}")
    return 0
