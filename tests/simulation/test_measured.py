"""Measured responses: aligned, cut, told apart from those that cannot be used."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from diffsr.errors import AudioError, DataError
from diffsr.io.manifest import Utterance, read_manifest
from diffsr.signal.room_acoustics import direct_path_sample, rt60_s
from diffsr.simulation.alignment import LEAD_S, align, clear_direct_path
from diffsr.simulation.draw import SceneMaker, SceneSettings
from diffsr.simulation.measured import MeasuredRooms, OneOf
from diffsr.simulation.plan import MeasuredRoom, Room, ScenePlan, from_row, to_row
from diffsr.simulation.rooms import ReverberationClass, SimulatedRooms

RATE_HZ = 16000


def measured(
    seed: int = 0,
    onset: int = 300,
    rt60: float = 0.4,
    noise_db: float = -60.0,
    direct: float = 1.0,
    seconds: float = 1.5,
    rate_hz: int = RATE_HZ,
) -> np.ndarray:
    """A direct path after silence, reverberation from 5 ms after it on, and noise everywhere, [T]."""
    rng = np.random.default_rng(seed)
    response = 10 ** (noise_db / 20) * rng.standard_normal(round(seconds * rate_hz))
    response[onset] += direct
    tail = np.arange(len(response) - onset - rate_hz // 200)
    decay = 10 ** (-3 * tail / rate_hz / rt60)
    response[onset + rate_hz // 200 :] += 0.08 * decay * rng.standard_normal(len(tail))
    return response


def wave(**options: float) -> torch.Tensor:
    return torch.from_numpy(measured(**options)).float()[None]  # type: ignore[arg-type]


@pytest.fixture
def rows(tmp_path: Path) -> list[Utterance]:
    """Room a with 3 responses, b with 2, c with 1; one that is covered, one silent and one broken."""
    made = {
        "a1": (measured(1, 300), "a"),
        "a2": (measured(2, 20), "a"),
        "a3": (measured(3, 900), "a"),
        "b1": (measured(4, 50, rt60=0.6), "b"),
        "b2": (measured(5, 60, rt60=0.6), "b"),
        "c1": (measured(6, 70), "c"),
        "covered": (measured(7, 300, noise_db=-15), "a"),
        "silent": (np.zeros(8000), "c"),
    }
    found = []
    for name, (response, room) in made.items():
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, 0.5 * response, RATE_HZ, subtype="FLOAT")
        found.append(Utterance(name, path, room=room, sha1=f"{name:0<40}"))
    (tmp_path / "broken.wav").write_bytes(b"no audio")
    return [*found, Utterance("broken", tmp_path / "broken.wav", room="a")]


# --- one response


def test_the_direct_path_lies_at_the_lead_and_nothing_comes_before() -> None:
    response = wave(onset=300)
    full, direct = align(response, clear_direct_path(response, RATE_HZ), RATE_HZ)
    lead = round(LEAD_S * RATE_HZ)
    assert int(direct[0].abs().argmax()) == int(full[0].abs().argmax()) == lead
    assert direct[0, lead] == response[0, 300]
    assert full[0, 0].abs() < 1e-4
    assert direct.shape[-1] == 2 * lead


def test_the_direct_part_is_the_window_around_the_direct_path() -> None:
    """A reflection 1.5 ms later is part of it, one 4 ms later is not; the rest of the whole is untouched."""
    response = torch.zeros(1, 8000)
    response[0, 500], response[0, 524], response[0, 564] = 1.0, 0.5, 0.4
    response[0, 600:3000] = 0.01
    full, direct = align(response, 500, RATE_HZ)
    assert torch.equal(direct[0].nonzero()[:, 0], torch.tensor([40, 64]))
    assert (direct[0, 40], direct[0, 64], full[0, 104]) == (1.0, 0.5, pytest.approx(0.4))
    assert torch.equal(full[0, 40:2500], response[0, 500:2960])


def test_a_response_that_starts_with_its_direct_path_gets_a_lead() -> None:
    response = wave(onset=3)
    full, direct = align(response, clear_direct_path(response, RATE_HZ), RATE_HZ)
    assert int(direct[0].abs().argmax()) == 40
    assert torch.equal(full[0, 40:60], response[0, 3:23])


def test_the_noise_at_the_end_is_cut_and_the_reverberation_time_is_kept() -> None:
    response = wave(rt60=0.4, noise_db=-60.0, seconds=3.0)
    full, _ = align(response, clear_direct_path(response, RATE_HZ), RATE_HZ)
    # 0.08 decays to the noise, 38 dB lower, in 0.25 s.
    assert 0.2 < full.shape[-1] / RATE_HZ < 0.45
    assert float(rt60_s(full[0], RATE_HZ)) == pytest.approx(0.4, rel=0.1)
    assert full[0, -1].abs() < 1e-4


def test_a_response_without_noise_keeps_its_decay() -> None:
    response = wave(rt60=0.5, noise_db=-200.0, seconds=0.6)
    full, _ = align(response, clear_direct_path(response, RATE_HZ), RATE_HZ)
    assert full.shape[-1] / RATE_HZ > 0.5
    assert float(rt60_s(full[0], RATE_HZ)) == pytest.approx(float(rt60_s(response[0], RATE_HZ)), rel=0.03)


def test_a_quiet_direct_path_before_a_strong_reflection_is_not_clear() -> None:
    response = wave(noise_db=-90.0)
    response[0, 800:840] = 0.5  # 10 times the energy
    with pytest.raises(DataError, match=r"a reflection is 1\d\.\d dB stronger than its direct path"):
        clear_direct_path(response, RATE_HZ)
    response[0, 800:840] = 0.2  # 1.6 times
    assert clear_direct_path(response, RATE_HZ) == direct_path_sample(response[0], RATE_HZ) == 300


def test_a_direct_path_in_noise_is_not_clear() -> None:
    clear_direct_path(wave(onset=3000, noise_db=-50.0), RATE_HZ)
    with pytest.raises(DataError, match=r"the energy before its direct path is -\d\.\d dB"):
        clear_direct_path(wave(onset=3000, noise_db=-42.0), RATE_HZ)


# --- rooms


def test_bad_responses_are_left_out_and_counted(
    rows: list[Utterance], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        source = MeasuredRooms(rows)
    assert set(source.rejected) == {"covered", "silent", "broken"}
    assert "Left out 3 of 9 measured responses; first: " in caplog.text
    assert "covered" not in {id for k in range(50) for id in source.draw(np.random.default_rng(k), 1, 1).ids}


def test_responses_below_the_rate_of_the_scenes_are_left_out_once(
    rows: list[Utterance], tmp_path: Path, corpora: Any, caplog: pytest.LogCaptureFixture
) -> None:
    clear = rows[:6]
    low = [Utterance(f"low{k}", tmp_path / f"low{k}.wav", room="d") for k in range(6)]
    for row in low:
        soundfile.write(row.path, 0.5 * measured(1, 300, rate_hz=8000), 8000, subtype="FLOAT")
    with caplog.at_level(logging.WARNING):
        rooms = MeasuredRooms([*clear, *low], RATE_HZ)
    assert set(rooms.rejected) == {row.id for row in low}
    assert "Left out 6 of 12 measured responses; first: " in caplog.text
    assert "has 8000 Hz, expected at least the 16000 Hz of the scenes" in caplog.text
    settings = SceneSettings(n_talkers=1, crop_s=1.0)
    inside = SceneMaker(settings, corpora.speech, corpora.noise, rooms)
    outside = SceneMaker(settings, corpora.speech, corpora.noise)
    for index in range(12):  # the room changes nothing in the rest
        plans = [maker.scene(index).plan for maker in (inside, outside)]
        assert replace(plans[0], room=None) == plans[1]


def test_the_fingerprint_knows_which_rates_were_left_out(rows: list[Utterance]) -> None:
    original = MeasuredRooms(rows).fingerprint
    assert MeasuredRooms(rows, RATE_HZ).fingerprint == original
    soundfile.write(rows[0].path, measured(rate_hz=8000), 8000, subtype="FLOAT")
    assert MeasuredRooms(rows).fingerprint == original
    assert MeasuredRooms(rows, RATE_HZ).fingerprint != original


def test_every_talker_has_its_own_response_of_the_same_room(rows: list[Utterance]) -> None:
    source = MeasuredRooms(rows)
    draws = [source.draw(np.random.default_rng(k), 2, 1) for k in range(200)]
    assert {room.name for room in draws} == {"a", "b"}
    for room in draws:
        assert len(set(room.ids)) == 2
        assert all(id.startswith(room.name) for id in room.ids)
        assert [Path(path).stem for path in room.paths] == list(room.ids)
        assert source.owns(room)
    assert {source.draw(np.random.default_rng(k), 3, 1).name for k in range(20)} == {"a"}
    singles = [source.draw(np.random.default_rng(k), 1, 1).ids[0] for k in range(600)]
    shares = [singles.count(name) / 600 for name in ("a1", "a2", "a3", "b1", "b2", "c1")]
    np.testing.assert_allclose(shares, 1 / 6, atol=0.05)


@pytest.mark.parametrize("rate_hz", [16000, 8000])
def test_responses_are_aligned_with_unit_direct_path(rows: list[Utterance], rate_hz: int) -> None:
    source = MeasuredRooms(rows)
    room = MeasuredRoom("a", ("a1", "a2", "a3"), tuple(str(rows[k].path) for k in range(3)))
    responses = source.responses(room, rate_hz)
    assert responses.full.shape[:2] == responses.direct.shape[:2] == (3, 1)
    assert responses.onset_samples == (round(0.0025 * rate_hz),) * 3
    for talker, onset in enumerate(responses.onset_samples):
        assert abs(int(responses.direct[talker, 0].abs().argmax()) - onset) <= 1
        assert abs(int(responses.full[talker, 0].abs().argmax()) - onset) <= 1
    torch.testing.assert_close(responses.direct[:, 0].square().sum(-1), torch.ones(3))
    assert float(rt60_s(responses.full[0, 0], rate_hz)) == pytest.approx(0.4, rel=0.15)


def test_another_rate_keeps_the_place_of_the_direct_path(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "h.wav", 0.5 * measured(1, 500, rate_hz=44100), 44100, subtype="FLOAT")
    source = MeasuredRooms([Utterance("h", tmp_path / "h.wav", room="a")])
    room = source.draw(np.random.default_rng(0), 1, 1)
    responses = source.responses(room, 16000)
    peak = int(responses.direct[0, 0].abs().argmax())
    assert responses.onset_samples == (peak,) == (40,)
    with pytest.raises(
        AudioError, match=r"h\.wav has 44100 Hz, expected at least the 48000 Hz of the scenes"
    ):
        source.responses(room, 48000)


def test_stereo_responses_give_two_microphones(tmp_path: Path) -> None:
    left = measured(1, 300)
    soundfile.write(tmp_path / "s.wav", np.stack([left, np.roll(left, 5)], 1), RATE_HZ, subtype="FLOAT")
    source = MeasuredRooms([Utterance("s", tmp_path / "s.wav", room="a")])
    room = source.draw(np.random.default_rng(0), 1, 2)
    direct = source.responses(room, RATE_HZ).direct[0]
    assert int(direct[1].abs().argmax()) - int(direct[0].abs().argmax()) == 5
    alone = source.draw(np.random.default_rng(0), 1, 1)
    assert source.responses(alone, RATE_HZ).full.shape[:2] == (1, 1)


def test_too_few_responses_or_channels_are_said(rows: list[Utterance]) -> None:
    source = MeasuredRooms(rows)
    with pytest.raises(DataError, match=r"No room has 4 clear responses with 1 channels; the most are 3"):
        source.draw(np.random.default_rng(0), 4, 1)
    with pytest.raises(DataError, match=r"with 2 channels.* and 1 channels.*diffsr prepare rooms"):
        source.draw(np.random.default_rng(0), 1, 2)
    with pytest.raises(DataError, match=r"No room has 2 clear responses"):  # no rooms named: a room each
        MeasuredRooms([replace(row, room=None) for row in rows]).draw(np.random.default_rng(0), 2, 1)


def test_no_usable_response_is_an_error(rows: list[Utterance]) -> None:
    with pytest.raises(DataError, match=r"None of the 3 measured responses can be used.*broken\.wav"):
        MeasuredRooms(rows[6:])


def test_a_file_that_changed_is_noticed(rows: list[Utterance]) -> None:
    source = MeasuredRooms(rows)
    room = source.draw(np.random.default_rng(0), 1, 1)
    soundfile.write(room.paths[0], measured(7, 300, direct=0.15), RATE_HZ, subtype="FLOAT")
    with pytest.raises(DataError, match="has changed since the scenes were drawn: a reflection"):
        source.responses(room, RATE_HZ)


def test_the_fingerprint_knows_ids_rooms_and_checksums(rows: list[Utterance]) -> None:
    original = MeasuredRooms(rows).fingerprint
    assert MeasuredRooms(rows[::-1]).fingerprint == original
    for change in ({"room": "z"}, {"sha1": "0" * 40}, {"id": "zz"}):
        assert MeasuredRooms([replace(rows[0], **change), *rows[1:]]).fingerprint != original  # type: ignore[arg-type]


def test_a_manifest_is_enough(rows: list[Utterance], tmp_path: Path) -> None:
    table = tmp_path / "rir.csv"
    table.write_text("path,room\n" + "".join(f"{row.path.name},{row.room}\n" for row in rows[:6]))
    room = MeasuredRooms(read_manifest(table)).draw(np.random.default_rng(0), 2, 1)
    plan = ScenePlan("x", RATE_HZ, 1.0, 1, 0.05, (), room)
    assert from_row(to_row(plan)).room == room


# --- several sources


def test_one_of_draws_each_as_often_and_renders_with_the_right_source(rows: list[Utterance]) -> None:
    simulated = SimulatedRooms([ReverberationClass("low", 0.15, 0.2, 1.0)])
    source = OneOf([simulated, MeasuredRooms(rows)])
    draws = [source.draw(np.random.default_rng(k), 1, 1) for k in range(400)]
    assert sum(isinstance(room, Room) for room in draws) / 400 == pytest.approx(0.5, abs=0.07)
    for kind in (Room, MeasuredRoom):
        room = next(room for room in draws if isinstance(room, kind))
        assert source.owns(room)
        assert source.responses(room, RATE_HZ).full.shape[:2] == (1, 1)
    foreign = MeasuredRoom("hall", ("x",), ("x.wav",))
    with pytest.raises(DataError, match="belongs to none of the sources"):
        source.responses(foreign, RATE_HZ)
    with pytest.raises(DataError, match="is simulated, expected a measured one"):
        MeasuredRooms(rows).responses(next(r for r in draws if isinstance(r, Room)), RATE_HZ)


def test_the_fingerprint_of_several_knows_the_sources(rows: list[Utterance]) -> None:
    sources = [SimulatedRooms(), MeasuredRooms(rows)]
    assert OneOf(sources).fingerprint == OneOf(sources).fingerprint != OneOf(sources[:1]).fingerprint
