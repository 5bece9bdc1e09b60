"""Drawing the list of a track from the manifests of a data folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import numpy as np

from diffsr.benchmark import tracks
from diffsr.benchmark.data import SOURCES, read_source, relative
from diffsr.benchmark.items import Item, ItemList, checksum, files_of
from diffsr.benchmark.scenes import fingerprint_db, render_plan
from diffsr.benchmark.spread import ACROSS, WITHIN, Pick, pairs, singles
from diffsr.benchmark.subset import stratified
from diffsr.benchmark.tracks import Track
from diffsr.errors import AudioError, DataError
from diffsr.io.audio import probe
from diffsr.io.manifest import Utterance
from diffsr.simulation.candidates import Candidate, candidates
from diffsr.simulation.levels import draw_gains_db
from diffsr.simulation.measured import MeasuredRooms
from diffsr.simulation.noise import CROSS_FADE_S
from diffsr.simulation.plan import MeasuredRoom, NoisePlan, RoomPlan, ScenePlan, TalkerPlan
from diffsr.simulation.rooms import draw_room

OnProgress = Callable[[int, int], None]
LEVEL = 0.05
ATTEMPTS = 20
"""Draws of an item before its files are given up as unusable."""
_T = TypeVar("_T")
_TALKERS, _NOISE, _RESPONSES, _ITEM = range(4)


@dataclass(frozen=True)
class _Clip:
    """A file of speech: its length and where the speech lies in it, in seconds."""

    utterance: Utterance
    length_s: float
    start_s: float
    end_s: float


@dataclass(frozen=True)
class _Draw:
    """Where an item comes from: who speaks, and the files that its noise and its room take."""

    pick: Pick
    noise: Candidate | None
    response: str | None
    measured: Utterance | None


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
    draws, notes = _draws(track, split, folder, [clip.utterance for clip in clips.values()], key)
    items = []
    for number, draw in enumerate(draws):
        name = f"{track.name}-{split}-{number:02d}"
        items.append(_item(track, draw, name, clips, folder, (*key, number)))
        if on_progress is not None:
            on_progress(number + 1, len(draws))
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


def _speech(utterances: Sequence[Utterance]) -> dict[str, _Clip]:
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
            clips[item.utterance.id] = _Clip(item.utterance, length_s, item.start_s, end_s)
    if not clips:
        raise DataError(
            f"None of the {len(utterances)} files of speech lasts {tracks.SHORTEST_S:g} s or more, which the "
            "items of the benchmark need. Use longer recordings."
        )
    return clips


def _draws(
    track: Track, split: str, folder: Path, speech: Sequence[Utterance], key: tuple[int, ...]
) -> tuple[list[_Draw], list[str]]:
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
    draws = [_Draw(*parts) for parts in zip(picks, noises, responses, measured, strict=True)]
    return draws, notes


def _clear(responses: Sequence[Utterance]) -> tuple[list[Utterance], list[str]]:
    """Responses whose direct path stands out, by id, and a note on the others.

    Raises:
        DataError: None does.
    """
    rejected = MeasuredRooms(responses).rejected
    clear = sorted((row for row in responses if row.id not in rejected), key=lambda row: row.id)
    if not rejected:
        return clear, []
    return clear, [f"{len(rejected)} of {len(responses)} measured responses left out: no clear direct path"]


def _notes(track: Track, picks: Sequence[Pick]) -> list[str]:
    """What the data do not allow."""
    notes = []
    if len(picks) < tracks.N_ITEMS:
        notes.append(
            f"{len(picks)} items instead of {tracks.N_ITEMS}: the files of at least {tracks.SHORTEST_S:g} s, "
            f"each used at most {tracks.MAX_USES} times and half of the pairs across corpora, give no more"
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


def _item(
    track: Track, draw: _Draw, name: str, clips: dict[str, _Clip], folder: Path, key: tuple[int, ...]
) -> Item:
    """The item with its levels; drawn again where its part of a file turns out to be silent.

    Raises:
        DataError: It cannot be rendered whatever the draw.
    """
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng((*key, _ITEM, attempt))
        plan = replace(_plan(track, draw, name, clips, folder, rng), attempt=attempt)
        try:
            levels_db = fingerprint_db(*render_plan(plan, folder))
        except AudioError as error:
            problem = str(error)
            continue
        return Item(plan, draw.pick.pair, draw.response, rms_db=levels_db)
    raise DataError(f"{name} cannot be rendered: {problem} Repair the file or remove it from its manifest.")


def _plan(
    track: Track, draw: _Draw, name: str, clips: dict[str, _Clip], folder: Path, rng: np.random.Generator
) -> ScenePlan:
    """The item as numbers, with paths relative to the folder and times of whole milliseconds."""
    used = [clips[utterance.id] for utterance in draw.pick.utterances]
    longest_s = min(max(tracks.SHORTEST_S, clip.end_s - clip.start_s) for clip in used)
    duration_s = _floor_ms(min(rng.uniform(tracks.SHORTEST_S, tracks.LONGEST_S), longest_s))
    gains_db = [round(gain, 3) for gain in draw_gains_db(rng, track.n_talkers, tracks.SPREAD_DB)]
    talkers = tuple(
        TalkerPlan(
            id=utterance.id,
            path=relative(utterance.path, folder),
            speaker=utterance.speaker,
            corpus=utterance.corpus,
            start_s=_crop_start_s(clip, duration_s, rng),
            duration_s=duration_s,
            offset_s=0.0,
            gain_db=gain_db,
        )
        for utterance, clip, gain_db in zip(draw.pick.utterances, used, gains_db, strict=True)
    )
    return ScenePlan(
        id=name,
        rate_hz=tracks.RATE_HZ,
        duration_s=duration_s,
        n_microphones=1,
        level=LEVEL,
        talkers=talkers,
        room=_room(draw, track.n_talkers, folder, rng),
        noise=_noise(track, draw.noise, duration_s, folder, rng),
        snr_by=track.snr_by,
    )


def _crop_start_s(clip: _Clip, duration_s: float, rng: np.random.Generator) -> float:
    """Where the crop starts: inside the speech span, or around it where that is shorter."""
    latest_s = clip.length_s - duration_s
    low_s, high_s = sorted((clip.start_s, clip.end_s - duration_s))
    low_s, high_s = (min(max(0.0, bound), latest_s) for bound in (low_s, high_s))
    return _floor_ms(rng.uniform(low_s, high_s))


def _room(draw: _Draw, n_talkers: int, folder: Path, rng: np.random.Generator) -> RoomPlan | None:
    if draw.measured is not None:
        response = draw.measured
        return MeasuredRoom(response.room or response.id, (response.id,), (relative(response.path, folder),))
    return draw_room(rng, n_talkers, 1) if draw.response == "simulated" else None


def _noise(
    track: Track, noise: Candidate | None, duration_s: float, folder: Path, rng: np.random.Generator
) -> NoisePlan | None:
    """An excerpt of the recording; one that is too short is looped, from any place before the join."""
    if noise is None or track.snr_db is None:
        return None
    snr_db = round(float(rng.uniform(*track.snr_db)), 3)
    free_s = noise.length_s - duration_s - 0.001
    latest_s = free_s if free_s >= 0 else max(0.0, noise.length_s - 2 * CROSS_FADE_S)
    return NoisePlan(
        id=noise.utterance.id,
        path=relative(noise.utterance.path, folder),
        category=noise.utterance.category,
        start_s=(_floor_ms(noise.start_s + rng.uniform(0.0, latest_s)),),
        snr_db=snr_db,
    )


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


def _floor_ms(seconds: float) -> float:
    """Down to a whole millisecond, which is a whole number of samples."""
    return int(seconds * 1000) / 1000
