"""`diffsr report listen`: a page to listen to restorations, look at them, compare and rate them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from diffsr.commands.terminal import Progress, names_of, note, say
from diffsr.errors import AudioError, ConfigError, DataError
from diffsr.io.atomic import check_writable
from diffsr.io.paths import named_path

if TYPE_CHECKING:
    from diffsr.report.listening_items import Found, ListeningItem

METRICS = ("si_sdr_db", "pesq_wb", "estoi")
RECORDING, CLEAN = "recording", "clean"  # diffsr.report.listening_items, whose import takes seconds


def add_listen(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Options of `diffsr report listen`."""
    parser = kinds.add_parser(
        "listen", help="one HTML file with players, spectrograms and scores of restorations, and a blind test"
    )
    add = parser.add_argument
    add(
        "restored",
        nargs="+",
        metavar="[NAME=]RESTORED",
        help="folders of restored recordings, or a file each; NAME is the system's (default: the folder's)",
    )
    add("--input", "--inputs", metavar="NOISY", help="the recordings; matched by relative name")
    add("--clean", metavar="CLEAN", help="the references, which are scored against and can be heard, too")
    add(
        "--metrics",
        metavar="NAMES",
        help=f"comma-separated scores (default: {','.join(METRICS)} where there are references, else none)",
    )
    add("--talkers", metavar="NAMES", help="sub-folders of the talkers, as for diffsr evaluate")
    add("--count", type=int, default=20, help="the first so many items by name; 0 for all (default: 20)")
    add("--crop_s", type=float, help="only so many seconds of each, for a smaller file (default: all)")
    add("--title", default="Listening", help="heading of the page")
    add("--output", default="listen.html", metavar="FILE", help="the page (default: listen.html)")


def run_listen(options: argparse.Namespace) -> int:
    """Write the page; exit code 2 when items could not be read."""
    systems, output = _systems(options.restored), Path(options.output)
    _check(options, output)
    from diffsr.report.listening import write_page
    from diffsr.report.listening_items import find_items

    metrics, talkers = names_of(options.metrics), names_of(options.talkers)
    if metrics is None:
        metrics = METRICS if options.clean else ()
    inputs, clean = (Path(place) if place else None for place in (options.input, options.clean))
    found = find_items(systems, inputs, clean, talkers)
    _check_metrics(metrics, found.n_talkers, clean)
    wanted = list(found.items)[: options.count or None]
    items, failed = _read(found, wanted, metrics, bool(options.clean))
    write_page(output, items, list(systems), options.title, options.crop_s)
    say(f"{output}: {len(items)} of {len(found.items)} items, {output.stat().st_size / 2**20:.1f} MiB")
    if found.left_out:
        more = " and so on" if len(found.left_out) > 3 else ""
        say(f"not in all folders ({len(found.left_out)}): {', '.join(found.left_out[:3])}{more}")
    for name, reason in failed.items():
        note(f"{name}: {reason}")
    return 2 if failed else 0


def _read(
    found: Found, wanted: list[str], metrics: tuple[str, ...], has_clean: bool
) -> tuple[list[ListeningItem], dict[str, str]]:
    """The items, and those that could not be read; Ctrl-C leaves those that were."""
    from diffsr.report.listening_items import read_item

    items: list[ListeningItem] = []
    failed: dict[str, str] = {}
    with Progress("reading", "items") as progress:
        for done, name in enumerate(wanted, start=1):
            try:
                items.append(read_item(name, found.items[name], metrics, has_clean))
            except AudioError as error:
                failed[name] = str(error)
            except KeyboardInterrupt:
                if not items:
                    raise
                note(f"interrupted: the page has the first {len(items)} items")
                break
            progress(done, len(wanted), name)
    if not items:
        name, reason = next(iter(failed.items()))
        raise DataError(f"None of the {len(failed)} items can be read. The first, {name}: {reason}")
    return items, failed


def _systems(given: list[str]) -> dict[str, Path]:
    """Name of each system -> its folder or file."""
    systems: dict[str, Path] = {}
    for text in given:
        name, equals, place = text.partition("=")
        is_path = not equals or Path(text).exists()
        path = named_path(text if is_path else place)
        name = path.resolve().name if is_path else name
        if not name or name in (*systems, RECORDING, CLEAN):
            taken = f"{name!r} is the name of another track" if name else "found no name"
            raise ConfigError(f"{text}: {taken}. Give the system a name of its own: NAME={path}")
        systems[name] = path
    return systems


def _check_metrics(metrics: tuple[str, ...], n_talkers: int, clean: Path | None) -> None:
    """Refuse scores that are unknown, or cannot be had."""
    from diffsr.evaluation.metrics import select_metrics

    chosen = select_metrics(metrics, n_talkers) if metrics else ()
    needy = [metric.name for metric in chosen if metric.needs_reference]
    if needy and clean is None:
        raise ConfigError(f"{', '.join(needy)} cannot do without references. Give them with --clean.")


def _check(options: argparse.Namespace, output: Path) -> None:
    check_page(output, "--output")
    check_writable(output)
    if options.count < 0:
        raise ConfigError(f"--count is {options.count}; expected 1 or more, or 0 for all items.")
    if options.crop_s is not None and not 0 < options.crop_s < float("inf"):
        raise ConfigError(f"--crop_s is {options.crop_s:g}; expected seconds above 0.")


def check_page(path: str | Path | None, option: str) -> None:
    """Refuse a name that is no page's, before anything is done for it.

    Raises:
        ConfigError: It does not end in .html.
    """
    if path is not None and Path(path).suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"{option} {path}: expected a name that ends in .html.")
