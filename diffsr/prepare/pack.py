"""Packs of speech to train from on another machine: small folders that stand on their own.

Every speech span of a manifest is coded once, and the files are dealt out to parts of equal size, so that
each part has all corpora and talkers in like proportion. The validation speech is in every part.
"""

from __future__ import annotations

import math
import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from diffsr.errors import ConfigError, DataError
from diffsr.io.atomic import replacing
from diffsr.io.manifest import MANIFEST_NAME, Utterance, read_manifest, training_rows, write_manifest
from diffsr.prepare.overlap import warn_of_shared
from diffsr.prepare.pack_coding import Coded, Coder, Coding, OnProgress, digest

MIB = 1 << 20
_ROW_BYTES = 400
"""Of one line of the manifest, on the safe side."""


@dataclass(frozen=True)
class Packed:
    """What was written.

    Attributes:
        folders: The parts that were written.
        sizes: Their bytes, manifest included.
        parts: Training files of each part there is, written or not.
        valid: Validation files, in every part.
        problems: Why files were left out.
        n_reused: Files that were there from a stopped run.
    """

    folders: tuple[Path, ...]
    sizes: tuple[int, ...]
    parts: tuple[tuple[Coded, ...], ...]
    valid: tuple[Coded, ...]
    problems: tuple[str, ...]
    n_reused: int


def pack(
    manifest: str | Path,
    output: str | Path,
    mib: float = 36.0,
    part: int | None = None,
    valid: str | Path | None = None,
    n_valid: int = 48,
    coding: Coding | None = None,
    on_progress: OnProgress | None = None,
) -> Packed:
    """Write `output/part-1`, `output/part-2`, ... with at most `mib` MiB each.

    A stopped run goes on with the files that are there. Rows marked test are left out.

    Args:
        manifest: Speech, see `diffsr.io.manifest.read_manifest`.
        output: Folder of the parts.
        mib: Size of a part.
        part: Write this one only, counted from 1.
        valid: Validation speech, its rows marked valid if there are any, else all but test; None for the
            rows of `manifest` marked valid. Warns where speech of it trains too.
        n_valid: Validation files, talkers in turn; stored as FLAC.
        coding: Of the training speech.
        on_progress: Told about every file.

    Raises:
        DataError: No usable speech, or the parts cannot be written.
        ConfigError: An argument is out of range, or a part cannot be that small.
    """
    coding, output = coding or Coding(), Path(output).expanduser()
    if output.exists() and not output.is_dir():
        raise DataError(f"{output} is a file, expected the name of a folder for the parts.")
    train, held_out = _select(manifest, valid, n_valid)
    _refuse_own([*train, *held_out], output)
    with Coder(output, on_progress, len(train) + len(held_out)) as coder:
        valid_files = coder.code(held_out, Coding("flac", coding.rate_hz))
        train_files = coder.code(train, coding)
    if not train_files or 2 * len(coder.problems) > len(train) + len(held_out):
        raise DataError(
            f"{len(coder.problems)} of {len(train) + len(held_out)} files cannot be packed; first: "
            f"{coder.problems[0]} Repair the corpus or its manifest."
        )
    parts = deal(train_files, _room(mib, valid_files))
    if part is not None and not 1 <= part <= len(parts):
        raise ConfigError(f"--part {part}: there are {len(parts)} parts of {mib:g} MiB, counted from 1.")
    numbers = range(1, len(parts) + 1) if part is None else [part]
    folders = [output / f"part-{number}" for number in numbers]
    for folder, number in zip(folders, numbers, strict=True):
        _write(folder, parts[number - 1], valid_files)
    _clean(output, folders, coder.pool if part is None else None)
    sizes = tuple(folder_bytes(folder) for folder in folders)
    return Packed(
        tuple(folders),
        sizes,
        tuple(tuple(one) for one in parts),
        tuple(valid_files),
        tuple(coder.problems),
        coder.n_reused,
    )


def deal(files: Sequence[Coded], room_bytes: float) -> list[list[Coded]]:
    """Deal files to the fewest parts of at most `room_bytes`, talkers and corpora spread evenly.

    Each file goes where there is least of its talker, then of its corpus, then of all; in the order of a
    hash of the names. So every part has nearly the size of the others.

    Raises:
        ConfigError: A single file is larger than a part.
    """
    largest = max(files, key=_cost)
    if _cost(largest) > room_bytes:
        raise ConfigError(
            f"{largest.utterance.path} alone takes {_cost(largest) / MIB:.2f} MiB, and a part has room for "
            f"{max(room_bytes, 0) / MIB:.2f} MiB beside the validation speech. Give a larger --mib."
        )
    n_parts = max(1, math.ceil(sum(_cost(file) for file in files) / room_bytes))
    while True:
        parts = _deal(files, n_parts)
        if max(sum(map(_cost, one)) for one in parts) <= room_bytes:
            return parts
        n_parts += 1


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _deal(files: Sequence[Coded], n_parts: int) -> list[list[Coded]]:
    parts: list[list[Coded]] = [[] for _ in range(n_parts)]
    amounts: list[dict[object, int]] = [defaultdict(int) for _ in range(n_parts)]
    for file in sorted(files, key=lambda file: digest(file.utterance.id)):
        corpus = file.utterance.corpus
        keys = [("talker", corpus, file.utterance.speaker or file.utterance.id), ("corpus", corpus), "all"]
        least = min(range(n_parts), key=lambda index: [amounts[index][key] for key in keys])
        parts[least].append(file)
        for key in keys:
            amounts[least][key] += _cost(file)
    return parts


def _cost(file: Coded) -> int:
    return file.n_bytes + _ROW_BYTES


def _room(mib: float, valid: Sequence[Coded]) -> float:
    room = mib * MIB - sum(map(_cost, valid))
    if not room > 0:
        raise ConfigError(
            f"A part of {mib:g} MiB has no room for training speech beside {len(valid)} validation files of "
            f"{sum(map(_cost, valid)) / MIB:.1f} MiB. Give a larger --mib or fewer --valid-files."
        )
    return room


def _select(
    manifest: str | Path, valid: str | Path | None, n_valid: int
) -> tuple[list[Utterance], list[Utterance]]:
    if n_valid < 0:
        raise ConfigError(f"--valid-files {n_valid}: expected a number of at least 0.")
    rows = read_manifest(manifest)
    train = training_rows(rows, manifest)
    if not train:
        raise DataError(f"{manifest} has no rows for training: all {len(rows)} are marked valid or test.")
    held_out = [row for row in rows if row.split == "valid"]
    if valid is not None:
        others = [row for row in read_manifest(valid) if row.split != "test"]
        held_out = [row for row in others if row.split == "valid"] or others
        advice = "Leave out --valid, mark rows in a column 'split', or give other speech."
        warn_of_shared(train, held_out, valid, advice)
    return train, _talkers_in_turn(held_out)[:n_valid]


def _refuse_own(rows: Iterable[Utterance], output: Path) -> None:
    """Refuse speech that lies where the parts are written: it would be packed again, or replaced."""
    place = output.resolve()
    for row in rows:
        if place in row.path.resolve().parents:
            raise ConfigError(
                f"{row.path} lies in {output}, where the parts are written. Choose another folder for the "
                "parts."
            )


def _talkers_in_turn(rows: Iterable[Utterance]) -> list[Utterance]:
    """The first of each talker, then the second of each, in the order of a hash."""
    turn: dict[object, int] = defaultdict(int)
    order: list[tuple[int, int, Utterance]] = []
    for row in sorted(rows, key=lambda row: digest(row.id)):
        key = (row.corpus, row.speaker or row.id)
        order.append((turn[key], len(order), row))
        turn[key] += 1
    return [row for _, _, row in sorted(order, key=lambda item: item[:2])]


def _write(folder: Path, train: Sequence[Coded], valid: Sequence[Coded]) -> None:
    """Copy the files of a part in; the manifest comes last."""
    audio = folder / "audio"
    listed = []
    try:
        audio.mkdir(parents=True, exist_ok=True)
        for split, files in (("train", train), ("valid", valid)):
            for file in files:
                target = audio / file.path.name
                if not target.is_file():
                    _link_or_copy(file.path, target)
                listed.append(replace(file.utterance, path=target, split=split))
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written ({error.strerror or error}). Free some disk space or choose another "
            "place."
        ) from error
    write_manifest(folder / MANIFEST_NAME, listed)


def _clean(output: Path, folders: Sequence[Path], pool: Path | None) -> None:
    """Remove what earlier calls left: other files in the parts; other parts and `pool`, where all are new."""
    for folder in folders:
        known = {row.path.name for row in read_manifest(folder)}
        for path in (folder / "audio").iterdir():
            if path.name not in known:
                path.unlink()
    if pool is not None:
        shutil.rmtree(pool, ignore_errors=True)
        for old in output.glob("part-*"):
            if old not in folders and (old / MANIFEST_NAME).is_file():
                shutil.rmtree(old, ignore_errors=True)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # file systems without links
        with replacing(target) as temporary:
            shutil.copyfile(source, temporary)
