"""WSJ0 (LDC93S6A): read newspaper sentences, 16 kHz, as NIST SPHERE (.wv1) or converted to wav."""

from __future__ import annotations

from pathlib import Path

from diffsr.errors import DataError
from diffsr.io.audio import AUDIO_SUFFIXES
from diffsr.io.manifest import Utterance
from diffsr.prepare.corpus import Corpus, Found, Selection, contents, own_path, recordings_in, subfolders

NAME = "wsj0"
SPLITS = {"si_tr_s": "train", "si_dt_05": "valid", "si_et_05": "test"}
_SPHERE = ".wv1"
_SPHERE_HEADER = 1024
_DEPTH = 3  # the disc images hold 11-1.1/wsj0/si_tr_s
_TREE = """\
wsj0/
  si_tr_s/               train
    011/
      011c0201.wav       or .wv1 without compression
  si_dt_05/              valid
  si_et_05/              test

The discs hold .wv1 with compression, which has to be undone, for example with sph2pipe:

  find wsj0 -name '*.wv1' | while read f; do sph2pipe -p -f wav "$f" "${f%.wv1}.wav"; done"""


def find(folder: Path, selection: Selection) -> Found:
    """Recordings of the first microphone in the three sets of speaker-independent sentences.

    Raises:
        DataError: None of the sets is there, one has no recordings, or they are all compressed.
    """
    sets = _sets(folder, _DEPTH)
    if not sets:
        raise DataError(f"Neither {', '.join(SPLITS)} in {folder}, found {contents(folder)}.")
    utterances = []
    n_compressed = 0
    for name, home in sets:
        paths = _first_microphone(home)
        if not paths:
            raise DataError(f"{home} has no recordings of talkers, found {contents(home)}.")
        usable = [path for path in paths if not _is_compressed(path)]
        n_compressed += len(paths) - len(usable)
        utterances += [_utterance(path, name) for path in usable]
    if not utterances:
        raise DataError(f"All {n_compressed} .wv1 files in {folder} are compressed: convert them first.")
    there = {name for name, _ in sets}
    return Found(
        folder,
        utterances,
        set_aside={"compressed .wv1": n_compressed},
        notes=tuple(f"{name} ({split}) is not there" for name, split in SPLITS.items() if name not in there),
    )


def _sets(folder: Path, depth: int) -> list[tuple[str, Path]]:
    """Folders named like a set, not searched further; a disc image may hold a part of a set."""
    name = own_path(folder).name.lower()
    if name in SPLITS:
        return [(name, folder)]
    if depth < 0:
        return []
    return [pair for child in subfolders(folder) for pair in _sets(child, depth - 1)]


def _first_microphone(home: Path) -> list[Path]:
    paths = []
    for speaker in subfolders(home):
        converted = recordings_in(speaker, AUDIO_SUFFIXES)
        known = {path.stem.lower() for path in converted}
        sphere = [
            path for path in recordings_in(speaker, frozenset({_SPHERE})) if path.stem.lower() not in known
        ]
        paths += sorted(converted + sphere)
    return paths


def _utterance(path: Path, name: str) -> Utterance:
    speaker = path.parent.name.lower()
    return Utterance(
        id=f"{name}/{speaker}/{path.stem.lower()}",
        path=path,
        speaker=speaker,
        split=SPLITS[name],
        corpus=NAME,
    )


def _is_compressed(path: Path) -> bool:
    """Whether a file is NIST SPHERE with compressed samples (shorten), which libsndfile does not decode."""
    try:
        with path.open("rb") as file:
            header = file.read(_SPHERE_HEADER)
    except OSError:
        return False  # whoever reads it next says what is wrong
    return header.startswith(b"NIST_1A") and b",embedded-" in header


CORPUS = Corpus(NAME, "WSJ0", _TREE, find)
