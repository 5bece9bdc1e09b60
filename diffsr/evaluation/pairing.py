"""Which restored files belong to which references, and to which noisy input."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffsr.errors import DataError
from diffsr.io.audio import find_audio
from diffsr.io.side_names import owners

LENGTH_TOLERANCE_S = 0.05
"""Files of one item may differ in length by less than this; the longer ones are cut at their ends."""
_N_SHOWN = 3
Files = dict[str, Path]


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
            None to look for them.

    Raises:
        DataError: A path is missing, files and folders are mixed, two files of one folder differ in
            their suffix alone, the talkers differ, estimates have both namings, or nothing matches.
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
    talkers_of = {"est": [est_name for est_name, _ in names], "ref": [ref_name for _, ref_name in names]}
    files = {role: [_of_talker(places[role], name) for name in named] for role, named in talkers_of.items()}
    if inputs is not None:
        files["input"] = [_by_id(places["input"])]
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
            if not _has(places[role], name)
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


def _found_talkers(est: Path, ref: Path) -> list[tuple[str, str]]:
    """Sub-folders s1, s2 ... or files of talker1, talker2 ... of both; else the folders themselves."""
    found = {folder: _talker_folders(folder) or _ordered(_named(folder)) for folder in (est, ref)}
    if not all(found.values()) or max(len(names) for names in found.values()) < 2:
        return [("", "")]
    _check_one_naming(est, found[ref])
    common = [(one, other) for one in found[est] for other in found[ref] if _number(one) == _number(other)]
    if not len(common) == len(found[est]) == len(found[ref]):
        both = " and ".join(f"{folder} has {', '.join(names)}" for folder, names in found.items())
        example = f", such as {_option(common)}" if len(common) > 1 else ""
        raise DataError(
            f"{both}, expected the same talkers. Choose them with --talkers{example}, or add what is missing."
        )
    return common


def _talker_folders(folder: Path) -> list[str]:
    """Sub-folders s1, s2 ... in order; a single one is no sign of several talkers."""
    names = [path.name for path in folder.iterdir() if re.fullmatch(r"s[1-9]", path.name) and path.is_dir()]
    return sorted(names) if len(names) > 1 else []


def _check_one_naming(est: Path, ref_names: list[str]) -> None:
    """Estimates with folders of talkers have no files `a.talker1.wav` beside these."""
    if not (subs := _talker_folders(est)):
        return
    beside = [
        (talker, path)
        for talker, files in _named(est).items()
        for item, path in files.items()
        if item.partition("/")[0] not in subs
    ]
    if beside:
        named = _ordered({talker for talker, _ in beside})
        choices = " or ".join(_option(list(zip(names, ref_names, strict=False))) for names in (subs, named))
        raise DataError(
            f"{est} has the folders {', '.join(subs)} and beside them files of {', '.join(named)}, such as "
            f"{beside[0][1].name}, expected one of the two. Choose with {choices}."
        )


def _named(folder: Path) -> dict[str, Files]:
    """Files as a restoration of several talkers names them, of each talker: `talker1`, item, file."""
    found: defaultdict[str, list[tuple[str, Path]]] = defaultdict(list)
    for path in find_audio(folder):
        if talker := _talker(path):
            item = path.relative_to(folder).with_suffix("").with_suffix("").as_posix()
            found[talker].append((item, path))
    return {talker: _unique(files) for talker, files in found.items()}


def _talker(path: Path) -> str:
    """`talker1` of `a.talker1.wav`; nothing of other files."""
    owner = min(owners([path.name]), key=len)
    return path.stem[len(owner) + 1 :]


def _ordered(talkers: Iterable[str]) -> list[str]:
    return sorted(talkers, key=_number)


def _number(talker: str) -> int:
    return int(re.sub(r"\D", "", talker))


def _option(names: Sequence[tuple[str, str]]) -> str:
    return "--talkers " + ",".join(est if est == ref else f"{est}:{ref}" for est, ref in names)


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


def _has(folder: Path, talker: str) -> bool:
    """Whether a talker has a sub-folder, or is the only one."""
    return (folder / talker).is_dir()


def _of_talker(folder: Path, talker: str) -> Files:
    if _has(folder, talker):
        return _by_id(folder / talker)
    named = _named(folder)
    if named and talker not in named:
        names = _ordered(named)
        example = _option([(name, f"s{_number(name)}") for name in names])
        raise DataError(
            f"{folder} has no folder {talker} and no files named NAME.{talker}, but files of "
            f"{', '.join(names)}. Choose among these with --talkers, such as {example}."
        )
    return named[talker] if named else _by_id(folder / talker)  # which says that there is no such folder


def _by_id(folder: Path) -> Files:
    return _unique((path.relative_to(folder).with_suffix("").as_posix(), path) for path in find_audio(folder))


def _unique(found: Iterable[tuple[str, Path]]) -> Files:
    files: Files = {}
    for item, path in found:
        if item in files:
            raise DataError(
                f"{files[item]} and {path.name} differ only in the suffix, so it is not clear which one to "
                "score. Move one of them out of the folder."
            )
        files[item] = path
    return files


def _without(item: str, named: Mapping[str, Files]) -> str:
    missing = [talker for talker, files in named.items() if item not in files]
    return f" (without {', '.join(missing)})" if missing else ""


def _nothing_matches(
    places: Mapping[str, Path], files: Mapping[str, list[Files]], unmatched: Mapping[str, list[str]]
) -> str:
    found = "; ".join(f"{places[role]} has {_some(ids)}" for role, ids in unmatched.items())
    single = files["est"][0].items() if len(files["est"]) == 1 else ()
    talkers = {talker for item, path in single if (talker := _talker(path)) and item.endswith(f".{talker}")}
    if talkers:
        example = _option([(name, f"s{_number(name)}_anechoic") for name in _ordered(talkers)])
        return (
            f"No item is complete: {found}. The estimates are files of {', '.join(_ordered(talkers))}, so "
            f"{places['ref']} is expected to have sub-folders s1, s2 and so on, or files named so, too. Give "
            f"the folder that has them, or name its sub-folders, such as {example}."
        )
    return (
        f"No item is complete: {found}. Files are matched by their path below the folder, "
        "or below the folder of each talker, without suffix. Rename the files or give the folders at which "
        "the paths agree."
    )


def _some(ids: list[str]) -> str:
    more = f" and {len(ids) - _N_SHOWN} more" if len(ids) > _N_SHOWN else ""
    return ", ".join(ids[:_N_SHOWN]) + more
