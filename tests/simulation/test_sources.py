"""Rooms by name."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from diffsr.errors import ConfigError, DataError
from diffsr.simulation.measured import MeasuredRooms, OneOf
from diffsr.simulation.plan import MeasuredRoom, Room
from diffsr.simulation.pool import RoomPool, build_pool
from diffsr.simulation.rooms import SimulatedRooms
from diffsr.simulation.sources import open_rooms


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    build_pool(folder, 2, n_talkers=2, n_microphones=1)
    return folder


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    rng = np.random.default_rng(0)
    response = 0.2 * rng.standard_normal(8000) * np.exp(-np.arange(8000) / 1200)
    response[:200], response[200] = 0.0, 1.0
    for name in ("a", "b"):
        soundfile.write(folder / f"{name}.wav", response, 16000)
    (folder / "rir.csv").write_text("path,room\na.wav,hall\nb.wav,hall\n")
    return folder / "rir.csv"


def test_each_name_gives_its_source(pool, manifest):
    assert isinstance(open_rooms("simulate"), SimulatedRooms)
    assert isinstance(open_rooms(str(pool)), RoomPool)
    assert isinstance(open_rooms(str(manifest)), MeasuredRooms)
    assert isinstance(open_rooms([str(pool)]), RoomPool)


def test_a_list_draws_from_all_and_renders_what_it_drew(pool, manifest):
    rooms = open_rooms([str(pool), str(manifest)])
    assert isinstance(rooms, OneOf)
    drawn = [rooms.draw(np.random.default_rng(i), 2, 1) for i in range(12)]
    assert {type(room) for room in drawn} == {Room, MeasuredRoom}
    for room in drawn:
        responses = rooms.responses(room, 16000)
        assert responses.full.shape[:2] == (2, 1)
        energy = responses.direct[:, 0].square().sum(-1)
        assert energy.tolist() == pytest.approx([1.0, 1.0], abs=1e-3)


def test_what_is_no_source_is_refused(tmp_path):
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(ConfigError, match=r"file\.txt is a file, expected the folder of a pool"):
        open_rooms(str(tmp_path / "file.txt"))
    with pytest.raises(ConfigError, match=r"simulat does not exist.*or the word 'simulate'"):
        open_rooms("simulat")
    with pytest.raises(DataError, match="diffsr prepare rooms"):
        open_rooms(str(tmp_path))
    with pytest.raises(DataError, match="does not exist"):
        open_rooms(str(tmp_path / "no.csv"))
    with pytest.raises(ConfigError, match="list of rooms is empty"):
        open_rooms([])
