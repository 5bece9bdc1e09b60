"""The picture of a scene shows the plan, and nothing lies on anything else."""

import dataclasses
import functools
import itertools
import sys

import numpy as np
import pytest
import torch

from diffsr.errors import ConfigError, DataError
from diffsr.io.audio import read_audio, write_audio
from diffsr.io.manifest import Utterance
from diffsr.report.room_pictures import _draw_microphones, apart, shortened
from diffsr.report.scene import scene_facts, scene_figure, scene_picture, write_parts
from diffsr.signal.filtering import convolve
from diffsr.simulation.draw import SceneMaker, SceneSettings
from diffsr.simulation.plan import MeasuredRoom
from diffsr.simulation.responses import Responses
from diffsr.simulation.rooms import ReverberationClass, SimulatedRooms

RATE_HZ = 8000
LOW = (ReverberationClass("low", 0.2, 0.25, 1.0),)


class Recorded:
    """One measured response a talker: decaying noise that loses 60 dB in 0.5 s, direct path after 10 ms."""

    fingerprint = "recorded"

    def draw(self, rng, n_talkers, n_microphones):
        names = tuple(
            f"responses/a-rather-long-name-of-a-room/position-{k}-channel-1" for k in range(n_talkers)
        )
        return MeasuredRoom("the hall", names, names)

    def responses(self, room, rate_hz):
        time_s = torch.arange(rate_hz) / rate_hz
        noise = torch.randn(len(room.ids), 1, rate_hz, generator=torch.Generator().manual_seed(0))
        full = 0.1 * noise * 10 ** (-3 * time_s / 0.5)
        onset = round(0.01 * rate_hz)
        full[..., :onset] = 0.0
        full[..., onset] = 1.0
        direct = torch.zeros_like(full[..., : onset + 1])
        direct[..., onset] = 1.0
        return Responses(full, direct, (onset,) * len(room.ids))


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Speech of three talkers and one noise; tones in bursts stand for speech."""
    folder = tmp_path_factory.mktemp("corpus")
    generator = torch.Generator().manual_seed(0)
    time_s = torch.arange(2 * RATE_HZ) / RATE_HZ
    speech = []
    for k in range(3):
        wave = torch.sin(2 * np.pi * 300 * (k + 1) * time_s) * (torch.sin(2 * np.pi * 3 * time_s) > 0)
        write_audio(folder / f"{k}.wav", 0.3 * wave[None], RATE_HZ)
        speech.append(
            Utterance(
                f"talker-{k}/utterance", folder / f"{k}.wav", f"talker-{k}", corpus="a corpus, long name"
            )
        )
    write_audio(folder / "noise.wav", 0.1 * torch.randn(1, 3 * RATE_HZ, generator=generator), RATE_HZ)
    return speech, [Utterance("noise", folder / "noise.wav", category="rain on a tin roof")]


KINDS = {  # talkers, microphones, noise, rooms
    "simulated": (2, 1, True, SimulatedRooms(LOW)),
    "three talkers, two microphones": (3, 2, True, SimulatedRooms(LOW)),
    "no noise": (2, 2, False, SimulatedRooms(LOW)),
    "measured": (2, 1, True, Recorded()),
    "no room": (3, 1, True, None),
    "nothing": (1, 1, False, None),
}


@pytest.fixture(scope="module")
def scene_of(rows):
    """Scene of a kind, made once."""
    speech, noise = rows

    @functools.cache
    def make(kind):
        n_talkers, n_microphones, has_noise, rooms = KINDS[kind]
        settings = SceneSettings(n_talkers, n_microphones, mode="max", rate_hz=RATE_HZ)
        return SceneMaker(settings, speech, noise if has_noise else None, rooms, seed=3).scene(3, 1)

    return make


@pytest.fixture(scope="module")
def figure_of(scene_of):
    """Its picture, made once."""
    return functools.cache(lambda kind: scene_figure(scene_of(kind)))


@pytest.fixture(params=KINDS)
def drawn(request, scene_of, figure_of):
    return scene_of(request.param), figure_of(request.param)


def by_name(figure):
    return {axis.get_label(): axis for axis in figure.axes}


def test_every_part_has_a_panel(drawn):
    scene, figure = drawn
    talkers = range(1, len(scene.plan.talkers) + 1)
    expected = {"room", "observation", "noise", *(f"dry {k}" for k in talkers)}
    if scene.plan.room is not None:
        expected |= {"decay", *(f"response {k}" for k in talkers), *(f"reverberant {k}" for k in talkers)}
    found = {name for name in by_name(figure) if not name.startswith("<") and name}
    assert found == expected
    assert figure.get_size_inches()[0] == 12.0


def test_room_is_to_scale_and_everybody_is_where_the_plan_says(figure_of, scene_of):
    for kind in ("simulated", "three talkers, two microphones"):
        scene = scene_of(kind)
        axis = by_name(figure_of(kind))["room"]
        room = scene.plan.room
        places = {line.get_gid(): line.get_xydata()[0] for line in axis.lines if line.get_gid()}
        assert len(places) == len(room.talkers_m) + len(room.microphones_m)
        for name, points in (("talker", room.talkers_m), ("microphone", room.microphones_m)):
            for k, point in enumerate(points):
                assert places[f"{name} {k + 1}"] == pytest.approx(point[:2])
        walls = axis.patches[-1]
        assert (walls.get_width(), walls.get_height()) == room.size_m[:2]
        assert axis.get_aspect() == 1.0
        legend = [text.get_text() for text in axis.get_legend().get_texts()]
        assert f"talker 1: {room.distances_m[0]:.2f} m away, {room.talkers_m[0][2]:.2f} m high" in legend
        assert ("array axis" in legend) == (len(room.microphones_m) > 1)


@pytest.mark.parametrize(("n_microphones", "others"), [(2, "microphone 2,"), (4, "microphones 2 to 4,")])
def test_the_legend_counts_the_other_microphones(scene_of, n_microphones, others):
    from matplotlib.figure import Figure

    axis = Figure().add_subplot()
    room = scene_of("simulated").plan.room
    line = tuple((1.0 + 0.1 * k, 2.0, 1.5) for k in range(n_microphones))
    _draw_microphones(axis, dataclasses.replace(room, microphones_m=line))
    labels = axis.get_legend_handles_labels()[1]
    assert f"{others} 0.10 m apart" in labels


def test_array_axis_goes_through_all_microphones(figure_of, scene_of):
    scene = scene_of("three talkers, two microphones")
    axis = by_name(figure_of("three talkers, two microphones"))["room"]
    (line,) = [line for line in axis.lines if line.get_label() == "array axis"]
    start, end = line.get_xydata()
    for point in scene.plan.room.microphones_m:
        along = end - start
        off = along[0] * (point[1] - start[1]) - along[1] * (point[0] - start[0])
        assert off / np.hypot(*along) == pytest.approx(0.0, abs=1e-6)


def test_spectrograms_share_time_and_colour(drawn):
    scene, figure = drawn
    axes = by_name(figure)
    n_parts = 1 + (scene.plan.noise is not None)
    n_parts += len(scene.plan.talkers) * (1 + (scene.plan.room is not None))
    images = [axis.images[0] for axis in axes.values() if axis.images]
    assert len(images) == n_parts
    assert len({image.get_clim() for image in images}) == 1
    for name, axis in axes.items():
        if name.partition(" ")[0] in ("observation", "noise", "dry", "reverberant"):
            assert axis.get_xlim() == pytest.approx((0.0, scene.plan.duration_s), abs=1e-3)
            assert axis.get_ylim() == (0.0, RATE_HZ / 2000)


def test_captions_tell_levels_snr_and_who(figure_of, scene_of):
    scene = scene_of("simulated")
    axes = by_name(figure_of("simulated"))
    title = {name: axis.get_title(loc="left") for name, axis in axes.items()}
    assert "rain on a tin roof" in title["noise"]
    assert f"SNR {scene.plan.noise.snr_db:.1f} dB" in title["noise"]
    first = scene.plan.talkers[0]
    assert f"gain {first.gain_db:+.1f} dB" in title["dry 1"]
    assert first.speaker in title["dry 1"]
    level = 20 * np.log10(float(scene.observation[0].square().mean().sqrt()))
    assert f"{level:.1f} dBFS" in title["observation"]


def test_response_starts_at_the_direct_path_and_decays_as_made(figure_of):
    axes = by_name(figure_of("measured"))
    time_ms, wave = axes["response 1"].lines[0].get_data()
    at = int(np.argmin(np.abs(time_ms)))
    assert wave[at] == pytest.approx(1.0)
    assert np.abs(wave[:at]).max() == 0.0
    assert 100 <= time_ms[-1] <= 300
    legend = [text.get_text() for text in axes["decay"].get_legend().get_texts()]
    assert len(legend) == 2  # nobody asked for a T60
    found_s = float(legend[0].removeprefix("talker 1: T60 ").removesuffix(" s measured"))
    assert found_s == pytest.approx(0.5, abs=0.03)
    # The whole response, not only its beginning.
    assert axes["decay"].get_xlim()[1] == pytest.approx(0.99, abs=0.01)
    room = "\n".join(text.get_text() for text in axes["room"].texts)
    assert "the hall" in room
    assert "position-1-channel-1" in room


def test_reverberation_time_asked_for_is_drawn(figure_of, scene_of):
    scene = scene_of("simulated")
    axis = by_name(figure_of("simulated"))["decay"]
    (line,) = [line for line in axis.lines if "asked for" in line.get_label()]
    assert line.get_xydata()[1] == pytest.approx((scene.plan.room.rt60_s, -60.0))


def test_nothing_overlaps(drawn):
    _, figure = drawn
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    boxes = {figure._suptitle.get_text(): figure._suptitle.get_window_extent(renderer)}
    for axis in figure.axes:
        legend = axis.get_legend()
        words = [axis.title, axis._left_title, *axis.texts, *(legend.get_texts() if legend else [])]
        for text in words:
            if text.get_text():
                boxes[f"{axis.get_label()}: {text.get_text()}"] = text.get_window_extent(renderer)
        if axis.axison:
            for name in ("xaxis", "yaxis"):
                box = getattr(axis, name).get_tightbbox(renderer)
                if box is not None:
                    boxes[f"{axis.get_label()}: {name}"] = box
    for (first, a), (second, b) in itertools.combinations(boxes.items(), 2):
        corner = first.endswith("axis") and second.endswith("axis")  # of one panel they may meet
        if not (corner and first.split(":")[0] == second.split(":")[0]):
            assert not a.padded(-1).overlaps(b.padded(-1)), f"{first} lies on {second}"
    for name, box in boxes.items():
        assert figure.bbox.x0 - 1 <= box.x0, name
        assert box.x1 <= figure.bbox.x1 + 1, name


def test_picture_is_written(scene_of, tmp_path):
    from matplotlib.image import imread

    path = scene_picture(scene_of("no noise"), tmp_path / "new" / "scene.png")
    image = imread(path)
    assert image.shape[1] == 1200
    top, bottom = image[: len(image) // 3, :, :3], image[len(image) // 2 :, :, :3]
    assert top.mean() > 0.8 > bottom.mean()  # drawings on white above, dark spectrograms below
    assert [p.name for p in path.parent.iterdir()] == ["scene.png"]


def test_parts_as_recordings_add_up(scene_of, tmp_path):
    scene = scene_of("three talkers, two microphones")
    paths = {p.name.removeprefix(scene.plan.id + "-"): read_audio(p)[0] for p in write_parts(scene, tmp_path)}
    assert len(paths) == 2 + 4 * 3
    total = paths["noise.wav"] + sum(paths[f"talker{k}-reverberant.wav"] for k in (1, 2, 3))
    assert torch.allclose(total, paths["observation.wav"], atol=1e-6)
    onset = scene.responses.onset_samples[1]
    heard = convolve(paths["talker2-dry.wav"][0], paths["response2.wav"], scene.plan.n_samples, onset)
    assert f"{onset}" in scene_facts(scene)["direct path"]
    assert torch.allclose(heard, paths["talker2-reverberant.wav"], atol=1e-5 * float(heard.abs().max()))


def test_facts(scene_of):
    facts = scene_facts(scene_of("simulated"))
    assert facts["T60 measured"].count(" s") == 2
    assert "asked for" in facts["room"]
    assert "SNR" in facts["noise"]
    assert scene_facts(scene_of("nothing"))["room"] == "none"


def test_tags_that_would_touch_are_moved_apart():
    assert apart([(0.0, 0.0), (2.0, 0.0)], 1.0) == [(0.0, 0.0), (2.0, 0.0)]
    places = apart([(0.0, 0.0), (0.2, 0.1), (0.0, 0.0)], 1.0)
    assert all(np.hypot(a[0] - b[0], a[1] - b[1]) >= 0.99 for a, b in itertools.combinations(places, 2))
    assert np.abs(places).max() < 2.0


def test_long_names_keep_both_ends():
    assert shortened("short", 10) == "short"
    assert shortened("abcdefghijklmnop", 7) == "abc…nop"


def test_without_matplotlib(scene_of, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match="pip install matplotlib"):
        scene_figure(scene_of("nothing"))


def test_unwritable_target(scene_of, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="Cannot write"):
        scene_picture(scene_of("nothing"), tmp_path / "file" / "scene.png")
