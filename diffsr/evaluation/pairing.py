"""Which restored file belongs to which reference, and to which noisy input."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diffsr.errors import DataError
from diffsr.io.audio import find_audio

_N_SHOWN = 3


@dataclass(frozen=True)
class Pair:
    """Files of one item. `id` is the relative path without suffix, or the stem for single files."""

    id: str
    est: Path
    ref: Path
    input: Path | None = None


@dataclass(frozen=True)
class Pairing:
    """Complete items, and files that have no partner: role (`est`, `ref`, `input`) -> ids."""

    pairs: list[Pair]
    unmatched: dict[str, list[str]]


def pair_files(est: str | Path, ref: str | Path, inputs: str | Path | None = None) -> Pairing:
    """Match files of folders by relative path without suffix; single files are taken as they are.

    Args:
        est: Estimates: a file or a folder.
        ref: References: the same kind.
        inputs: Noisy inputs: the same kind. When given, items without an input count as unmatched.

    Raises:
        DataError: A path is missing, files and folders are mixed, two files of one folder differ in
            their suffix alone, or nothing matches.
    """
    places = {"est": Path(est), "ref": Path(ref)} | ({"input": Path(inputs)} if inputs is not None else {})
    _check_kinds(places)
    if places["est"].is_file():
        return Pairing([Pair(places["est"].stem, *places.values())], {role: [] for role in places})
    files = {role: _by_id(folder) for role, folder in places.items()}
    common = set.intersection(*(set(ids) for ids in files.values()))
    if not common:
        raise DataError(_nothing_matches(places, files))
    pairs = [Pair(item, *(ids[item] for ids in files.values())) for item in sorted(common)]
    return Pairing(pairs, {role: sorted(set(ids) - common) for role, ids in files.items()})


def _check_kinds(places: dict[str, Path]) -> None:
    for path in places.values():
        if not path.exists():
            raise DataError(f"{path} does not exist, expected a recording or a folder. Correct the path.")
    if len({path.is_dir() for path in places.values()}) > 1:
        kinds = ", ".join(f"{path} is a {'folder' if path.is_dir() else 'file'}" for path in places.values())
        raise DataError(f"{kinds}: expected only files or only folders. Give the same kind for all.")


def _by_id(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in find_audio(folder):
        item = path.relative_to(folder).with_suffix("").as_posix()
        if item in files:
            raise DataError(
                f"{files[item]} and {path.name} differ only in the suffix, so it is not clear which one to "
                "score. Move one of them out of the folder."
            )
        files[item] = path
    return files


def _nothing_matches(places: dict[str, Path], files: dict[str, dict[str, Path]]) -> str:
    found = "; ".join(f"{places[role]} has {_some(sorted(ids))}" for role, ids in files.items())
    return (
        f"No file is in all of the folders: {found}. Files are matched by their path below the folder, "
        "without suffix. Rename the files or give the folders at which the paths agree."
    )


def _some(ids: list[str]) -> str:
    more = f" and {len(ids) - _N_SHOWN} more" if len(ids) > _N_SHOWN else ""
    return ", ".join(ids[:_N_SHOWN]) + more
