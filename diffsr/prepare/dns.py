"""DNS Challenge (arXiv 2001.08662 and later rounds): speech, noise and room responses, 16 or 48 kHz."""

from __future__ import annotations

import re
from pathlib import Path

from diffsr.errors import DataError
from diffsr.io.audio import find_audio
from diffsr.io.manifest import Utterance
from diffsr.prepare.corpus import Corpus, Found, Kind, Selection, contents, first_with, own_path

NAME = "dns"
PARTS: dict[str, tuple[Kind, tuple[str, ...]]] = {
    "clean": ("speech", ("clean_fullband", "clean")),
    "noise": ("noise", ("noise_fullband", "noise")),
    "rir": ("response", ("impulse_responses",)),
}
_READER = re.compile(r"reader_(\d+)")
_VCTK = re.compile(r"[ps]\d{1,3}")
_SINGING = "vocalset"
_TREE = """\
DNS-Challenge/
  datasets_fullband/                    or datasets/
    clean_fullband/                     or clean/      --part clean (the default)
      read_speech/
        book_00000_chp_0009_reader_06709_0_seg_1_seg1.wav
    noise_fullband/                     or noise/      --part noise
      door_Freesound_validated_371362_0.wav
    impulse_responses/                                 --part rir
      SLR26/simulated_rirs_48k/smallroom/Room001/Room001-00001.wav
      SLR28/RIRS_NOISES/real_rirs_isotropic_noises/air_type1_air_binaural_aula_carolina_0_1.wav"""


def find(folder: Path, selection: Selection) -> Found:
    """Recordings of one part (`PARTS`, default clean), from any folder of the tree down to its own.

    Raises:
        DataError: The part is unknown, not there or empty.
    """
    part = selection.parts[0] if selection.parts else "clean"
    if part not in PARTS or len(selection.parts) > 1:
        raise DataError(f"Part {', '.join(selection.parts)}: expected one of {', '.join(PARTS)}.")
    kind, names = PARTS[part]
    home = _home(folder, names)
    utterances = []
    n_aside = 0
    for path in find_audio(home):
        relative = path.relative_to(home)
        if not selection.everything and _is_other(part, relative):
            n_aside += 1
            continue
        utterances.append(_utterance(path, relative, part))
    if not utterances:
        raise DataError(f"Nothing but what is left out by default in {home}, found {contents(home)}.")
    reason = {"clean": "singing", "noise": "", "rir": "noise among the responses"}[part]
    return Found(home, utterances, kind, {reason: n_aside})


def _home(folder: Path, names: tuple[str, ...]) -> Path:
    if own_path(folder).name in names:
        return folder
    base = first_with(
        folder,
        ["datasets_fullband", "datasets"],
        lambda path: any((path / name).is_dir() for name in names),
    )
    if base is None:
        raise DataError(f"Neither {' nor '.join(names)} in {folder}, found {contents(folder)}.")
    return next(base / name for name in names if (base / name).is_dir())


def _is_other(part: str, relative: Path) -> bool:
    """Singing among the speech (VocalSet), and the noise recordings that SLR28 holds with its responses."""
    if part == "clean":
        return relative.parts[0].lower().startswith(_SINGING)
    return part == "rir" and "_noise" in relative.stem.lower()


def _utterance(path: Path, relative: Path, part: str) -> Utterance:
    folders = relative.parts[:-1]
    return Utterance(
        id=f"{part}/{relative.with_suffix('').as_posix()}",
        path=path,
        speaker=_speaker(relative) if part == "clean" else None,
        category=(folders[0] if folders else None) if part == "noise" else None,
        room="/".join(folders[-2:]) or None if part == "rir" else None,
        corpus=NAME,
    )


def _speaker(relative: Path) -> str | None:
    """The reader of a LibriVox file, the talker's folder of VCTK and M-AILABS; unknown elsewhere."""
    if match := _READER.search(relative.stem):
        return f"reader_{match[1]}"
    folders = relative.parts[:-1]
    if folders and _VCTK.fullmatch(folders[-1]):
        return folders[-1]
    for sex in ("female", "male"):
        if sex in folders[:-1]:
            return folders[folders.index(sex) + 1]
    return None


CORPUS = Corpus(NAME, "The DNS Challenge", _TREE, find)
