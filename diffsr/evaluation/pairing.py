"""Which restored files belong to which references, and to which noisy input."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffsr.errors import DataError
from diffsr.io.audio import find_audio

LENGTH_TOLERANCE_S = 0.05
"""Files of one item may differ in length by less than this; the longer ones are cut at their ends."""
_N_SHOWN = 3
Files = dict[str, Path]


@dataclass(frozen=True)
class Pair:
    """Files of one item: an estimate and a reference for each talker, and the recording.

    `id` is the relative path without suffix (below the folders of the talkers), or the stem of single files.
    """

    id: str
    est: tuple[Path, ...]
    ref: tuple[Path, ...]
    input: Path | None = None


@dataclass(frozen=True)
class Pairing:
    """Complete items, and files that have no partner: role (`est`, `ref`, `input`) -> ids."""

    pairs: list[Pair]
    unmatched: dict[str, list[str]]


def pair_files(
    est: str | Path,
    ref: str | Path,
    inputs: str | Path | None = None,
    talkers: Sequence[str] | None = None,
) -> Pairing:
    """Match files of folders by relative path without suffix; single files are taken as they are.

    Several talkers have a sub-folder each, in both folders: `s1/a.wav` and `s2/a.wav` are one item.

    Args:
        est: Estimates: a file or a folder.
        ref: References: the same kind.
        inputs: Noisy inputs: the same kind. When given, items without an input count as unmatched.
        talkers: Names of the sub-folders, `RESTORED:CLEAN` where they differ; None to look for s1, s2 ...

    Raises:
        DataError: A path is missing, files and folders are mixed, two files of one folder differ in
            their suffix alone, the talkers differ, or nothing matches.
    """
    places = {"est": Path(est), "ref": Path(ref)} | ({"input": Path(inputs)} if inputs is not None else {})
    _check_kinds(places)
    if places["est"].is_file():
        if talkers:
            raise DataError(f"{est} is a file, expected a folder with a sub-folder for each talker.")
        single = None if inputs is None else places["input"]
        pair = Pair(places["est"].stem, (places["est"],), (places["ref"],), single)
        return Pairing([pair], {role: [] for role in places})
    names = _found_talkers(places["est"], places["ref"]) if talkers is None else _given(talkers)
    files = {
        "est": [_by_id(places["est"] / name) for name, _ in names],
        "ref": [_by_id(places["ref"] / name) for _, name in names],
    }
    if inputs is not None:
        files["input"] = [_by_id(places["input"])]
    return _matched(places, files)


def _matched(places: Mapping[str, Path], files: Mapping[str, list[Files]]) -> Pairing:
    known = {role: set().union(*folders) for role, folders in files.items()}
    common = set.intersection(*(set(folder) for folders in files.values() for folder in folders))
    if not common:
        raise DataError(_nothing_matches(places, known))
    pairs = [
        Pair(
            item,
            tuple(folder[item] for folder in files["est"]),
            tuple(folder[item] for folder in files["ref"]),
            files["input"][0][item] if "input" in files else None,
        )
        for item in sorted(common)
    ]
    return Pairing(pairs, {role: sorted(ids - common) for role, ids in known.items()})


def _found_talkers(est: Path, ref: Path) -> list[tuple[str, str]]:
    """Sub-folders s1, s2 ... of both folders; the folders themselves when both do not have several."""
    found = {folder: sorted(_talker_folders(folder)) for folder in (est, ref)}
    if min(len(names) for names in found.values()) < 2:
        return [("", "")]
    if found[est] != found[ref]:
        both = " and ".join(f"{folder} has {', '.join(names)}" for folder, names in found.items())
        raise DataError(
            f"{both}, expected the same talkers. Choose them with --talkers, such as --talkers s1,s2."
        )
    return [(name, name) for name in found[est]]


def _talker_folders(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if re.fullmatch(r"s[1-9]", path.name) and path.is_dir()]


def _given(talkers: Sequence[str]) -> list[tuple[str, str]]:
    names = [(est, ref if colon else est) for est, colon, ref in (name.partition(":") for name in talkers)]
    if (
        not names
        or len({est for est, _ in names}) < len(names)
        or len({ref for _, ref in names}) < len(names)
    ):
        raise DataError(
            f"The talkers {','.join(talkers)} are none or not all different. Name each folder once."
        )
    return names


def _check_kinds(places: Mapping[str, Path]) -> None:
    for path in places.values():
        if not path.exists():
            raise DataError(f"{path} does not exist, expected a recording or a folder. Correct the path.")
    if len({path.is_dir() for path in places.values()}) > 1:
        kinds = ", ".join(f"{path} is a {'folder' if path.is_dir() else 'file'}" for path in places.values())
        raise DataError(f"{kinds}: expected only files or only folders. Give the same kind for all.")


def _by_id(folder: Path) -> Files:
    files: Files = {}
    for path in find_audio(folder):
        item = path.relative_to(folder).with_suffix("").as_posix()
        if item in files:
            raise DataError(
                f"{files[item]} and {path.name} differ only in the suffix, so it is not clear which one to "
                "score. Move one of them out of the folder."
            )
        files[item] = path
    return files


def _nothing_matches(places: Mapping[str, Path], known: Mapping[str, set[str]]) -> str:
    found = "; ".join(f"{places[role]} has {_some(sorted(ids))}" for role, ids in known.items())
    return (
        f"No item is complete: {found}. Files are matched by their path below the folder, "
        "or below the folder of each talker, without suffix. Rename the files or give the folders at which "
        "the paths agree."
    )


def _some(ids: list[str]) -> str:
    more = f" and {len(ids) - _N_SHOWN} more" if len(ids) > _N_SHOWN else ""
    return ", ".join(ids[:_N_SHOWN]) + more
