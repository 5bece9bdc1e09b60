"""What a scene is made of: every number that decides it, and no samples.

Plans are drawn without reading audio (`diffsr.simulation.draw`), travel as JSON rows, and are made into
sound by `diffsr.simulation.scene`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Room:
    """A shoebox room with a microphone array and talkers.

    Attributes:
        size_m: Length, width, height.
        rt60_s: Reverberation time that was asked for.
        rt60_class: low, medium or high.
        array_m: Centre of the array.
        microphones_m: Position of each microphone, C.
        talkers_m: Position of each talker, S.
        number: Which room of a pool this is; None outside pools.
        positions: Which talker positions of that room `talkers_m` are.
    """

    size_m: Point
    rt60_s: float
    rt60_class: str
    array_m: Point
    microphones_m: tuple[Point, ...]
    talkers_m: tuple[Point, ...]
    number: int | None = None
    positions: tuple[int, ...] | None = None

    @property
    def distances_m(self) -> tuple[float, ...]:
        """Horizontal distance of each talker from the centre of the array, the quantity that is drawn."""
        x, y, _ = self.array_m
        return tuple(((p[0] - x) ** 2 + (p[1] - y) ** 2) ** 0.5 for p in self.talkers_m)


@dataclass(frozen=True)
class MeasuredRoom:
    """Measured responses of one room or building.

    Attributes:
        name: The room.
        ids: Response of each talker, by its id in the manifest.
        paths: Its file.
        n_microphones: Channels of the files that are used, from the first on.
    """

    name: str
    ids: tuple[str, ...]
    paths: tuple[str, ...]
    n_microphones: int = 1


RoomPlan: TypeAlias = Room | MeasuredRoom


@dataclass(frozen=True)
class TalkerPlan:
    """One talker of a scene.

    Attributes:
        id: Utterance, by its id in the manifest.
        path: Its file.
        speaker: Its talker, if known.
        corpus: Its corpus, if known.
        start_s: Where the part that is used starts in the file.
        duration_s: How long it is.
        offset_s: Where it starts in the scene.
        gain_db: Level (RMS of the active frames) relative to the level of the scene.
    """

    id: str
    path: str
    speaker: str | None
    corpus: str | None
    start_s: float
    duration_s: float
    offset_s: float
    gain_db: float


@dataclass(frozen=True)
class NoisePlan:
    """The noise of a scene.

    Attributes:
        id: Recording, by its id in the manifest.
        path: Its file.
        category: Its kind, if known.
        start_s: Where the excerpt of each microphone starts in the file; one that reaches the end of the
            file goes on at its beginning, with a cross-fade.
        snr_db: Talker 1 over noise at the first microphone.
    """

    id: str
    path: str
    category: str | None
    start_s: tuple[float, ...]
    snr_db: float


@dataclass(frozen=True)
class ScenePlan:
    """A scene as numbers.

    Attributes:
        id: Name, unique within (corpora, seed).
        rate_hz: Sample rate.
        duration_s: Length.
        n_microphones: C.
        level: RMS of the active frames of a talker with gain 0 dB, full scale 1.
        talkers: S talkers.
        room: None without a room.
        noise: None without noise.
        snr_by: How the SNR is measured: `loudness` (BS.1770) or `rms` (over the speech span of talker 1).
        attempt: How many draws before this one met files that cannot be used.
        skipped: Those files.
    """

    id: str
    rate_hz: int
    duration_s: float
    n_microphones: int
    level: float
    talkers: tuple[TalkerPlan, ...]
    room: RoomPlan | None = None
    noise: NoisePlan | None = None
    snr_by: str = "loudness"
    attempt: int = 0
    skipped: tuple[str, ...] = ()

    @property
    def n_samples(self) -> int:
        """Length in samples."""
        return round(self.duration_s * self.rate_hz)

    @property
    def speakers(self) -> tuple[str, ...]:
        """Who talks; the utterance where its talker is not known."""
        return tuple(talker.speaker or talker.id for talker in self.talkers)


def columns(plan: ScenePlan) -> dict[str, str | float | None]:
    """What made a scene, as columns of a table of scores; None where it has no such part."""
    room, noise, talkers = plan.room, plan.noise, plan.talkers
    difference_db = round(talkers[0].gain_db - talkers[1].gain_db, 3) if len(talkers) > 1 else None
    return {
        "n_talkers": len(talkers),
        "talkers": " ".join(plan.speakers),
        "corpora": " + ".join(talker.corpus or "" for talker in talkers),
        "level_difference_db": difference_db,
        "snr_db": noise.snr_db if noise else None,
        "noise": noise.id if noise else None,
        "noise_category": noise.category if noise else None,
        "rt60_s": room.rt60_s if isinstance(room, Room) else None,
        "distance_m": round(room.distances_m[0], 3) if isinstance(room, Room) else None,
        "room_response": room.ids[0] if isinstance(room, MeasuredRoom) else None,
    }


def to_row(plan: ScenePlan) -> dict[str, Any]:
    """The plan as plain lists and numbers, for JSON."""
    return asdict(plan)


def from_row(row: Mapping[str, Any]) -> ScenePlan:
    """The plan of a row of `to_row`, also after a trip through JSON.

    Raises:
        TypeError, KeyError: The row is of another kind.
    """
    fields = dict(row)
    room, noise = fields.get("room"), fields.get("noise")
    fields["talkers"] = tuple(TalkerPlan(**talker) for talker in fields["talkers"])
    if room is not None:
        fields["room"] = room_from_row(room) if "size_m" in room else _measured_from_row(room)
    fields["noise"] = None if noise is None else NoisePlan(**{**noise, "start_s": tuple(noise["start_s"])})
    fields["skipped"] = tuple(fields.get("skipped", ()))
    return ScenePlan(**fields)


def room_from_row(row: Mapping[str, Any]) -> Room:
    """The room of plain lists and numbers, such as JSON gives.

    Raises:
        TypeError: The row is of another kind.
    """
    return Room(**{key: _frozen(value) for key, value in row.items()})


def _measured_from_row(row: Mapping[str, Any]) -> MeasuredRoom:
    return MeasuredRoom(**{key: _frozen(value) for key, value in row.items()})


def _frozen(value: Any) -> Any:  # noqa: ANN401
    """Lists as tuples, at every depth."""
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else value
