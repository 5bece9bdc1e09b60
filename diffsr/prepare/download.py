"""Corpora that torchaudio can fetch. Nothing is downloaded unless it is asked for."""

from __future__ import annotations

import errno
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffsr.errors import DataError
from diffsr.signal.torchaudio_home import import_torchaudio

_ROOM = 2.2  # the archive and what is in it


@dataclass(frozen=True)
class Source:
    """Where a corpus comes from.

    Attributes:
        title: Its name in messages.
        dataset: The class of `torchaudio.datasets` that fetches it.
        top: The folder that the class makes.
        part_folder: Name of the folder of a part below `top`.
        sizes_gb: Size of the archive of each part; '' where there is one only.
        licence: Under which it comes.
        home: The page to read more or to download by hand.
    """

    title: str
    dataset: str
    top: str
    part_folder: str
    sizes_gb: Mapping[str, float]
    licence: str
    home: str


_ARCTIC_TALKERS = (  # as torchaudio knows them
    *("aew", "ahw", "aup", "awb", "axb", "bdl", "clb", "eey", "fem"),
    *("gka", "jmk", "ksp", "ljm", "lnh", "rms", "rxr", "slp", "slt"),
)

SOURCES: dict[str, Source] = {
    "librispeech": Source(
        "LibriSpeech",
        "LIBRISPEECH",
        "LibriSpeech",
        "{part}",
        {
            "dev-clean": 0.34,
            "dev-other": 0.31,
            "test-clean": 0.35,
            "test-other": 0.33,
            "train-clean-100": 6.3,
            "train-clean-360": 23,
            "train-other-500": 30,
        },
        "CC BY 4.0",
        "https://www.openslr.org/12",
    ),
    "vctk": Source(
        "VCTK 0.92",
        "VCTK_092",
        "VCTK-Corpus-0.92",
        "",
        {"": 11},
        "CC BY 4.0",
        "https://datashare.ed.ac.uk/handle/10283/3443",
    ),
    "cmu_arctic": Source(
        "CMU ARCTIC",
        "CMUARCTIC",
        "ARCTIC",
        "cmu_us_{part}_arctic",
        dict.fromkeys(_ARCTIC_TALKERS, 0.1),
        "free for any use if its notice is kept (Carnegie Mellon University)",
        "http://www.festvox.org/cmu_arctic/",
    ),
}


def download(
    source: Source, folder: str | Path, parts: Sequence[str], announce: Callable[[str], None]
) -> Path:
    """Fetch and unpack what is not there yet, each part completely or not at all.

    Archives go to a hidden folder and are removed in the end; those of a stopped run are used again.

    Args:
        source: One of `SOURCES`.
        folder: Where the corpus will lie, in a folder of its own name.
        parts: Subsets or talkers; must be empty where there is only one archive.
        announce: Told size, licence and place of everything before it is fetched.

    Returns:
        The folder of the corpus.

    Raises:
        DataError: Parts are unknown or none is named, the network or the archive fails, or there is no
            room on the disk.
    """
    folder = Path(folder).expanduser().absolute()
    if folder.name == source.top:
        folder = folder.parent
    for part in _known(source, parts):
        place = folder / source.top / source.part_folder.format(part=part)
        name = f"{source.title} {part}".strip()
        if place.is_dir():
            announce(f"{name} is there already: {place}")
            continue
        size_gb = source.sizes_gb[part]
        announce(
            f"downloading {name}, about {size_gb:g} GB, to {place}\n"
            f"licence: {source.licence}; see {source.home}"
        )
        try:
            _check_room(folder, size_gb)
            _fetch(source, folder, part)
        except (OSError, RuntimeError, EOFError, tarfile.TarError, zipfile.BadZipFile) as error:
            raise _failed(source, folder, name, error) from error
    return folder / source.top


def _known(source: Source, parts: Sequence[str]) -> Sequence[str]:
    known = source.sizes_gb
    if not parts and "" in known:
        return [""]
    unknown = [part for part in parts if part not in known]
    if unknown or not parts:
        sizes = ", ".join(f"{part} ({size:g} GB)" for part, size in known.items() if part) or "nothing"
        raise DataError(
            f"Cannot download {', '.join(unknown) or 'all'} of {source.title}. "
            f"Say which with --subset: {sizes}."
        )
    return parts


def _check_room(folder: Path, size_gb: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free_gb = shutil.disk_usage(folder).free / 1e9
    if free_gb < _ROOM * size_gb:
        raise OSError(errno.ENOSPC, f"{free_gb:.1f} GB are free, {_ROOM * size_gb:.1f} GB are needed")


def _fetch(source: Source, folder: Path, part: str) -> None:
    stage = folder / f".diffsr-download-{source.dataset.lower()}"
    unpacked = stage / source.top
    # What a stopped run left half unpacked, of any part, would pass for complete; archives are kept.
    for half in [path for path in unpacked.glob("*") if path.is_dir()] if part else [unpacked]:
        shutil.rmtree(half, ignore_errors=True)
    stage.mkdir(exist_ok=True)
    dataset = getattr(import_torchaudio().datasets, source.dataset)
    arguments = {"url": part} if part else {}
    try:
        dataset(stage, download=True, **arguments)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError):
        shutil.rmtree(stage, ignore_errors=True)  # a damaged archive must not be used again
        raise
    for archive in unpacked.glob("*.tar.*"):  # of CMU ARCTIC they lie among the talkers
        archive.unlink()
    _move(unpacked, folder / source.top)
    shutil.rmtree(stage, ignore_errors=True)


def _move(unpacked: Path, target: Path) -> None:
    if not target.exists():
        os.replace(unpacked, target)
        return
    for path in unpacked.iterdir():
        if not (target / path.name).exists():
            os.replace(path, target / path.name)


def _failed(source: Source, folder: Path, name: str, error: Exception) -> DataError:
    reason = (isinstance(error, OSError) and error.strerror) or getattr(error, "reason", None) or error
    return DataError(
        f"Downloading {name} failed ({type(error).__name__}: {reason}). Check the network connection and the "
        f"space on the disk and run the command again, or fetch it by hand from {source.home} "
        f"and unpack it in {folder}."
    )
