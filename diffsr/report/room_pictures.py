"""A room from above and what it does to sound. Every talker has one colour, number and line style."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from diffsr.signal.room_acoustics import drr_db, energy_decay_db, rt60_s
from diffsr.simulation.plan import MeasuredRoom, Point, Room
from diffsr.simulation.responses import Responses

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73")
"""Blue, vermilion and green of Okabe and Ito, which colour-blind readers can tell apart."""
LINES = ("-", "--", "-.")
INK = "#222222"
MARGIN_M = 0.35
TAG_SHARE = 0.08
"""Width of a numbered tag in the drawing, as a share of the longer wall."""
LEAD_S = 0.005
"""How much of a response is shown before the direct path."""
SHORTEST_S, LONGEST_S = 0.1, 0.3
FLOOR_DB = -70.0
FIT_DB = (-5.0, -25.0)
SMALL, MEDIUM = 9.0, 10.0


def colour_of(talker: int) -> str:
    """Colour of talker 0, 1, ..."""
    return COLOURS[talker % len(COLOURS)]


def say_in(axis: Axes, text: str) -> None:
    """Words in place of a drawing."""
    axis.text(
        0.5, 0.5, text, transform=axis.transAxes, ha="center", va="center", color=INK,
        fontsize=MEDIUM, linespacing=1.6, parse_math=False,
    )  # fmt: skip


def draw_room(axis: Axes, room: Room) -> None:
    """Walls, microphones and talkers from above, to scale, with the heights in the legend."""
    from matplotlib.patches import Rectangle

    length_m, width_m, height_m = room.size_m
    floor = Rectangle((0, 0), length_m, width_m, facecolor="#F6F4EF", zorder=0)
    walls = Rectangle((0, 0), length_m, width_m, fill=False, edgecolor=INK, linewidth=3, zorder=3)
    axis.add_patch(floor)
    axis.add_patch(walls)
    axis.set_aspect("equal", anchor="N")
    axis.set_xlim(-MARGIN_M, length_m + MARGIN_M)
    axis.set_ylim(-MARGIN_M, width_m + MARGIN_M)
    axis.set_xticks(range(math.floor(length_m) + 1))
    axis.set_yticks(range(math.floor(width_m) + 1))
    axis.grid(color="white", linewidth=1)
    axis.set_axisbelow(True)
    axis.tick_params(labelsize=SMALL, length=0)
    axis.spines[:].set_visible(False)
    axis.set_xlabel("m", fontsize=SMALL)
    size = f"{length_m:.1f} × {width_m:.1f} × {height_m:.1f} m"
    axis.set_title(f"room of {size}, T60 asked for {room.rt60_s:.2f} s", fontsize=MEDIUM)
    _draw_talkers(axis, room)
    _draw_microphones(axis, room)
    axis.legend(
        loc="upper center", bbox_to_anchor=(0.5, 0.0), borderaxespad=3.6, ncols=2, fontsize=SMALL,
        frameon=False, handletextpad=0.4, columnspacing=1.2, markerscale=0.65,
    )  # fmt: skip


def _draw_talkers(axis: Axes, room: Room) -> None:
    x, y, _ = room.array_m
    tags = apart([(p[0], p[1]) for p in room.talkers_m], TAG_SHARE * max(room.size_m[:2]))
    for k, (point, tag) in enumerate(zip(room.talkers_m, tags, strict=True)):
        colour, text = colour_of(k), f"{room.distances_m[k]:.2f} m away, {point[2]:.2f} m high"
        axis.plot([x, point[0]], [y, point[1]], color=colour, linestyle=LINES[k % 3], linewidth=1.4, zorder=4)
        # The dot is the place; the numbered tag lies on it unless two talkers stand close together.
        axis.plot([point[0], tag[0]], [point[1], tag[1]], color=colour, linewidth=1.0, zorder=4)
        axis.plot([point[0]], [point[1]], "o", markersize=5, color=colour, gid=f"talker {k + 1}", zorder=5)
        axis.plot(
            [tag[0]], [tag[1]], "o", markersize=15, color=colour, markeredgecolor="white",
            label=f"talker {k + 1}: {text}", zorder=6,
        )  # fmt: skip
        axis.text(
            tag[0], tag[1], str(k + 1), color="white", weight="bold", fontsize=SMALL,
            ha="center", va="center_baseline", zorder=7,
        )  # fmt: skip


def apart(points: Sequence[tuple[float, float]], distance_m: float) -> list[tuple[float, float]]:
    """Places near the points that are at least `distance_m` from each other; points that are stay."""
    places = np.array(points, dtype=float)
    for _ in range(100):
        moved = False
        for i, j in itertools.combinations(range(len(places)), 2):
            gap = places[j] - places[i]
            size = float(np.hypot(*gap))
            if size < distance_m:
                way = gap / size if size > 0 else np.array([1.0, 0.0])
                places[i] -= way * (1.01 * distance_m - size) / 2
                places[j] += way * (1.01 * distance_m - size) / 2
                moved = True
        if not moved:
            break
    return [(float(x), float(y)) for x, y in places]


def _draw_microphones(axis: Axes, room: Room) -> None:
    points = room.microphones_m
    if len(points) > 1:
        start, end = _array_axis(points)
        axis.plot(
            [start[0], end[0]], [start[1], end[1]], color="#666666", linestyle=":", linewidth=1.8,
            label="array axis", zorder=3.5,
        )  # fmt: skip
    height = f"{points[0][2]:.2f} m high"
    spacing_m = math.dist(points[0], points[1]) if len(points) > 1 else 0.0
    others = "microphone 2" if len(points) == 2 else f"microphones 2 to {len(points)}"
    names = [f"microphone 1, {height}", f"{others}, {spacing_m:.2f} m apart", *[None] * len(points)]
    for number, point in enumerate(points):
        axis.plot(
            [point[0]], [point[1]], linestyle="none", marker="^" if number == 0 else "o",
            markersize=9 if number == 0 else 6, color=INK, markeredgecolor="white", markeredgewidth=0.6,
            label=names[number], gid=f"microphone {number + 1}", zorder=8,
        )  # fmt: skip


def _array_axis(points: Sequence[Point], reach_m: float = 1.0) -> tuple[Point, Point]:
    """The line through the microphones, `reach_m` longer than the array on both sides."""
    first, last = np.array(points[0]), np.array(points[-1])
    step = (last - first) / np.linalg.norm(last - first) * reach_m
    start, end = (tuple(float(v) for v in point) for point in (first - step, last + step))
    return (start[0], start[1], start[2]), (end[0], end[1], end[2])


def describe_measured(axis: Axes, room: MeasuredRoom) -> None:
    """What is known of a measured room: its name and which response each talker has."""
    rows = [f"talker {k + 1}: {shortened(name, 44)}" for k, name in enumerate(room.ids)]
    head = ["measured responses", f"room: {shortened(room.name, 44)}", ""]
    say_in(axis, "\n".join([*head, *rows, "", "where everybody stood is not known,", "no T60 was asked for"]))
    axis.set_axis_off()


def shortened(text: str, size: int) -> str:
    """At most `size` characters: the middle gives way."""
    if len(text) <= size:
        return text
    kept = size - 1
    return text[: kept // 2] + "…" + text[-(kept - kept // 2) :]


def draw_responses(axes: Sequence[Axes], responses: Responses, rate_hz: int) -> None:
    """The beginning of the response of each talker to microphone 1, one axis a talker.

    The largest sample of the direct path is 1; time 0 is where the direct path arrives.
    """
    longest = max(measured_rt60_s(responses, rate_hz), default=math.nan)
    shown_s = min(max(SHORTEST_S, longest / 2), LONGEST_S) if math.isfinite(longest) else LONGEST_S
    ratios = drr_db(responses.full[:, 0], rate_hz, torch.tensor(responses.onset_samples))
    for k, (axis, onset) in enumerate(zip(axes, responses.onset_samples, strict=True)):
        response = responses.full[k, 0]
        near = round(0.0005 * rate_hz)
        peak = response[max(0, onset - near) : onset + near + 1].abs().max().clamp_min(1e-12)
        first, last = max(0, onset - round(LEAD_S * rate_hz)), onset + round(shown_s * rate_hz)
        wave = (response[first:last] / peak).numpy()
        time_ms = (first - onset + np.arange(len(wave))) * (1000.0 / rate_hz)
        axis.plot(time_ms, wave, color=colour_of(k), linewidth=0.8)
        axis.axvline(0.0, color=INK, linewidth=0.8, linestyle=":", zorder=0)
        axis.text(
            0.005 * 1000 * shown_s, 0.91, f"direct path, {1000 * onset / rate_hz:.1f} ms after the start",
            transform=axis.get_xaxis_transform(), va="center", fontsize=SMALL, color=INK,
        )  # fmt: skip
        axis.set_xlim(-1000 * LEAD_S, 1000 * shown_s)
        low, high = min(-0.4, float(wave.min())), max(1.0, float(wave.max()))
        axis.set_ylim(low - 0.05 * (high - low), high + 0.25 * (high - low))  # the words lie above the wave
        title = f"talker {k + 1} to microphone 1, DRR {float(ratios[k]):.1f} dB"
        axis.set_title(title, loc="left", fontsize=MEDIUM)
        _tidy(axis)
    axes[-1].set_xlabel("ms after the direct path", fontsize=SMALL)


def draw_decays(axis: Axes, responses: Responses, rate_hz: int, asked_s: float | None) -> None:
    """Energy decay of every talker's response to microphone 1, with the reverberation times.

    Args:
        axis: Where.
        responses: Of the room.
        rate_hz: Their rate.
        asked_s: Reverberation time that the room was made for; None where nobody asked.
    """
    axis.axhspan(FIT_DB[1], FIT_DB[0], color="#E8E8E8", zorder=0)
    axis.text(
        0.985, FIT_DB[1] + 1, "range of the fit", transform=axis.get_yaxis_transform(), ha="right",
        va="bottom", fontsize=SMALL, color="#666666",
    )  # fmt: skip
    for k, (found_s, onset) in enumerate(
        zip(measured_rt60_s(responses, rate_hz), responses.onset_samples, strict=True)
    ):
        decay_db = energy_decay_db(responses.full[k, 0])[onset:].numpy()
        text = f"T60 {found_s:.2f} s measured" if math.isfinite(found_s) else "T60 cannot be measured"
        axis.plot(
            np.arange(len(decay_db)) / rate_hz, decay_db, color=colour_of(k), linestyle=LINES[k % 3],
            linewidth=1.8, label=f"talker {k + 1}: {text}", zorder=3,
        )  # fmt: skip
    if asked_s is not None:
        axis.plot(
            [0.0, asked_s], [0.0, -60.0], color=INK, linestyle=":", linewidth=1.4,
            label=f"T60 {asked_s:.2f} s asked for", zorder=2,
        )  # fmt: skip
    end_s = (responses.full.shape[-1] - min(responses.onset_samples)) / rate_hz
    axis.set_xlim(0.0, max(end_s, 1.03 * (asked_s or 0.0)))
    axis.set_ylim(FLOOR_DB, 2.0)
    axis.set_title("energy decay at microphone 1 (dB)", loc="left", fontsize=MEDIUM)
    axis.set_xlabel("s after the direct path", fontsize=SMALL)
    axis.legend(
        loc="upper center", bbox_to_anchor=(0.5, 0.0), borderaxespad=3.6, fontsize=SMALL, frameon=False
    )  # fmt: skip
    _tidy(axis)


def measured_rt60_s(responses: Responses, rate_hz: int) -> list[float]:
    """Reverberation time of each talker's response to microphone 1; NaN where it cannot be told."""
    return [float(value) for value in rt60_s(responses.full[:, 0], rate_hz, FIT_DB)]


def _tidy(axis: Axes) -> None:
    axis.tick_params(labelsize=SMALL)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color="#DDDDDD", linewidth=0.6)
    axis.set_axisbelow(True)
