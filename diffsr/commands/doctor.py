"""Check this installation, or a sampler: each line is ok, a warning or a failure with its fix."""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from diffsr.commands.restore import DEFAULT_PRIOR
from diffsr.commands.terminal import say
from diffsr.errors import DiffsrError

CORE = (
    "torch", "torchaudio", "lightning", "jsonargparse", "omegaconf", "torchmetrics", "numpy", "soundfile",
    "soxr", "safetensors",
)  # fmt: skip
"""Looked for where diffsr runs without being installed, so that nothing tells what it requires."""
EXTRAS = {
    "evaluation": "DNSMOS and SRMR", "baselines": "RNNoise and noisereduce", "tensorboard": "its logger",
}  # fmt: skip
"""Optional packages by the extra that brings them, and what they are for."""
GIB = 2**30
LEAST_MEMORY_GIB = 2.0
"""Available: an hour of `enhance` takes about that."""


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    level: str  # ok, warn, fail
    what: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.level:4s}  {self.what}" + (f"\n      -> {self.fix}" if self.fix else "")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`--sampler FILE` checks a sampler in place of the installation."""
    parser.add_argument(
        "--sampler",
        type=Path,
        metavar="FILE",
        help="check this sampler against posteriors that are known exactly, such as "
        "experiments/sampler/dps.yaml, or that of an experiment; no prior is needed",
    )


def run(options: argparse.Namespace) -> int:
    """Print the findings; exit code 2 when one is a failure. A biased sampler is news, not a failure."""
    if options.sampler is not None:
        from diffsr.commands.check_sampler import report

        report(options.sampler)
        return 0
    failures = 0
    for finding in findings():
        say(str(finding))
        failures += finding.level == "fail"
    say(f"\n{failures} failure{'s' * (failures != 1)}" if failures else "\nready")
    return 2 if failures else 0


def findings() -> Iterator[Finding]:
    """All checks, in order; a check that breaks is a finding itself."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _python, _packages, _torch, _memory, _torchaudio, _compiler, _disk, _models, _starter
    )  # fmt: skip
    for check in checks:
        try:
            yield from check()
        except Exception as error:
            yield Finding(
                "fail",
                f"{check.__name__.strip('_')}: {type(error).__name__}: {error}",
                "Reinstall: make setup",
            )


def _python() -> Iterator[Finding]:
    yield Finding("ok", f"Python {platform.python_version()}")  # an older one does not get this far


def _packages() -> Iterator[Finding]:
    required = _required()
    found, missing = _look_for(["diffsr", *required.pop("", CORE)])
    if found:
        yield Finding("ok", ", ".join(found))
    if missing:
        names = " ".join(missing)
        yield Finding(
            "fail", f"not installed: {names}", "make setup, or: pip install -c constraints.txt -e ."
        )
    for extra, purpose in EXTRAS.items():
        found, missing = _look_for(required.get(extra, []))
        if missing:
            what = f"not installed: {' '.join(missing)} (optional, for {purpose})"
            yield Finding("warn", what, f"pip install 'diffsr[{extra}]'")
        elif found:
            yield Finding("ok", f"{', '.join(found)} (optional)")


def _required() -> dict[str, list[str]]:
    """Packages that diffsr asks for by the extra that does, "" for none; empty where it is not installed."""
    try:
        lines = metadata.requires("diffsr") or []
    except metadata.PackageNotFoundError:
        return {}
    found: dict[str, list[str]] = {}
    for line in lines:  # such as: nara_wpe>=0.0.11; extra == "baselines"
        name, extra = re.match(r"[\w.-]+", line), re.search(r"extra *== *['\"]([\w.-]+)", line)
        if name:
            found.setdefault(extra[1] if extra else "", []).append(name[0])
    return found


def _look_for(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Those that are installed with their versions, and those that are not."""
    versions = {name: _version(name) for name in names}
    found = [f"{name} {version}" for name, version in versions.items() if version]
    return found, [name for name, version in versions.items() if not version]


def _torch() -> Iterator[Finding]:
    import torch

    from diffsr.diffusion.devices import takes_bfloat16

    def precision(device: str) -> str:
        kind = "bfloat16" if takes_bfloat16("auto", torch.device(device)) else "float32"
        return f"restores in {kind} (--precision auto)"

    yield Finding(
        "ok",
        f"CPU: {os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads, {precision('cpu')}",
    )
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            gpu = torch.cuda.get_device_properties(index)
            yield Finding(
                "ok",
                f"GPU {index}: {gpu.name}, {gpu.total_memory / GIB:.0f} GiB, CUDA {torch.version.cuda}, "
                + precision(f"cuda:{index}"),
            )
    elif getattr(torch.backends, "mps", None) and torch.backends.mps.is_available():
        yield Finding("ok", "GPU: Apple (mps)")
    elif shutil.which("nvidia-smi"):
        built = f"is built for CUDA {torch.version.cuda}" if torch.version.cuda else "is built for CPUs"
        yield Finding(
            "warn",
            f"there is an NVIDIA driver, but this torch {built} and does not use it",
            "update the driver, or install a torch that fits it (https://pytorch.org/get-started)",
        )
    else:
        yield Finding("ok", "no GPU: training and restoring run on the CPU")


def _memory() -> Iterator[Finding]:
    found = _memory_gib()
    if found is None:
        return
    total, available = found
    what = f"memory: {available:.1f} of {total:.1f} GiB available"
    if available < LEAST_MEMORY_GIB:
        yield Finding(
            "warn",
            what,
            "close other programs, and restore long recordings in shorter sections (--section_s 30)",
        )
    else:
        yield Finding("ok", what)


def _memory_gib() -> tuple[float, float] | None:
    """Memory of the machine and what of it is available; None where the system does not say."""
    try:
        # Not os.sysconf("SC_AVPHYS_PAGES"), which counts files that are cached as if they were needed.
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        kib = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        return kib["MemTotal"] * 1024 / GIB, kib["MemAvailable"] * 1024 / GIB
    except (OSError, ValueError, LookupError):  # no Linux
        return None


def _torchaudio() -> Iterator[Finding]:
    from diffsr.signal.torchaudio_home import extension_loaded

    try:
        extension = extension_loaded()
    except DiffsrError as error:
        yield Finding("fail", "torchaudio does not load", str(error))
        return
    state = (
        "" if extension else " (without its compiled extension, which does not fit this torch; nothing to do)"
    )
    yield Finding("ok", f"torchaudio {_version('torchaudio')} loads{state}")


def _compiler() -> Iterator[Finding]:
    compiler = next((c for c in (os.environ.get("CC"), "cc", "gcc", "clang") if c and shutil.which(c)), None)
    if compiler:
        yield Finding("ok", f"C compiler: {compiler}")
    elif _version("pesq"):
        yield Finding(
            "warn", "no C compiler (only needed to install pesq again)", "Debian, Ubuntu: apt-get install gcc"
        )
    else:
        yield Finding(
            "fail", "no C compiler, and pesq is built from source", "Debian, Ubuntu: apt-get install gcc"
        )


def _disk() -> Iterator[Finding]:
    free_gib = shutil.disk_usage(Path.cwd()).free / GIB
    what = f"{free_gib:.1f} GiB free in this folder"
    if free_gib < 0.5:
        yield Finding("fail", what, "a training run needs at least 0.5 GiB: free some, or choose --runs DIR")
    elif free_gib < 3:
        yield Finding("warn", what, "checkpoints may fill it: free some, or choose --runs DIR")
    else:
        yield Finding("ok", what)


def _models() -> Iterator[Finding]:
    """Whether what restores when nothing else is named is there and whole: by loading it, in 0.3 s."""
    from diffsr.diffusion import Prior
    from diffsr.samplers.tracks import TRACKER
    from diffsr.speakers import SpeakerEncoder, VoiceTracker

    loads: dict[str, Callable[[str], object]] = {
        DEFAULT_PRIOR: Prior.from_pretrained,
        "speaker-16k": SpeakerEncoder.from_pretrained,
        TRACKER: VoiceTracker.from_pretrained,
    }
    loaded = []
    for name, load in loads.items():
        try:
            load(name)
            loaded.append(name)
        except DiffsrError as error:
            yield Finding(
                "fail", f"{name}, which ships with diffsr, does not load", f"{error} Reinstall diffsr."
            )
    if loaded:
        yield Finding("ok", f"models: {', '.join(loaded)}")


def _starter() -> Iterator[Finding]:
    manifest = Path(__file__).parents[1] / "assets" / "starter" / "manifest.jsonl"
    if not manifest.is_file():
        yield Finding("warn", "the starter corpus is missing", "train with DATA=FOLDER, or reinstall diffsr")
        return
    lines = manifest.read_text(encoding="utf-8").splitlines()
    yield Finding("ok", f"starter corpus: {len(lines)} recordings")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
