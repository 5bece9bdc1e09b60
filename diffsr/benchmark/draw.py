"""Drawing the list of a track from the manifests of a data folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import numpy as np

from diffsr.benchmark import tracks
from diffsr.benchmark.data import SOURCES, read_source
from diffsr.benchmark.items import Item, ItemList, checksum, files_of
from diffsr.benchmark.plans import LEVEL, Choice, Clip, draw_plan
from diffsr.benchmark.scenes import fingerprint_db, render_plan
from diffsr.benchmark.spread import ACROSS, WITHIN, Pick, pairs, singles
from diffsr.benchmark.subset import stratified
from diffsr.benchmark.tracks import Track
from diffsr.errors import AudioError, DataError
from diffsr.io.audio import probe
from diffsr.io.manifest import Utterance
from diffsr.simulation.candidates import Candidate, candidates
from diffsr.simulation.measured import MeasuredRooms

OnProgress = Callable[[int, int], None]
ATTEMPTS = 20
"""Draws of an item before its files are given up as unusable."""
_T = TypeVar("_T")
_TALKERS, _NOISE, _RESPONSES, _LEVELS, _ITEM = range(5)


def draw_list(
    track: Track, split: str, folder: Path, seed: int = 0, on_progress: OnProgress | None = None
) -> ItemList:
    """Draw the items of a track and render each once, to know its levels.

    The same manifests and seed give the same list.

    Args:
        track: What kind of items.
        split: test or valid; decides the manifests.
        folder: Holds the manifests.
        seed: Of all draws.
        on_progress: Called with (finished, all) items.

    Raises:
        DataError: A manifest is missing, nothing in it can be used, or an item cannot be rendered.
    """
    key = (seed, track.number, tracks.SPLITS.index(split))
    clips = _speech(read_source(folder, split, "speech"))
    choices, notes = _choices(track, split, folder, [clip.utterance for clip in clips.values()], key)
    items = []
    for number, choice in enumerate(choices):
        name = f"{track.name}-{split}-{number:02d}"
        items.append(_item(track, choice, name, clips, folder, (*key, number)))
        if on_progress is not None:
            on_progress(number + 1, len(choices))
    few = stratified(items)
    items = [replace(item, subset=number in few) for number, item in enumerate(items)]
    used = sorted({path for item in items for path in files_of(item.plan)})
    return ItemList(
        track=track.name,
        split=split,
        items=tuple(items),
        files={path: checksum(folder / path) for path in used},
        seed=seed,
        rules=_rules(track, split),
        notes=tuple(notes),
        pyroomacoustics=version("pyroomacoustics"),
    )


def _speech(utterances: Sequence[Utterance]) -> dict[str, Clip]:
    """Files that are long enough, by id.

    Raises:
        DataError: None is.
    """
    clips = {}
    for item in candidates(utterances, tracks.RATE_HZ, "speech"):
        length_s = item.utterance.length_s
        if length_s is None:
            length_s = probe(item.utterance.path).duration_s
        if length_s >= tracks.SHORTEST_S:
            end_s = item.start_s + item.length_s
            clips[item.utterance.id] = Clip(item.utterance, length_s, item.start_s, end_s)
    if not clips:
        raise DataError(
            f"None of the {len(utterances)} files of speech lasts {tracks.SHORTEST_S:g} s or more, which the "
            "items of the benchmark need. Use longer recordings."
        )
    return clips


def _choices(
    track: Track, split: str, folder: Path, speech: Sequence[Utterance], key: tuple[int, ...]
) -> tuple[list[Choice], list[str]]:
    """Talkers, noises and rooms of all items, and what the rules could not have."""
    choose = singles if track.n_talkers == 1 else pairs
    picks = choose(speech, tracks.N_ITEMS, np.random.default_rng((*key, _TALKERS)))
    if not picks:
        raise DataError(
            f"{folder}: the speech of the {split} split gives no item of the track {track.name}: expected at "
            f"least {track.n_talkers} labelled talkers with files of {tracks.SHORTEST_S:g} s or more."
        )
    notes = _notes(track, picks)
    noises: list[Candidate | None] = [None] * len(picks)
    if track.snr_db is not None:
        found = candidates(read_source(folder, split, "noise"), tracks.RATE_HZ, "noise")
        noises = [*_in_turn(found, len(picks), np.random.default_rng((*key, _NOISE)))]
    responses: list[str | None] = [None] * len(picks)
    if track.responses:
        responses = [track.responses[i % len(track.responses)] for i in range(len(picks))]
    measured: list[Utterance | None] = [None] * len(picks)
    if "measured" in responses:
        clear, left_out = _clear(read_source(folder, split, "rir"))
        notes += left_out
        turn = iter(_in_turn(clear, len(picks), np.random.default_rng((*key, _RESPONSES))))
        measured = [next(turn) if kind == "measured" else None for kind in responses]
    levels = np.random.default_rng((*key, _LEVELS))
    places = [_evenly(len(picks), levels) for _ in range(2)]
    choices = [Choice(*parts) for parts in zip(picks, noises, responses, measured, *places, strict=True)]
    return choices, notes


def _clear(responses: Sequence[Utterance]) -> tuple[list[Utterance], list[str]]:
    """Responses whose direct path stands out, by id, and a note on the others.

    Raises:
        DataError: None does.
    """
    rejected = MeasuredRooms(responses, tracks.RATE_HZ).rejected
    clear = sorted((row for row in responses if row.id not in rejected), key=lambda row: row.id)
    if not rejected:
        return clear, []
    return clear, [
        f"{len(rejected)} of {len(responses)} measured responses left out: no clear direct path, or "
        f"below {tracks.RATE_HZ} Hz"
    ]


def _notes(track: Track, picks: Sequence[Pick]) -> list[str]:
    """What the data do not allow."""
    notes = []
    if len(picks) < tracks.N_ITEMS:
        pairs = " and half of the pairs across corpora" if track.n_talkers > 1 else ""
        notes.append(
            f"{len(picks)} items instead of {tracks.N_ITEMS}: the files of at least {tracks.SHORTEST_S:g} s, "
            f"each used at most {tracks.MAX_USES} times{pairs}, give no more"
        )
    if track.n_talkers > 1:
        kinds = {pick.pair for pick in picks}
        notes += [f"no pair {kind} corpora is possible" for kind in (WITHIN, ACROSS) if kind not in kinds]
    return notes


def _in_turn(choices: Sequence[_T], n: int, rng: np.random.Generator) -> list[_T]:
    """Every choice once in random order before any comes again."""
    found: list[_T] = []
    while len(found) < n:
        found += [choices[int(i)] for i in rng.permutation(len(choices))]
    return found[:n]


def _evenly(n: int, rng: np.random.Generator) -> list[float]:
    """Numbers from 0 to 1 in random order, one in every n-th of the range: uniform, without luck."""
    return [float(place) for place in (rng.permutation(n) + rng.uniform(size=n)) / n]


def _item(
    track: Track, choice: Choice, name: str, clips: dict[str, Clip], folder: Path, key: tuple[int, ...]
) -> Item:
    """The item with its levels; drawn again where its part of a file turns out to be silent.

    Raises:
        DataError: It cannot be rendered whatever the draw.
    """
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng((*key, _ITEM, attempt))
        plan = replace(draw_plan(track, choice, name, clips, folder, rng), attempt=attempt)
        try:
            levels_db = fingerprint_db(*render_plan(plan, folder))
        except AudioError as error:
            problem = str(error)
            continue
        return Item(plan, choice.pick.pair, choice.response, rms_db=levels_db)
    raise DataError(f"{name} cannot be rendered: {problem} Repair the file or remove it from its manifest.")


def _rules(track: Track, split: str) -> dict[str, object]:
    """What the draw keeps to, for readers of the list."""
    return {
        **asdict(track),
        "rate_hz": tracks.RATE_HZ,
        "n_items": tracks.N_ITEMS,
        "crop_s": (tracks.SHORTEST_S, tracks.LONGEST_S),
        "most_uses_of_a_file": tracks.MAX_USES,
        "spread_db": tracks.SPREAD_DB if track.n_talkers > 1 else None,
        "level": LEVEL,
        "corpus": "the first word of its name" if track.n_talkers > 1 else None,
        "manifests": [name for kind, name in SOURCES[split].items() if _needs(track, kind)],
    }


def _needs(track: Track, kind: str) -> bool:
    """Whether a track draws from manifests of a kind."""
    return {"speech": True, "noise": track.snr_db is not None, "rir": "measured" in track.responses}[kind]
