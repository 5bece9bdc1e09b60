"""A scene for the eye and the ear: its room, its responses, the spectrograms and recordings of its parts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from diffsr.io.audio import write_audio
from diffsr.report.pictures import draw_spectrograms, new_figure, save_png
from diffsr.report.room_pictures import (
    MEDIUM,
    SMALL,
    colour_of,
    describe_measured,
    draw_decays,
    draw_responses,
    draw_room,
    measured_rt60_s,
    say_in,
    shortened,
)
from diffsr.signal.levels import active_rms, db, rms
from diffsr.simulation.plan import Room, ScenePlan
from diffsr.simulation.scene import Scene

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

WIDTH_INCH = 12.0
HEAD_INCH, ROOM_INCH, NO_ROOM_INCH, ROW_INCH, FOOT_INCH = 0.45, 4.9, 0.5, 1.7, 0.35


def scene_figure(scene: Scene) -> Figure:
    """The picture of a scene, 1200 pixels wide.

    Every axis has a label that tells what it shows: `room`, `response 1`, ..., `decay`, `observation`,
    `noise`, `dry 1`, `reverberant 1`, ...

    Raises:
        ConfigError: matplotlib is not installed.
    """
    panels = list(_panels(scene))
    n_rows = -(-len(panels) // 2)
    top_inch = NO_ROOM_INCH if scene.responses is None else ROOM_INCH
    bottom_inch = ROW_INCH * n_rows + FOOT_INCH
    figure = new_figure(WIDTH_INCH, HEAD_INCH + top_inch + bottom_inch)
    figure.suptitle(_title(scene.plan), x=0.008, ha="left", fontsize=12, weight="bold", parse_math=False)
    parts = figure.subfigures(2, 1, squeeze=False, height_ratios=[top_inch, bottom_inch])
    _draw_top(parts[0, 0], scene)
    _draw_bottom(parts[1, 0], panels, n_rows, scene.plan.rate_hz)
    return figure


def scene_picture(scene: Scene, path: str | Path) -> Path:
    """Write the picture of a scene as png.

    Raises:
        ConfigError: matplotlib is not installed.
        DataError: The picture cannot be written.
    """
    return save_png(scene_figure(scene), path)


def write_parts(scene: Scene, folder: str | Path) -> list[Path]:
    """Write the parts of a scene as 32-bit float wav files, so that they still sum up.

    A dry talker convolved with its response is its reverberant part, later by the samples that
    `scene_facts` names.

    Raises:
        AudioError: A file cannot be written.
    """
    parts = {"observation": scene.observation, "noise": scene.noise}
    for k in range(len(scene.plan.talkers)):
        parts[f"talker{k + 1}-dry"] = scene.dry[k : k + 1]
        parts[f"talker{k + 1}-direct"] = scene.direct[k]
        parts[f"talker{k + 1}-reverberant"] = scene.reverberant[k]
        if scene.responses is not None:
            parts[f"response{k + 1}"] = scene.responses.full[k] * scene.room_gains[k]
    paths = [Path(folder) / f"{scene.plan.id}-{name}.wav" for name in parts]
    for path, wave in zip(paths, parts.values(), strict=True):
        write_audio(path, wave, scene.plan.rate_hz, "FLOAT")
    return paths


def scene_facts(scene: Scene) -> dict[str, str]:
    """What a scene is, name -> text."""
    plan = scene.plan
    facts = {
        "scene": plan.id,
        "length": f"{plan.duration_s:.2f} s at {plan.rate_hz} Hz, {_count(plan.n_microphones, 'microphone')}",
    }
    for k, talker in enumerate(plan.talkers):
        facts[f"talker {k + 1}"] = f"{_who(plan, k)}, gain {talker.gain_db:+.2f} dB, {talker.id}"
    facts["room"] = _room_text(plan)
    if scene.responses is not None:
        found = [_seconds(value) for value in measured_rt60_s(scene.responses, plan.rate_hz)]
        facts["T60 measured"] = ", ".join(found)
        facts["direct path"] = (
            f"at samples {', '.join(map(str, scene.responses.onset_samples))} of the responses"
        )
    facts["noise"] = "none"
    if plan.noise is not None:
        facts["noise"] = f"{plan.noise.category or plan.noise.id}, SNR {plan.noise.snr_db:.2f} dB"
    facts["peak guard"] = f"{db(scene.gain):+.2f} dB"
    if plan.skipped:
        facts["skipped"] = "; ".join(plan.skipped)
    return facts


def _title(plan: ScenePlan) -> str:
    parts = [
        plan.id,
        _count(len(plan.talkers), "talker"),
        _count(plan.n_microphones, "microphone"),
        f"{plan.duration_s:.2f} s at {plan.rate_hz / 1000:g} kHz",
    ]
    if isinstance(plan.room, Room):
        parts.append(f"T60 {plan.room.rt60_s:.2f} s")
    parts.append("no noise" if plan.noise is None else f"SNR {plan.noise.snr_db:.1f} dB")
    return "   ·   ".join(parts)


def _draw_top(figure: SubFigure, scene: Scene) -> None:
    """The room and its responses, or that there is none."""
    if scene.responses is None:
        axis = figure.subplots()
        axis.set_label("room")
        axis.set_axis_off()
        say_in(axis, "no room: the microphones hear the talkers without reflections")
        return
    n_talkers, rate_hz = len(scene.plan.talkers), scene.plan.rate_hz
    grid = figure.add_gridspec(n_talkers, 3, width_ratios=[1.1, 1.1, 1.0])
    room_axis = figure.add_subplot(grid[:, 0], label="room")
    room = scene.plan.room
    if isinstance(room, Room):
        draw_room(room_axis, room)
    elif room is not None:
        describe_measured(room_axis, room)
    axes: list[Axes] = []
    for k in range(n_talkers):
        axis = figure.add_subplot(grid[k, 1], label=f"response {k + 1}", sharex=axes[0] if axes else None)
        axis.tick_params(labelbottom=k == n_talkers - 1)
        axes.append(axis)
    draw_responses(axes, scene.responses, rate_hz)
    decay_axis = figure.add_subplot(grid[:, 2], label="decay")
    draw_decays(decay_axis, scene.responses, rate_hz, room.rt60_s if isinstance(room, Room) else None)


@dataclass(frozen=True)
class _Panel:
    """A part of the scene at microphone 1 with its caption; no wave where there is no such part."""

    name: str
    caption: str
    wave: Tensor | None
    colour: str = "black"


def _panels(scene: Scene) -> Iterator[_Panel]:
    """In the order of the page, two a row."""
    plan, rate_hz = scene.plan, scene.plan.rate_hz
    guard = f", all parts at {db(scene.gain):.1f} dB (peak guard)" if scene.gain < 1 else ""
    caption = f"observation: {_dbfs(rms(scene.observation[0]))} dBFS{guard}"
    yield _Panel("observation", caption, scene.observation[0])
    if plan.noise is None:
        yield _Panel("noise", "noise", None)
    else:
        name = shortened(plan.noise.category or plan.noise.id, 36)
        caption = f"noise: {name}, {_dbfs(rms(scene.noise[0]))} dBFS, SNR {plan.noise.snr_db:.1f} dB"
        yield _Panel("noise", caption, scene.noise[0])
    for k, talker in enumerate(plan.talkers):
        level = _dbfs(active_rms(scene.dry[k], rate_hz))
        who = shortened(_who(plan, k), 32)
        caption = f"talker {k + 1}, dry: {who}, {level} dBFS, gain {talker.gain_db:+.1f} dB"
        yield _Panel(f"dry {k + 1}", caption, scene.dry[k], colour_of(k))
        if scene.responses is not None:
            level = _dbfs(active_rms(scene.reverberant[k, 0], rate_hz))
            caption = f"talker {k + 1}, reverberant: {level} dBFS"
            yield _Panel(f"reverberant {k + 1}", caption, scene.reverberant[k, 0], colour_of(k))


def _draw_bottom(figure: SubFigure, panels: list[_Panel], n_rows: int, rate_hz: int) -> None:
    """Spectrograms of the parts in two columns, with one time axis and one colour scale."""
    grid = figure.subplots(n_rows, 2, sharex=True, sharey=True, squeeze=False)
    axes: list[Axes] = list(grid.flat)
    drawn = [(axis, panel.wave) for axis, panel in zip(axes, panels, strict=False) if panel.wave is not None]
    image = draw_spectrograms([axis for axis, _ in drawn], [wave for _, wave in drawn], rate_hz)
    for axis, panel in zip(axes, panels, strict=False):
        axis.set_label(panel.name)
        axis.set_title(panel.caption, loc="left", fontsize=MEDIUM, color=panel.colour, parse_math=False)
        axis.tick_params(labelsize=SMALL)
        if panel.wave is None:
            say_in(axis, "no noise")
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    for row in grid:
        row[0].set_ylabel("kHz", fontsize=SMALL)
    for axis in axes[len(panels) - 2 : len(panels)]:  # the lowest of each column
        axis.set_xlabel("time (s)", fontsize=SMALL)
        axis.tick_params(labelbottom=True)
    bar = figure.colorbar(image, ax=axes, pad=0.01, aspect=12 * n_rows)
    bar.set_label("dB re full scale", fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)


def _who(plan: ScenePlan, talker: int) -> str:
    one = plan.talkers[talker]
    who = one.speaker or one.id
    return f"{who} ({one.corpus})" if one.corpus else who


def _room_text(plan: ScenePlan) -> str:
    if plan.room is None:
        return "none"
    if not isinstance(plan.room, Room):
        return f"measured, {plan.room.name}: {', '.join(plan.room.ids)}"
    size = " x ".join(f"{value:.2f}" for value in plan.room.size_m)
    distances = ", ".join(f"{value:.2f}" for value in plan.room.distances_m)
    return f"{size} m, T60 {plan.room.rt60_s:.2f} s asked for, talkers {distances} m away"


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'s' * (number != 1)}"


def _dbfs(level: Tensor) -> str:
    return f"{db(float(level)):.1f}"


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if math.isfinite(value) else "cannot be told"
