"""The numbers of one item, once it is decided who speaks, in which noise, and in which room."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffsr.benchmark import tracks
from diffsr.benchmark.data import relative
from diffsr.benchmark.spread import Pick
from diffsr.benchmark.tracks import Track
from diffsr.io.manifest import Utterance
from diffsr.simulation.candidates import Candidate
from diffsr.simulation.noise import CROSS_FADE_S
from diffsr.simulation.plan import MeasuredRoom, NoisePlan, RoomPlan, ScenePlan, TalkerPlan
from diffsr.simulation.rooms import draw_room

LEVEL = 0.05
"""RMS of the active frames of a talker with gain 0 dB, full scale 1."""


@dataclass(frozen=True)
class Clip:
    """A file of speech: its length and where the speech lies in it, in seconds."""

    utterance: Utterance
    length_s: float
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Choice:
    """Where an item comes from: who speaks, the files of its noise and its room, and its levels.

    `snr_share` and `spread_share` say where in their range the levels lie, 0 to 1.
    """

    pick: Pick
    noise: Candidate | None
    response: str | None
    measured: Utterance | None
    snr_share: float
    spread_share: float


def draw_plan(
    track: Track, choice: Choice, name: str, clips: dict[str, Clip], folder: Path, rng: np.random.Generator
) -> ScenePlan:
    """The item as numbers, with paths relative to the folder and times of whole milliseconds.

    Args:
        track: What kind of item.
        choice: Who and what is in it.
        name: Its id.
        clips: What is known of each file of speech, by id.
        folder: The data folder.
        rng: Of its length, its crops, its room and the excerpt of its noise.
    """
    used = [clips[utterance.id] for utterance in choice.pick.utterances]
    longest_s = min(max(tracks.SHORTEST_S, clip.end_s - clip.start_s) for clip in used)
    duration_s = _floor_ms(min(rng.uniform(tracks.SHORTEST_S, tracks.LONGEST_S), longest_s))
    half_db = round(_within(tracks.SPREAD_DB, choice.spread_share) / 2, 3)
    gains_db = [half_db, -half_db] if track.n_talkers > 1 else [0.0]
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
        for utterance, clip, gain_db in zip(choice.pick.utterances, used, gains_db, strict=True)
    )
    return ScenePlan(
        id=name,
        rate_hz=tracks.RATE_HZ,
        duration_s=duration_s,
        n_microphones=1,
        level=LEVEL,
        talkers=talkers,
        room=_room(choice, track.n_talkers, folder, rng),
        noise=_noise(track, choice, duration_s, folder, rng),
        snr_by=track.snr_by,
    )


def _crop_start_s(clip: Clip, duration_s: float, rng: np.random.Generator) -> float:
    """Where the crop starts: inside the speech span, or around it where that is shorter."""
    latest_s = clip.length_s - duration_s
    low_s, high_s = sorted((clip.start_s, clip.end_s - duration_s))
    low_s, high_s = (min(max(0.0, bound), latest_s) for bound in (low_s, high_s))
    return _floor_ms(rng.uniform(low_s, high_s))


def _room(choice: Choice, n_talkers: int, folder: Path, rng: np.random.Generator) -> RoomPlan | None:
    if choice.measured is not None:
        response = choice.measured
        return MeasuredRoom(response.room or response.id, (response.id,), (relative(response.path, folder),))
    return draw_room(rng, n_talkers, 1) if choice.response == "simulated" else None


def _noise(
    track: Track, choice: Choice, duration_s: float, folder: Path, rng: np.random.Generator
) -> NoisePlan | None:
    """An excerpt of the recording; one that is too short is looped, from any place before the join."""
    noise = choice.noise
    if noise is None or track.snr_db is None:
        return None
    free_s = noise.length_s - duration_s - 0.001
    latest_s = free_s if free_s >= 0 else max(0.0, noise.length_s - 2 * CROSS_FADE_S)
    return NoisePlan(
        id=noise.utterance.id,
        path=relative(noise.utterance.path, folder),
        category=noise.utterance.category,
        start_s=(_floor_ms(noise.start_s + rng.uniform(0.0, latest_s)),),
        snr_db=round(_within(track.snr_db, choice.snr_share), 3),
    )


def _within(limits: tuple[float, float], place: float) -> float:
    """The number at a place from 0 to 1 of a range."""
    return limits[0] + place * (limits[1] - limits[0])


def _floor_ms(seconds: float) -> float:
    """Down to a whole millisecond, which is a whole number of samples."""
    return int(seconds * 1000) / 1000
