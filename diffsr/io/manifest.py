"""Manifests: lists of utterances as a folder, a csv or a jsonl.

Columns (csv) or keys (jsonl): `path`, and if known `id`, `speaker`, `corpus`, `category`, `room`, `split`
(train, valid or test), `duration_s`, `speech_start_s`, `speech_end_s`, `rate_hz`, `n_samples`, `text`,
`sha1`, `licence`, `sex`; others are ignored and an empty cell (or the NaN of pandas) means unknown, as do
the speakers `unknown` and `unlabelled`. Relative paths are relative to the manifest.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from diffsr.errors import DataError
from diffsr.io.atomic import replacing
from diffsr.io.audio import find_audio
from diffsr.io.paths import named_path

MANIFEST_NAME = "manifest.jsonl"
_SPLITS = {
    "train": "train",
    "tr": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "cv": "valid",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "tt": "test",
}
_SEXES = {"F": "F", "FEMALE": "F", "M": "M", "MALE": "M"}
_NO_SPEAKER = {"unknown", "unlabelled", "unlabeled", "n/a", "none"}

_Row = tuple[int, dict[str, Any]]


@dataclass(frozen=True)
class Utterance:
    """One recording of a corpus; None where nothing is known.

    Attributes:
        id: Unique name, by default the path without its suffix.
        path: The file.
        speaker: Label of the talker.
        speech_start_s: Where the speech starts in the file.
        speech_end_s: Where it ends.
        split: train, valid or test.
        text: What is said.
        rate_hz: Sample rate of the file.
        n_samples: Its length.
        duration_s: Its length in seconds.
        corpus: Where the recording comes from.
        category: Kind of a noise.
        room: Room or building of an impulse response.
        sha1: Checksum of the file, hexadecimal.
        licence: Terms of the recording.
        sex: Of the talker, F or M.
    """

    id: str
    path: Path
    speaker: str | None = None
    speech_start_s: float | None = None
    speech_end_s: float | None = None
    split: str | None = None
    text: str | None = None
    rate_hz: int | None = None
    n_samples: int | None = None
    duration_s: float | None = None
    corpus: str | None = None
    category: str | None = None
    room: str | None = None
    sha1: str | None = None
    licence: str | None = None
    sex: str | None = None

    @property
    def length_s(self) -> float | None:
        """Length of the file, from whichever of its columns is there."""
        if self.n_samples and self.rate_hz:
            return self.n_samples / self.rate_hz
        return self.duration_s


def read_manifest(source: str | Path) -> list[Utterance]:
    """Read the utterances of a folder, a jsonl or a csv.

    A folder is read through the `manifest.jsonl` in it if there is one (`diffsr prepare folder` writes
    it), else by `scan_folder`.

    Raises:
        ConfigError: The path is empty.
        DataError: The source is missing or of another kind, it has no rows, a row is malformed, or
            files are missing (all are checked; the message counts them and shows the first).
    """
    source = named_path(source)
    if os.path.isdir(source):  # what cannot be looked up is not there, to this one
        prepared = source / MANIFEST_NAME
        return read_manifest(prepared) if prepared.is_file() else scan_folder(source)
    if not os.path.exists(source):
        raise DataError(f"{source} does not exist, expected a folder, a .jsonl or a .csv. Correct the path.")
    readers = {".jsonl": _jsonl_rows, ".csv": _csv_rows}
    reader = readers.get(source.suffix.lower())
    if reader is None:
        raise DataError(
            f"{source} is not a manifest: expected a folder, a .jsonl or a .csv with a column 'path'."
        )
    try:
        rows = [(line, _utterance(source, line, row)) for line, row in reader(source)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{source} cannot be read as a text table ({error}). Write it again as UTF-8."
        ) from error
    if not rows:
        raise DataError(f"{source} lists no recordings, expected at least one row. Fill it or use another.")
    _check_files(source, rows)
    return with_unique_ids(_of_one_person([utterance for _, utterance in rows]))


def _of_one_person(utterances: list[Utterance]) -> list[Utterance]:
    """Speakers of several corpora that have one name get that of their corpus, too."""
    corpora: dict[str, set[str | None]] = {}
    for row in utterances:
        if row.speaker is not None:
            corpora.setdefault(row.speaker, set()).add(row.corpus)
    return [
        replace(row, speaker=f"{row.corpus}/{row.speaker}")
        if row.speaker is not None and row.corpus is not None and len(corpora[row.speaker]) > 1
        else row
        for row in utterances
    ]


def training_rows(rows: Sequence[Utterance], source: str | Path) -> list[Utterance]:
    """The rows that are not marked valid or test.

    Raises:
        DataError: Some are marked as something else, which does not say whether they train.
    """
    known = {*_SPLITS.values()}
    unknown = sorted({row.split for row in rows if row.split is not None and row.split not in known})
    if unknown:
        raise DataError(
            f"{source}: rows have the split {', '.join(map(repr, unknown[:3]))}; expected train, valid, test "
            "(or another word for one of them, such as dev), or nothing. Correct the column 'split'."
        )
    return [row for row in rows if row.split not in ("valid", "test")]


def write_manifest(path: str | Path, utterances: Iterable[Utterance]) -> None:
    """Write a jsonl completely or not at all; paths below its folder become relative to it.

    Raises:
        DataError: The file cannot be written, or a name is not UTF-8.
    """
    path = Path(path)
    folder = path.parent.resolve()
    try:
        with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            for utterance in utterances:
                file.write(manifest_line(utterance, folder) + "\n")
    except OSError as error:
        raise DataError(
            f"Cannot write {path}: {error.strerror or error}. Choose a folder you may write to."
        ) from error


def manifest_line(utterance: Utterance, folder: Path) -> str:
    """The row of an utterance in a manifest in `folder` (resolved).

    Raises:
        DataError: A name is not UTF-8, as those from old archives: a jsonl cannot hold it.
    """
    row = asdict(utterance)
    row["path"] = _portable(utterance.path, folder)
    line = json.dumps({key: value for key, value in row.items() if value is not None}, ensure_ascii=False)
    try:
        f"{line}{utterance.path}".encode()
    except UnicodeEncodeError as error:
        shown = str(utterance.path).encode(errors="backslashreplace").decode()
        raise DataError(
            rf"{shown}: a name in this path is not UTF-8 (where \udc is shown). Rename it."
        ) from error
    return line


def scan_folder(folder: str | Path) -> list[Utterance]:
    """List the recordings of a folder by their names alone, sorted by path.

    A first sub-folder named like a split (`train`, `dev-clean`, ...) gives the split. Where files lie in
    sub-folders, the folder that a file lies in is its talker.

    Raises:
        DataError: The folder is missing or holds no recording.
    """
    folder = Path(folder)
    utterances = []
    for path in find_audio(folder):
        relative = path.relative_to(folder)
        folders = list(relative.parts[:-1])
        split = split_of_folder(folders[0]) if folders else None
        if split is not None:
            folders.pop(0)
        utterances.append(
            Utterance(
                id=relative.with_suffix("").as_posix(),
                path=path,
                speaker=folders[-1] if folders else None,
                split=split,
            )
        )
    return with_unique_ids(utterances)


def _jsonl_rows(source: Path) -> Iterator[_Row]:
    with source.open(encoding="utf-8-sig") as file:
        for line, text in enumerate(file, start=1):
            if not text.strip():
                continue
            try:
                row = json.loads(text)
            except json.JSONDecodeError as error:
                raise DataError(
                    f"{source}, line {line}: not JSON ({error.msg}). Expected one object a line."
                ) from error
            if not isinstance(row, dict):
                raise DataError(
                    f"{source}, line {line}: found {type(row).__name__}, expected an object with 'path'."
                )
            yield line, row


def _csv_rows(source: Path) -> Iterator[_Row]:
    with source.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, skipinitialspace=True)
        columns = reader.fieldnames or []
        if "path" not in columns:
            raise DataError(
                f"{source}, line 1: columns are {', '.join(columns) or 'none'}; expected a header with "
                "'path' (optional: speaker, speech_start_s, speech_end_s, split). Add it."
            )
        for row in reader:
            yield reader.line_num, row


def _utterance(source: Path, line: int, row: dict[str, Any]) -> Utterance:
    where = f"{source}, line {line}"
    name = row.get("path")
    if not isinstance(name, str) or not name.strip():
        raise DataError(f"{where}: no 'path'. Every row needs the path of a recording.")
    start_s, end_s = (_number(where, row, key) for key in ("speech_start_s", "speech_end_s"))
    if start_s is not None and end_s is not None and start_s >= end_s:
        raise DataError(
            f"{where}: speech_start_s {start_s} is not before speech_end_s {end_s}. Correct the times."
        )
    try:
        path = source.parent / (Path(name).expanduser() if name.startswith("~/") else Path(name))
        default_id = Path(name).with_suffix("").as_posix()
    except (ValueError, RuntimeError) as error:  # as of '.' and of '~' with an unknown user
        raise DataError(
            f"{where}: path '{name}' is not that of a recording ({error}). Correct it."
        ) from error
    split = _text(row.get("split"))
    rate_hz, n_samples, duration_s = (
        _number(where, row, key) for key in ("rate_hz", "n_samples", "duration_s")
    )
    return Utterance(
        id=_text(row.get("id")) or default_id,
        path=path,
        speaker=_speaker(row),
        speech_start_s=start_s,
        speech_end_s=end_s,
        split=(split_of(split) or split) if split else None,
        text=_text(row.get("text")),
        rate_hz=None if rate_hz is None else int(rate_hz),
        n_samples=None if n_samples is None else int(n_samples),
        duration_s=duration_s,
        corpus=_text(row.get("corpus")),
        category=_text(row.get("category")),
        room=_text(row.get("room")),
        sha1=_text(row.get("sha1")),
        licence=_text(row.get("licence")) or _text(row.get("license")),
        sex=_SEXES.get((_text(row.get("sex")) or "").upper()),
    )


def split_of(name: str) -> str | None:
    """train, valid or test for the many ways to write it (Dev, dev-clean, test_other), else None."""
    return _SPLITS.get(name.lower().replace("_", "-").split("-")[0])


def split_of_folder(name: str) -> str | None:
    """The same for folders, whose names may begin with such a word by chance (cv-corpus-17, test-kitchen)."""
    _, *rest = name.lower().replace("_", "-").split("-")
    is_split = all(word.isdigit() or word in {"clean", "other", "set"} for word in rest)
    return split_of(name) if is_split else None


def _speaker(row: dict[str, Any]) -> str | None:
    """The talker; a word for not knowing is no talker, or all such recordings would count as one person's."""
    name = _text(row.get("speaker"))
    return None if name is None or name.lower() in _NO_SPEAKER else name


def _text(value: object) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return str(value).strip() or None


def _number(where: str, row: dict[str, Any], key: str) -> float | None:
    text = _text(row.get(key))
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number < 0:
        raise DataError(f"{where}: {key} is '{text}', expected a number of at least 0, or nothing.")
    return number


def _check_files(source: Path, rows: list[tuple[int, Utterance]]) -> None:
    missing = [(line, utterance.path) for line, utterance in rows if not os.path.isfile(utterance.path)]
    if missing:
        line, path = missing[0]
        raise DataError(
            f"{source}: {len(missing)} of {len(rows)} files are missing; first in line {line}: {path}. "
            "Paths are relative to the manifest: correct them, or remove the rows."
        )


def with_unique_ids(utterances: list[Utterance]) -> list[Utterance]:
    """Tell apart utterances that share an id (a.wav and a.mp3) by suffix, then by number."""
    counts = Counter(utterance.id for utterance in utterances)
    if len(counts) == len(utterances):
        return utterances
    taken = {name for name, count in counts.items() if count == 1}
    unique = []
    for utterance in utterances:
        name = utterance.id
        if counts[name] > 1:
            name += utterance.path.suffix
            number = 1
            while name in taken:
                number += 1
                name = f"{utterance.id}{utterance.path.suffix}.{number}"
            taken.add(name)
        unique.append(replace(utterance, id=name))
    return unique


def _portable(path: Path, folder: Path) -> str:
    # Only the folder is resolved: a recording that is a link keeps the name by which it was found.
    absolute = path.parent.resolve() / path.name
    return absolute.relative_to(folder).as_posix() if absolute.is_relative_to(folder) else str(absolute)
