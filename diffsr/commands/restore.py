"""Restore a recording or a folder of recordings: same rate, channels and level out as in.

Several talkers (--task separate or joint) come out of one channel, of the mean of all unless --channels says
which: OUT.talker1.wav and so on, OUT.residual.wav, which is the recording less their sum, and OUT.json.
In a folder, a recording that cannot be restored is reported at the end and does not stop the others.
What is there already is skipped, so an interrupted run continues where it stopped.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Self

from tqdm import tqdm

from diffsr.commands.terminal import NEWS_EVERY_S, note, say
from diffsr.errors import ConfigError

if TYPE_CHECKING:
    from diffsr.api import Restorer
    from diffsr.restoration.file_report import FileReport

DEFAULT_PRIOR = "speech-16k-fast"  # diffsr.diffusion.prior.DEFAULT, whose import takes seconds
TASKS = (
    "enhance (noise), dereverb (room), denoise_dereverb (both), separate (several talkers), joint (several "
    "talkers in a room with noise), declip (peaks cut off), packet_loss (gaps of zeros), bandwidth (narrow "
    "band)"
)

DEFAULT_SECTION_S = 60.0  # diffsr.restoration.section_plan.SECTION_S
PRECISION = "auto (bfloat16 where the processor is made for it: faster), float32, bfloat16"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `diffsr restore`."""
    parser.add_argument("input", metavar="IN", help="a recording (wav, flac, ogg, opus, mp3) or a folder")
    parser.add_argument("output", metavar="OUT", help="the file or the folder to write")
    # Catches too many paths; with a default, or argparse would ask for it where OUT is missing.
    parser.add_argument("more", nargs="*", default=[], help=argparse.SUPPRESS)
    parser.add_argument("--task", default="enhance", help=TASKS)
    parser.add_argument(
        "--talkers", type=int, metavar="N", help="how many; of --task separate and joint (2, up to 8)"
    )
    parser.add_argument(
        "--cutoff_hz", type=float, help="where the frequencies end; of --task bandwidth, else estimated"
    )
    parser.add_argument(
        "--prior",
        default=DEFAULT_PRIOR,
        help=f"a prior that ships ({DEFAULT_PRIOR} by default), a prior or run folder, or a checkpoint",
    )
    parser.add_argument(
        "--preset",
        default="default",
        help="fast, default, quality (30, 60, about 200 network calls; in unknown rooms 30, 90, 300; "
        "of several talkers for each of 4 restarts), or the "
        "path of an experiment (.yaml) whose sampler and models are taken",
    )
    parser.add_argument("--rir", help="file with the known room response; of --task dereverb")
    parser.add_argument(
        "--samples",
        type=int,
        metavar="R",
        help="posterior samples, of which OUT is made; each is in OUT.samples (default: the task's own)",
    )
    parser.add_argument(
        "--physics",
        action="store_true",
        help="write noise, room and spread beside the audio: OUT.json, OUT.png, OUT.response.wav",
    )
    parser.add_argument(
        "--batch", type=int, metavar="N", help="recordings of equal length at once (CUDA: 8, else 1)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the posterior sample")
    parser.add_argument(
        "--channels",
        default="each",
        help="each (default; of several talkers their mean), mean, or the number of one channel",
    )
    parser.add_argument(
        "--section_s",
        type=float,
        default=DEFAULT_SECTION_S,
        metavar="S",
        help="longest piece in which a long recording of one talker is restored, to save memory "
        f"(default {DEFAULT_SECTION_S:g}; 0: whole, whatever its length)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--precision", default="auto", help=PRECISION)
    parser.add_argument("--overwrite", action="store_true", help="restore again what is there already")


def run(options: argparse.Namespace) -> int:
    """Restore; exit code 2 when a recording failed."""
    if options.channels not in ("each", "mean") and not options.channels.isdecimal():
        raise ConfigError(
            f"--channels {options.channels}: expected each, mean or the number of a channel (0 is the first)."
        )
    if options.more:
        raise ConfigError(
            f"{2 + len(options.more)} paths are given: {options.input}, {options.output}, "
            f"{', '.join(options.more)}; expected one IN and one OUT. For several recordings give their "
            "folder."
        )
    from diffsr.api import Restorer
    from diffsr.files import restore_path
    from diffsr.io.audio import of_other_formats
    from diffsr.io.memory import PeakMemory

    restorer = Restorer(
        options.prior,
        task=options.task,
        preset=options.preset,
        seed=options.seed,
        device=options.device,
        channels=options.channels,
        cutoff_hz=options.cutoff_hz,
        n_samples=options.samples,
        rir=options.rir,
        batch=options.batch,
        talkers=options.talkers,
        precision=options.precision,
        section_s=options.section_s or None,
    )
    memory = PeakMemory(restorer.device)
    memory.start()
    with Progress() as progress:
        reports = restore_path(
            options.input, options.output, restorer, options.overwrite, progress, options.physics
        )
    if os.path.isdir(options.input) and (advice := of_other_formats(options.input)):
        note(advice)
    return summarise(reports, restorer, memory.mib())


def summarise(reports: Sequence[FileReport], restorer: Restorer, memory_mib: float) -> int:
    """Say what became of the recordings; returns the exit code."""
    from diffsr.restoration.file_report import account, notes

    counts = Counter(report.status for report in reports)
    if counts["restored"]:
        first = reports[0]
        more = f" and {first.n_files - 1} more" if first.n_files > 1 else ""
        where = f": {first.output}{more}" if len(reports) == 1 else ""
        say(account(reports, memory_mib) + where)
    if counts["skipped"]:
        several = (
            f"{counts['skipped']} skipped, there already from an earlier run, whatever its options "
            "(restore again with --overwrite)"
        )
        note(reports[0].message if len(reports) == 1 else several)
    for line in notes(reports, restorer.prior.rate_hz, restorer.recipe.degradation.extends_band):
        note(line)
    failed = [report for report in reports if report.status == "failed"]
    for report in failed:
        sys.stderr.write(f"diffsr: error: {report.message}\n")
    return 2 if failed else 0


class Progress:
    """One line of a terminal with file, share and time left; elsewhere one for each file and half minute."""

    def __init__(self) -> None:
        self._started_s = self._told_s = time.time()
        self._first: tuple[float, float] | None = None
        self._n_finished, self._has_worked = 0, False
        self._bar: tqdm[NoReturn] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, n_finished: int, n_files: int, name: str, step: int, n_steps: int) -> None:
        """See `diffsr.files.OnProgress`."""
        if not sys.stderr.isatty():
            self._tell(n_finished, n_files, name, step, n_steps)
            return
        if self._bar is None:
            self._bar = _bar(n_files)
            self._bar.start_t = self._started_s
        if step == 0:  # a file ends; if it took no step, it took no time, and says nothing of the others
            if not self._has_worked:
                self._bar.initial += n_finished - self._n_finished
            self._n_finished = n_finished
        self._has_worked = step > 0
        number = f"{n_finished + (step > 0)}/{n_files} " if n_files > 1 else ""
        self._bar.set_description_str(f"{number}{name}", refresh=False)
        self._bar.n = n_finished + step / n_steps
        self._bar.refresh()

    def _tell(self, n_finished: int, n_files: int, name: str, step: int, n_steps: int) -> None:
        """A line when a file is finished, and when it is time for one."""
        now_s, done = time.time(), n_finished + step / n_steps
        if step and self._first is None:
            self._first = (now_s, done)
        if step == 0 and n_files > 1:
            note(f"{n_finished}/{n_files} {name}")
            self._told_s = now_s
        elif step and self._first is not None and now_s - self._told_s >= NEWS_EVERY_S:
            since_s, before = self._first
            left_s = (now_s - since_s) / max(done - before, 1e-9) * (n_files - done)
            share = f"{step / n_steps:.0%} of it, {left_s / 60:.1f} min left in all"
            note(f"{n_finished}/{n_files} {name}: {share}")
            self._told_s = now_s


def _bar(n_files: int) -> tqdm[NoReturn]:
    """A line on stderr that vanishes."""
    return tqdm(
        total=n_files,
        file=sys.stderr,
        bar_format="restoring {desc} {percentage:3.0f}%|{bar}| {remaining} left",
        smoothing=0,  # time left by the average, as files differ in length
        delay=1e-9,  # no empty line at first
        leave=False,
        dynamic_ncols=True,
    )
