"""Which list a data folder is used with: that of the benchmark, or one drawn from the user's own data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from diffsr.benchmark.data import check_folder
from diffsr.benchmark.draw import OnProgress, draw_list
from diffsr.benchmark.items import ItemList, check_files, committed_list, read_list, write_list
from diffsr.benchmark.store import TrackPlace
from diffsr.benchmark.tracks import check_split, find_track


def open_list(
    track: str,
    split: str,
    data: str | Path,
    output: str | Path,
    own: bool = False,
    on_progress: OnProgress | None = None,
) -> tuple[ItemList, Path, TrackPlace]:
    """The list of a track, its data folder, and the place of its results.

    The list of the benchmark is used with its own data: a folder that holds any of its files must hold all
    of them unchanged. For another folder a list is drawn once and kept in the output folder.

    Args:
        track: enhance, dereverb, denoise_dereverb, separate or joint.
        split: test or valid.
        data: Folder with the manifests and recordings.
        output: Where the results of all tracks go.
        own: Draw from the folder even if it holds files of the benchmark.
        on_progress: Called with (finished, all) items while a list is drawn.

    Raises:
        ConfigError: No such track or split.
        DataError: The folder or a manifest is missing, a file has gone or changed, or nothing can be drawn.
    """
    kind = find_track(track)
    folder = check_folder(data)
    place = TrackPlace(Path(output).expanduser() / f"{track}_{check_split(split)}")
    if place.items.is_file():
        found = read_list(place.items, own=True)
        check_files(found, folder)
        return found, folder, place
    found = committed_list(track, split)
    if not own and any((folder / path).exists() for path in found.files):
        check_files(found, folder)
        return found, folder, place
    found = replace(draw_list(kind, split, folder, on_progress=on_progress), own=True)
    write_list(place.items, found)
    return found, folder, place
