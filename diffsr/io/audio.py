"""Recordings on disk, through soundfile: header, samples, and writing that never half-writes."""

from __future__ import annotations

import io
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import soundfile
import torch
from torch import Tensor

from diffsr.errors import AudioError, DataError
from diffsr.io.atomic import replacing
from diffsr.io.paths import named_path
from diffsr.io.side_names import lies_beside, owners

_FORMATS = {
    ".wav": "WAV",
    ".flac": "FLAC",
    ".ogg": "OGG",
    ".oga": "OGG",
    ".opus": "OGG",
    ".mp3": "MP3",
    ".aif": "AIFF",
    ".aiff": "AIFF",
    ".au": "AU",
    ".caf": "CAF",
    ".w64": "W64",
    ".rf64": "RF64",
}
AUDIO_SUFFIXES = frozenset(_FORMATS)
OTHER_SUFFIXES = frozenset({".m4a", ".mp4", ".aac", ".wma", ".amr", ".3gp", ".webm", ".mov", ".mkv"})
"""Of recordings that libsndfile does not read."""
_UNKNOWN_FRAMES = 2**62
"""libsndfile has 2**63 - 1 where a header does not tell."""
_READABLE = "a readable " + ", ".join(suffix[1:] for suffix in _FORMATS) + " file"
_BLOCK = 1 << 16
_DEEP = ("PCM_24", "PCM_32", "FLOAT", "DOUBLE")
"""Codings of more than 16 bits."""


@dataclass(frozen=True)
class AudioInfo:
    """What the header of a recording says.

    Attributes:
        rate_hz: Sample rate as delivered by the decoder (Ogg Opus may come at 48 kHz).
        n_samples: Samples per channel of the whole file.
        n_channels: Number of channels.
        format: Container, such as WAV, FLAC or OGG.
        subtype: Coding, such as PCM_16, FLOAT or OPUS.
    """

    rate_hz: int
    n_samples: int
    n_channels: int
    format: str
    subtype: str

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.rate_hz


def probe(path: str | Path) -> AudioInfo:
    """Read the header only.

    Raises:
        AudioError: The file is missing, a folder, unreadable, not audio, or empty.
    """
    with _open(Path(path)) as file:
        return _info(file, Path(path))


def read_audio(
    path: str | Path, start_s: float = 0.0, end_s: float | None = None
) -> tuple[Tensor, AudioInfo]:
    """Read a recording or a part of it.

    Args:
        path: The file.
        start_s: Where to start, in seconds.
        end_s: Where to stop; None or a time behind the end for the end of the file.

    Returns:
        Samples as float32 [C, T], full scale 1, and the header of the whole file.

    Raises:
        AudioError: The file is missing, a folder, unreadable, not audio, empty, damaged, holds NaN or
            infinite samples, or has nothing between `start_s` and `end_s`.
    """
    path = Path(path)
    with _open(path) as file:
        info = _info(file, path)
        start = round(max(0.0, start_s) * info.rate_hz)
        end = info.n_samples if end_s is None else min(info.n_samples, round(end_s * info.rate_hz))
        if start >= end:
            raise AudioError(
                f"{path} lasts {info.duration_s:.3f} s: nothing lies between {start_s} s and {end_s} s. "
                "Correct the times."
            )
        try:
            if start:
                file.seek(start)
            samples = file.read(end - start, dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, RuntimeError) as error:
            raise AudioError(f"{path} is damaged ({_reason(error)}). Replace or remove it.") from error
    wave = torch.from_numpy(samples).T.contiguous()
    if wave.shape[-1] == 0:
        raise AudioError(
            f"{path} ends before its header says: no samples could be read. Replace or remove it."
        )
    if not bool(wave.isfinite().all()):
        n_bad = int((~wave.isfinite()).sum())
        raise AudioError(
            f"{path} holds {n_bad} NaN or infinite samples, expected numbers. Write the file again."
        )
    return wave, info


def write_audio(
    path: str | Path,
    wave: Tensor,
    rate_hz: int,
    subtype: str | None = None,
    compression_level: float | None = None,
) -> None:
    """Write a recording completely or not at all; the suffix decides the format.

    Parent folders are made and an existing file is replaced. Samples beyond full scale are clipped,
    except in floating-point subtypes, which keep them.

    Args:
        path: Target with one of the suffixes in `AUDIO_SUFFIXES`.
        wave: Samples [C, T], full scale 1.
        rate_hz: Sample rate.
        subtype: Coding, such as PCM_16, PCM_24 or FLOAT; None for the usual one of the format.
        compression_level: Of formats that compress, 0 for the largest to 1 for the smallest file.

    Raises:
        AudioError: The suffix, rate, subtype or content is unsuitable, or the target cannot be written.
    """
    path, content = Path(path), encoded(path, wave, rate_hz, subtype, compression_level)
    if path.is_dir():
        raise AudioError(f"Cannot write {path}: it is a folder, expected a file name.")
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> AudioError:
    """What to tell of a file that the system does not write."""
    return AudioError(
        f"Cannot write {path}: {error.strerror or error}. Choose another place, or free disk space there."
    )


def encoded(
    path: str | Path,
    wave: Tensor,
    rate_hz: int,
    subtype: str | None = None,
    compression_level: float | None = None,
) -> memoryview:
    """The content of a recording of that name; see `write_audio`.

    Raises:
        AudioError: The suffix, rate, subtype or content is unsuitable.
    """
    path = Path(path)
    if wave.ndim != 2 or wave.numel() == 0:
        raise AudioError(
            f"Nothing to write to {path}: found samples of shape {list(wave.shape)}, expected [C, T]."
        )
    if not bool(wave.isfinite().all()):
        raise AudioError(f"Not written: {path} would hold NaN or infinite samples.")
    kind = _FORMATS.get(path.suffix.lower())
    if kind is None:
        known = ", ".join(sorted(AUDIO_SUFFIXES))
        raise AudioError(f"Cannot write {path}: suffix '{path.suffix}' is not known. Use one of {known}.")
    if subtype is None:
        subtype = "OPUS" if path.suffix.lower() == ".opus" else soundfile.default_subtype(kind)
    wave = wave.detach().to("cpu", torch.float32)
    if subtype not in ("FLOAT", "DOUBLE"):
        wave = wave.clamp(-1.0, 1.0)
    try:
        return _encode(wave, rate_hz, kind, subtype, compression_level)
    except (soundfile.SoundFileError, RuntimeError, ValueError, TypeError) as error:
        raise AudioError(
            f"Cannot write {path} as {kind} {subtype} at {rate_hz} Hz with {wave.shape[0]} channels: "
            f"{_reason(error)}. Use .wav, which takes any rate."
        ) from error


def can_hold(path: str | Path, subtype: str) -> bool:
    """Whether a recording with the suffix of `path` can have this coding."""
    suffix = Path(path).suffix.lower()
    if suffix == ".opus":
        return subtype == "OPUS"
    if subtype.startswith("MPEG"):  # libsndfile reads other layers, and it in a WAV, but does not write them
        return suffix == ".mp3" and subtype == "MPEG_LAYER_III"
    if subtype.startswith("DWVW"):  # libsndfile writes files that it does not read
        return False
    return suffix in _FORMATS and soundfile.check_format(_FORMATS[suffix], subtype)


def nearest_coding(path: str | Path, subtype: str | None) -> str | None:
    """This coding where a recording with the suffix of `path` can have it, else its deepest if this is deep.

    None stands for the usual coding of the format.
    """
    if subtype is None or can_hold(path, subtype):
        return subtype
    return "PCM_24" if subtype in _DEEP and can_hold(path, "PCM_24") else None


def find_audio(folder: str | Path) -> list[Path]:
    """All recordings below a folder, sorted.

    Hidden files and folders are left out, and what a restoration has written beside its audio: the folder
    `a.samples`, `a.response.wav` and `a.failed.wav` where `a.wav` lies.

    Raises:
        ConfigError: The path is empty.
        DataError: The folder is missing, is not a folder, may not be read, or holds no recording.
    """
    folder = named_path(folder)
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "does not exist"
        raise DataError(f"{folder} {found}, expected a folder with recordings. Correct the path.")

    def refuse(error: OSError) -> None:
        raise DataError(
            f"The folder {error.filename} cannot be read ({error.strerror}). Change its permissions "
            "(chmod u+rx) or move it elsewhere."
        ) from error

    found_files: list[Path] = []
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        # Links to folders are followed, as corpora are often linked in; a loop must not go on for ever.
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        audio = [name for name in files if os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES]
        restored = owners(audio)
        found_files += [Path(parent, name) for name in audio if _is_recording(name, restored)]
        folders[:] = sorted(name for name in folders if _is_recording(name, restored))
    if not found_files:
        known = ", ".join(sorted(AUDIO_SUFFIXES))
        others = f" {advice}" if (advice := of_other_formats(folder)) else ""
        raise DataError(
            f"No recording in {folder} or below. Expected files that end in one of {known}.{others}"
        )
    return sorted(found_files)


def of_other_formats(folder: str | Path) -> str | None:
    """What to tell of recordings in a folder that are of formats which cannot be read; None where none is."""
    names = sorted(name for _, _, files in os.walk(folder) for name in files if not name.startswith("."))
    others = [name for name in names if os.path.splitext(name)[1].lower() in OTHER_SUFFIXES]
    if not others:
        return None
    stem, count = os.path.splitext(others[0])[0], f"{len(others)} recording{'s' * (len(others) > 1)}"
    return (
        f"{count} of other formats (such as {others[0]}) cannot be read; convert them, as by "
        f"`ffmpeg -i {others[0]} {stem}.wav`."
    )


def _is_recording(name: str, restored: Collection[str]) -> bool:
    """Whether a file, or those in a folder, is neither hidden nor beside a restoration."""
    return not name.startswith(".") and not lies_beside(name, restored)


def _open(path: Path) -> soundfile.SoundFile:
    # os.path: other than `Path.exists`, it takes a name that cannot be looked up for one that is not there.
    if os.path.isdir(path):
        raise AudioError(f"{path} is a folder, expected {_READABLE}.")
    if not os.path.exists(path):
        raise AudioError(f"{path} does not exist, expected {_READABLE}. Correct the path.")
    if not os.access(path, os.R_OK):
        raise AudioError(f"{path} may not be read by this user. Change its permissions (chmod +r).")
    if path.stat().st_size == 0:
        raise AudioError(f"{path} is empty (0 bytes), expected {_READABLE}.")
    try:
        # As bytes, which may be a name that is not UTF-8; Windows has no such names, and wants text.
        return soundfile.SoundFile(path if os.name == "nt" else os.fsencode(path))
    except (soundfile.SoundFileError, RuntimeError, TypeError, OSError) as error:
        raise AudioError(
            f"{path} is not audio that can be read ({_reason(error)}). Expected {_READABLE}; "
            "convert it, for example with: ffmpeg -i IN out.wav"
        ) from error


def _info(file: soundfile.SoundFile, path: Path) -> AudioInfo:
    if file.frames <= 0:
        raise AudioError(f"{path} holds no samples, expected {_READABLE}.")
    if file.frames >= _UNKNOWN_FRAMES:
        raise AudioError(
            f"{path} does not say how long it is, as files do that were written to a pipe. Write it again, "
            "for example with: ffmpeg -i IN out.wav"
        )
    return AudioInfo(file.samplerate, file.frames, file.channels, file.format, file.subtype)


def _encode(
    wave: Tensor, rate_hz: int, kind: str, subtype: str, compression_level: float | None
) -> memoryview:
    """Encode in memory, so that a full disk is the system's error and not libsndfile's nameless one.

    In blocks: libsndfile's Vorbis and Opus encoders overflow on very long single writes.
    """
    samples = wave.T.contiguous().numpy()
    content = io.BytesIO()
    with soundfile.SoundFile(
        content, "w", rate_hz, wave.shape[0], subtype, format=kind, compression_level=compression_level
    ) as file:
        for start in range(0, len(samples), _BLOCK):
            file.write(samples[start : start + _BLOCK])
    return content.getbuffer()


def _reason(error: BaseException) -> str:
    """The library's own words without the path, which our message already has."""
    text = str(getattr(error, "error_string", "") or error)
    return text.strip().rstrip(".")
