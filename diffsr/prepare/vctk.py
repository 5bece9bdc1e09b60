"""VCTK 0.92 and the corpus before it: 110 English talkers at 48 kHz, without an official split."""

from __future__ import annotations

from pathlib import Path

from diffsr.errors import DataError
from diffsr.io.manifest import Utterance
from diffsr.prepare.corpus import (
    Corpus,
    Found,
    Selection,
    contents,
    first_with,
    own_path,
    recordings_in,
    subfolders,
)

NAME = "vctk"
_HOMES = ["VCTK-Corpus-0.92", "VCTK-Corpus"]
_AUDIO = ["wav48_silence_trimmed", "wav48"]
_TREE = """\
VCTK-Corpus-0.92/                 or VCTK-Corpus/
  wav48_silence_trimmed/             wav48/
    p225/                              p225/
      p225_001_mic1.flac                 p225_001.wav
      p225_001_mic2.flac
  txt/
    p225/
      p225_001.txt"""


def find(folder: Path, selection: Selection) -> Found:
    """Recordings of the root or of the folder above it; of two microphones the first.

    Raises:
        DataError: The folder of recordings is not there or has no talkers.
    """
    if own_path(folder).name in _AUDIO:
        home, audio = own_path(folder).parent, folder
    else:
        home, audio = _audio(folder)
    utterances = []
    n_second = 0
    for speaker in subfolders(audio):
        for path in recordings_in(speaker):
            if path.stem.endswith("_mic2") and not selection.everything:
                n_second += 1
                continue
            text = (
                home / "txt" / speaker.name / f"{path.stem.removesuffix('_mic1').removesuffix('_mic2')}.txt"
            )
            utterances.append(
                Utterance(id=path.stem, path=path, speaker=speaker.name, text=_text(text), corpus=NAME)
            )
    if not utterances:
        raise DataError(f"{audio} has no talkers with recordings, found {contents(audio)}.")
    return Found(folder, utterances, set_aside={"second microphone": n_second})


def _audio(folder: Path) -> tuple[Path, Path]:
    for name in _AUDIO:
        home = first_with(folder, _HOMES, lambda path, name=name: (path / name).is_dir())  # type: ignore[misc]
        if home is not None:
            return home, home / name
    raise DataError(f"Neither {' nor '.join(_AUDIO)} in {folder}, found {contents(folder)}.")


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None  # p315 has none


CORPUS = Corpus(NAME, "VCTK", _TREE, find)
