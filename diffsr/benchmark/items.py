"""The list of a track: its items as numbers, the checksums of the files they use, and where it is kept."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from diffsr.errors import ConfigError, DataError
from diffsr.io.atomic import write_text
from diffsr.simulation.plan import MeasuredRoom, ScenePlan, from_row, to_row

COMMITTED = Path(__file__).parent / "items"
CHECKSUM_DIGITS = 12
VERSION = 1
"""Of the form of the file."""


@dataclass(frozen=True)
class Item:
    """One item of a track.

    Attributes:
        plan: The scene as numbers; paths are relative to the data folder.
        pair: `within` one corpus or `across` corpora; None for one talker.
        response: `simulated` or `measured`; None without a room.
        subset: Whether it is one of the stratified few.
        rms_db: RMS of the rendered observation and of the target of each talker, dB re full scale, to
            0.01 dB: a library that renders otherwise is noticed.
    """

    plan: ScenePlan
    pair: str | None = None
    response: str | None = None
    subset: bool = False
    rms_db: tuple[float, ...] = ()

    @property
    def id(self) -> str:
        """Its name, such as `joint-test-07`."""
        return self.plan.id

    @property
    def stratum(self) -> tuple[str, ...]:
        """What items are reported apart by."""
        return tuple(name for name in (self.pair, self.response) if name)


@dataclass(frozen=True)
class ItemList:
    """A track of one split.

    Attributes:
        track: Name of the track.
        split: test or valid.
        items: In order.
        files: Relative path of every file that is used -> first 12 digits of its SHA-1.
        seed: Of the draw.
        rules: What the draw kept to.
        notes: Where the data did not allow the rules.
        pyroomacoustics: Version that rendered the rooms of `rms_db`.
        own: Whether it was drawn from the user's data and is not the list of the benchmark.
    """

    track: str
    split: str
    items: tuple[Item, ...]
    files: Mapping[str, str]
    seed: int = 0
    rules: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    pyroomacoustics: str = ""
    own: bool = False

    @property
    def name(self) -> str:
        """Track and split in one word."""
        return f"{self.track}_{self.split}"

    @property
    def digest(self) -> str:
        """Changes when anything that decides the audio changes."""
        scenes = [(to_row(item.plan), item.rms_db) for item in self.items]
        text = json.dumps([scenes, sorted(self.files.items())], sort_keys=True)
        return hashlib.sha1(text.encode()).hexdigest()[:CHECKSUM_DIGITS]

    def choose(self, subset: int | None) -> list[Item]:
        """All items, or the stratified few.

        Raises:
            ConfigError: The list has a subset of another size.
        """
        if subset is None:
            return list(self.items)
        few = [item for item in self.items if item.subset]
        if subset != len(few):
            raise ConfigError(
                f"--subset {subset}: {self.name} has one fixed subset of {len(few)} items. "
                f"Use --subset {len(few)}, or leave it out for all {len(self.items)}."
            )
        return few


def read_list(path: Path, own: bool = False) -> ItemList:
    """Read a list: a line about it, then a line for each item.

    Raises:
        DataError: The file is missing, or is no such list.
    """
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
        head, rows = lines[0], lines[1:]
        if head["version"] != VERSION or head["n_items"] != len(rows):
            raise ValueError(f"version {head['version']}, {len(rows)} of {head['n_items']} items")
        return ItemList(
            track=head["track"],
            split=head["split"],
            items=tuple(_item(row) for row in rows),
            files=dict(head["files"]),
            seed=head["seed"],
            rules=head["rules"],
            notes=tuple(head["notes"]),
            pyroomacoustics=head["pyroomacoustics"],
            own=own,
        )
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(
            f"{path} is not a list of benchmark items of version {VERSION} ({error}). Remove it: the next "
            "run draws it again from the same data."
        ) from error


def write_list(path: Path, found: ItemList) -> None:
    """Write a list completely or not at all.

    Raises:
        DataError: The file cannot be written.
    """
    head = {
        "version": VERSION,
        "track": found.track,
        "split": found.split,
        "n_items": len(found.items),
        "seed": found.seed,
        "rules": found.rules,
        "notes": found.notes,
        "pyroomacoustics": found.pyroomacoustics,
        "files": found.files,
    }
    rows = [{**asdict(item), "plan": to_row(item.plan)} for item in found.items]
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in (head, *rows)))


def committed_list(track: str, split: str) -> ItemList:
    """The list of the benchmark."""
    return read_list(COMMITTED / f"{track}_{split}.jsonl")


def files_of(plan: ScenePlan) -> list[str]:
    """Paths of everything that a scene reads."""
    paths = [talker.path for talker in plan.talkers]
    paths += [plan.noise.path] if plan.noise else []
    paths += plan.room.paths if isinstance(plan.room, MeasuredRoom) else []
    return paths


def checksum(path: Path) -> str:
    """First digits of the SHA-1 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha1").hexdigest()[:CHECKSUM_DIGITS]


def check_files(found: ItemList, folder: Path) -> None:
    """Make sure that the data are those of the list.

    Raises:
        DataError: A file is missing or has changed; the message names the first and counts the others.
    """
    problems = [problem for path in found.files if (problem := _problem(found, folder, path))]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        kind = "list drawn for this output folder" if found.own else "list of the benchmark"
        way_out = "use another --output" if found.own else "draw tracks of your own with --own"
        raise DataError(
            f"{problems[0]}{more}. The {kind}, {found.name}, needs {len(found.files)} files exactly as they "
            f"were. Restore the data, or {way_out}."
        )


def count_strata(found: ItemList) -> dict[str, int]:
    """How many items there are of each kind that is reported apart; a kind that all are of is none."""
    counts = Counter(name for item in found.items for name in item.stratum)
    return {name: count for name, count in counts.items() if count < len(found.items)}


def _problem(found: ItemList, folder: Path, path: str) -> str | None:
    """What is wrong with one file."""
    try:
        actual = checksum(folder / path)
    except OSError as error:
        return f"{folder / path} cannot be read ({error.strerror or error})"
    expected = found.files[path]
    return None if actual == expected else f"{folder / path} has changed: SHA-1 {actual}, expected {expected}"


def _item(row: Mapping[str, Any]) -> Item:
    fields = dict(row)
    plan = from_row(fields.pop("plan"))
    return Item(plan=plan, **{**fields, "rms_db": tuple(fields["rms_db"])})
