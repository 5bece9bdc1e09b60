"""The data folder of the benchmark: manifests of speech, noise and room responses under fixed names."""

from __future__ import annotations

from pathlib import Path

from diffsr.errors import DataError
from diffsr.io.manifest import Utterance, read_manifest

SOURCES = {
    "test": {"speech": "speech_test", "noise": "noise_test", "rir": "rir_test"},
    "valid": {"speech": "speech_valid", "noise": "noise_train", "rir": "rir_train"},
}
"""What each split draws from: systems are tuned on noises and rooms that the test does not have."""
SUFFIXES = (".csv", ".jsonl")
_FORM = (
    "speech_train, speech_valid, speech_test, noise_train, noise_test, rir_train and rir_test, each a .csv "
    "or .jsonl with a column 'path' (speech: also speaker, corpus, duration_s, speech_start_s, speech_end_s; "
    "noise: category; rir: room)"
)


def check_folder(folder: str | Path) -> Path:
    """The folder, if it is one.

    Raises:
        DataError: It is missing, or is a file.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "does not exist"
        raise DataError(f"{folder} {found}, expected a folder with the manifests {_FORM}.")
    return folder


def manifest_in(folder: Path, name: str) -> Path | None:
    """The manifest of that name, in whichever form it is there."""
    return next((path for suffix in SUFFIXES if (path := folder / f"{name}{suffix}").is_file()), None)


def read_source(folder: Path, split: str, kind: str) -> list[Utterance]:
    """Rows of the manifest that a split takes its speech, noise or responses (`rir`) from.

    Raises:
        DataError: It is missing, or cannot be used.
    """
    name = SOURCES[split][kind]
    if path := manifest_in(folder, name):
        return read_manifest(path)
    there = sorted(path.name for path in folder.iterdir() if path.suffix in SUFFIXES)
    raise DataError(
        f"{folder} has no manifest {name}.csv or {name}.jsonl (there: {', '.join(there) or 'none'}). "
        f"Expected {_FORM}."
    )


def sexes_of_files(folder: Path, split: str) -> dict[str, str]:
    """Path of a file of speech, as the lists spell it -> F or M; those that the manifest tells.

    The lists do not hold it: what is not there, the manifest itself included, is unknown.
    """
    try:
        utterances = read_source(folder, split, "speech")
    except DataError:
        return {}
    return {relative(item.path, folder): item.sex for item in utterances if item.sex is not None}


def relative(path: Path, folder: Path) -> str:
    """A path below the folder as the lists spell it; other paths whole."""
    absolute, home = path.absolute(), folder.absolute()
    return absolute.relative_to(home).as_posix() if absolute.is_relative_to(home) else str(absolute)
