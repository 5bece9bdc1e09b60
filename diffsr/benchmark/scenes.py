"""From an item to its sound: what a system hears, and what it is scored against."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from diffsr.benchmark.items import Item, ItemList
from diffsr.errors import AudioError, DataError
from diffsr.io.manifest import Utterance
from diffsr.signal.levels import db, rms
from diffsr.simulation.measured import MeasuredRooms
from diffsr.simulation.plan import MeasuredRoom, ScenePlan
from diffsr.simulation.responses import RoomSource
from diffsr.simulation.rooms import SimulatedRooms
from diffsr.simulation.scene import Scene, render

TOLERANCE_DB = 0.015
"""Of the fingerprint, which is rounded to 0.01 dB."""


@dataclass(frozen=True)
class Rendered:
    """The sound of an item.

    Attributes:
        item: Its numbers.
        observation: What the microphone hears, [C, T]; all that a system is given.
        reference: Dry talkers in time with their direct path, [S, T]. In a simulated room the direct path
            itself, which is the dry talker to half a sample.
        noise: What was added to the talkers, [C, T]; zeros without noise.
        responses: Of the room from each talker, [S, C, L]; None without a room.
    """

    item: Item
    observation: Tensor
    reference: Tensor
    noise: Tensor
    responses: Tensor | None


def render_plan(plan: ScenePlan, folder: Path) -> tuple[Tensor, Tensor]:
    """Observation [C, T] and reference [S, T] of a plan whose paths are relative to the folder.

    Raises:
        AudioError: A file is missing, broken or silent, or a response has no clear direct path.
        DataError: The room cannot be had.
    """
    scene = _scene(plan, folder)
    return scene.observation, _reference(scene)


def render_item(item: Item, folder: Path, found: ItemList) -> Rendered:
    """Render an item of a list and make sure that it is what it was.

    Raises:
        DataError: It cannot be rendered, or comes out otherwise than when the list was made.
    """
    try:
        scene = _scene(item.plan, folder)
    except AudioError as error:
        raise DataError(f"{item.id}: {error}") from error
    observation, reference = scene.observation, _reference(scene)
    now = fingerprint_db(observation, reference)
    if any(abs(a - b) > TOLERANCE_DB for a, b in zip(now, item.rms_db, strict=True)):
        from importlib.metadata import version

        raise DataError(
            f"{item.id} is rendered with levels of {now} dB, expected {item.rms_db}: a library renders "
            f"otherwise than when the list was made with pyroomacoustics {found.pyroomacoustics} (here: "
            f"{version('pyroomacoustics')}), so scores could not be compared. Install the versions of "
            "constraints.txt."
        )
    responses = None if scene.responses is None else scene.responses.full
    return Rendered(item, observation, reference, scene.noise, responses)


def fingerprint_db(observation: Tensor, reference: Tensor) -> tuple[float, ...]:
    """RMS of the observation at the first microphone and of each talker, dB to two decimals."""
    return tuple(round(db(float(rms(wave))), 2) for wave in (observation[0], *reference))


def located(plan: ScenePlan, folder: Path) -> ScenePlan:
    """The plan with paths that can be opened."""

    def place(path: str) -> str:
        return str(folder / path)

    noise, room = plan.noise, plan.room
    if noise is not None:
        noise = replace(noise, path=place(noise.path))
    if isinstance(room, MeasuredRoom):
        room = replace(room, paths=tuple(place(path) for path in room.paths))
    talkers = tuple(replace(talker, path=place(talker.path)) for talker in plan.talkers)
    return replace(plan, talkers=talkers, noise=noise, room=room)


def _scene(plan: ScenePlan, folder: Path) -> Scene:
    plan = located(plan, folder)
    return render(plan, _rooms_of(plan))


def _reference(scene: Scene) -> Tensor:
    """What estimates are scored against, [S, T]."""
    return scene.dry if isinstance(scene.plan.room, MeasuredRoom) else scene.direct[:, 0]


def _rooms_of(plan: ScenePlan) -> RoomSource | None:
    """What renders the room of a plan."""
    if isinstance(plan.room, MeasuredRoom):
        rows = zip(plan.room.ids, plan.room.paths, strict=True)
        return MeasuredRooms(
            [Utterance(id=name, path=Path(path), room=plan.room.name) for name, path in rows]
        )
    return None if plan.room is None else SimulatedRooms()
