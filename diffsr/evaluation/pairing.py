"""Which restored files belong to which references, and to which noisy input."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffsr.errors import DataError
from diffsr.evaluation.talker_files import (
    Files,
    files_by_id,
    files_of,
    found_talkers,
    given_talkers,
    has_folder,
    in_order,
    number_of,
    option_for,
    talker_of,
)
from diffsr.io.paths import named_path

LENGTH_TOLERANCE_S = 0.05
"""Files of one item may differ in length by less than this; the longer ones are cut at their ends."""
_N_SHOWN = 3


@dataclass(frozen=True)
class Pair:
    """Files of one item: an estimate and a reference for each talker, and the recording.

    `id` is the relative path without suffix (below the folders of the talkers) and without `.talker1`, or the
    stem of single files.
    """

    id: str
    est: tuple[Path, ...]
    ref: tuple[Path, ...]
    input: Path | None = None


@dataclass(frozen=True)
class Pairing:
    """Complete items, and files that have no partner: role (`est`, `ref`, `input`) -> ids.

    With files `a.talker1.wav` an id is followed by the talkers that it lacks.
    """

    pairs: list[Pair]
    unmatched: dict[str, list[str]]


def pair_files(
    est: str | Path,
    ref: str | Path,
    inputs: str | Path | None = None,
    talkers: Sequence[str] | None = None,
) -> Pairing:
    """Match files of folders by relative path without suffix; single files are taken as they are.

    Several talkers have a sub-folder each, `s1/a.wav` and `s2/a.wav`, or files as a restoration names them,
    `a.talker1.wav` and `a.talker2.wav`: one item `a` in both cases, which may differ between the two folders.
    Of files so named all others are left out, such as `a.residual.wav`. References that have both are those
    of the sub-folders; for estimates that have both, `talkers` must tell.

    Args:
        est: Estimates: a file or a folder.
        ref: References: the same kind.
        inputs: Noisy inputs: the same kind. When given, items without an input count as unmatched.
        talkers: Names of the sub-folders or `talker1` ... of the files, `RESTORED:CLEAN` where they differ;
            None to look for them, none (an empty sequence) where each file is an item, whatever its folder.

    Raises:
        ConfigError: A path is empty.
        DataError: A path is missing, files and folders are mixed, two files of one folder differ in
            their suffix alone, the talkers differ, estimates have both namings, or nothing matches.
    """
    places = {"est": named_path(est), "ref": named_path(ref)}
    if inputs is not None:
        places["input"] = named_path(inputs)
    _check_kinds(places)
    if places["est"].is_file():
        if talkers:
            raise DataError(f"{est} is a file, expected a folder with a sub-folder for each talker.")
        single = None if inputs is None else places["input"]
        pair = Pair(places["est"].stem, (places["est"],), (places["ref"],), single)
        return Pairing([pair], {role: [] for role in places})
    names = found_talkers(places["est"], places["ref"]) if talkers is None else given_talkers(talkers)
    talkers_of = {"est": [est_name for est_name, _ in names], "ref": [ref_name for _, ref_name in names]}
    files = {role: [files_of(places[role], name) for name in named] for role, named in talkers_of.items()}
    if inputs is not None:
        files["input"] = [files_by_id(places["input"])]
    return _matched(places, files, talkers_of)


def _matched(
    places: Mapping[str, Path], files: Mapping[str, list[Files]], talkers_of: Mapping[str, list[str]]
) -> Pairing:
    known = {role: set().union(*folders) for role, folders in files.items()}
    common = set.intersection(*(set(folder) for folders in files.values() for folder in folders))
    unmatched = {role: sorted(ids - common) for role, ids in known.items()}
    for role, names in talkers_of.items():
        named = {
            name: found
            for name, found in zip(names, files[role], strict=True)
            if not has_folder(places[role], name)
        }
        unmatched[role] = [item + _without(item, named) for item in unmatched[role]]
    if not common:
        raise DataError(_nothing_matches(places, files, unmatched))
    pairs = [
        Pair(
            item,
            tuple(folder[item] for folder in files["est"]),
            tuple(folder[item] for folder in files["ref"]),
            files["input"][0][item] if "input" in files else None,
        )
        for item in sorted(common)
    ]
    return Pairing(pairs, unmatched)


def _check_kinds(places: Mapping[str, Path]) -> None:
    for path in places.values():
        if not os.path.exists(path):
            raise DataError(f"{path} does not exist, expected a recording or a folder. Correct the path.")
    if len({path.is_dir() for path in places.values()}) > 1:
        kinds = ", ".join(
            f"{path} is a {'folder' if path.is_dir() else 'file'}" for path in dict.fromkeys(places.values())
        )
        raise DataError(f"{kinds}: expected only files or only folders. Give the same kind for all.")


def _without(item: str, named: Mapping[str, Files]) -> str:
    missing = [talker for talker, files in named.items() if item not in files]
    return f" (without {', '.join(missing)})" if missing else ""


def _nothing_matches(
    places: Mapping[str, Path], files: Mapping[str, list[Files]], unmatched: Mapping[str, list[str]]
) -> str:
    found = "; ".join(f"{places[role]} has {_some(ids)}" for role, ids in unmatched.items())
    single = files["est"][0].items() if len(files["est"]) == 1 else ()
    talkers = {talker for item, path in single if (talker := talker_of(path)) and item.endswith(f".{talker}")}
    if talkers:
        example = option_for([(name, f"s{number_of(name)}_anechoic") for name in in_order(talkers)])
        return (
            f"No item is complete: {found}. The estimates are files of {', '.join(in_order(talkers))}, so "
            f"{places['ref']} is expected to have sub-folders s1, s2 and so on, or files named so, too. Give "
            f"the folder that has them, or name its sub-folders, such as {example}."
        )
    taken = (
        ""
        if single
        else " The folders named s1, s2 ... were taken for the talkers of each item; where they are no "
        "talkers of one recording, give --talkers ''."
    )
    return (
        f"No item is complete: {found}. Files are matched by their path below the folder, "
        "or below the folder of each talker, without suffix. Rename the files or give the folders at which "
        f"the paths agree.{taken}"
    )


def _some(ids: list[str]) -> str:
    more = f" and {len(ids) - _N_SHOWN} more" if len(ids) > _N_SHOWN else ""
    return ", ".join(ids[:_N_SHOWN]) + more
