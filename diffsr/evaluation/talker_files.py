"""How the files of several talkers are named: a sub-folder each, or as a restoration names them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from diffsr.errors import DataError
from diffsr.io.audio import find_audio
from diffsr.io.side_names import owners

Files = dict[str, Path]
"""Of the items of one talker, or of a folder."""


def found_talkers(est: Path, ref: Path) -> list[tuple[str, str]]:
    """Sub-folders s1, s2 ... or files of talker1, talker2 ... of both; else the folders themselves.

    Raises:
        DataError: The talkers differ, or the estimates have both namings.
    """
    found = {folder: _talker_folders(folder) or in_order(_named(folder)) for folder in (est, ref)}
    if not all(found.values()) or max(len(names) for names in found.values()) < 2:
        return [("", "")]
    _check_one_naming(est, found[ref])
    common = [
        (one, other) for one in found[est] for other in found[ref] if number_of(one) == number_of(other)
    ]
    if not len(common) == len(found[est]) == len(found[ref]):
        both = " and ".join(f"{folder} has {', '.join(names)}" for folder, names in found.items())
        example = f", such as {option_for(common)}" if len(common) > 1 else ""
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
        named = in_order({talker for talker, _ in beside})
        choices = " or ".join(
            option_for(list(zip(names, ref_names, strict=False))) for names in (subs, named)
        )
        raise DataError(
            f"{est} has the folders {', '.join(subs)} and beside them files of {', '.join(named)}, such as "
            f"{beside[0][1].name}, expected one of the two. Choose with {choices}."
        )


def _named(folder: Path) -> dict[str, Files]:
    """Files as a restoration of several talkers names them, of each talker: `talker1`, item, file."""
    found: defaultdict[str, list[tuple[str, Path]]] = defaultdict(list)
    for path in find_audio(folder):
        if talker := talker_of(path):
            item = path.relative_to(folder).with_suffix("").with_suffix("").as_posix()
            found[talker].append((item, path))
    return {talker: _unique(files) for talker, files in found.items()}


def talker_of(path: Path) -> str:
    """`talker1` of `a.talker1.wav`; nothing of other files."""
    owner = min(owners([path.name]), key=len)
    return path.stem[len(owner) + 1 :]


def in_order(talkers: Iterable[str]) -> list[str]:
    """By their numbers."""
    return sorted(talkers, key=number_of)


def number_of(talker: str) -> int:
    """That of `s1` or `talker1`."""
    return int(re.sub(r"\D", "", talker))


def option_for(names: Sequence[tuple[str, str]]) -> str:
    """How to name talkers on the command line, for messages."""
    return "--talkers " + ",".join(est if est == ref else f"{est}:{ref}" for est, ref in names)


def given_talkers(talkers: Sequence[str]) -> list[tuple[str, str]]:
    """Names of estimates and references from `RESTORED:CLEAN`, or one for both; none is one talker.

    Raises:
        DataError: One is named twice.
    """
    if not talkers:
        return [("", "")]
    names = [(est, ref if colon else est) for est, colon, ref in (name.partition(":") for name in talkers)]
    if min(len({est for est, _ in names}), len({ref for _, ref in names})) < len(names):
        raise DataError(f"The talkers {','.join(talkers)} are not all different. Name each folder once.")
    return names


def has_folder(folder: Path, talker: str) -> bool:
    """Whether a talker has a sub-folder, or is the only one."""
    return (folder / talker).is_dir()


def files_of(folder: Path, talker: str) -> Files:
    """Those of a talker, by item.

    Raises:
        DataError: The talker has neither a folder nor files.
    """
    if has_folder(folder, talker):
        return files_by_id(folder / talker)
    named = _named(folder)
    if named and talker not in named:
        names = in_order(named)
        example = option_for([(name, f"s{number_of(name)}") for name in names])
        raise DataError(
            f"{folder} has no folder {talker} and no files named NAME.{talker}, but files of "
            f"{', '.join(names)}. Choose among these with --talkers, such as {example}."
        )
    return named[talker] if named else files_by_id(folder / talker)  # which says that there is no such folder


def files_by_id(folder: Path) -> Files:
    """All recordings below a folder, by relative path without suffix.

    Raises:
        DataError: Two differ in their suffix alone.
    """
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
