"""Pools of rooms: the same whoever builds them, resumable, and never silently wrong."""

from __future__ import annotations

import errno
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from diffsr.commands import prepare_rooms
from diffsr.errors import ConfigError, DataError
from diffsr.simulation import pool_building
from diffsr.simulation.plan import MeasuredRoom
from diffsr.simulation.pool import RoomPool, build_pool
from diffsr.simulation.pool_folder import PoolSettings
from diffsr.simulation.room_file import read_room, room_from_text, room_to_text
from diffsr.simulation.rooms import draw_room, render_room

COUNT = 6


@pytest.fixture(autouse=True, scope="module")
def short_rooms() -> object:
    """Rooms of the pool at a twentieth of the cost: the recipe's, but with little reverberation."""
    patch = pytest.MonkeyPatch()
    original = draw_room

    def dry(rng: np.random.Generator, n_talkers: int = 3, n_microphones: int = 2) -> object:
        room = original(rng, n_talkers, n_microphones)
        return replace(room, rt60_s=0.15 + 0.1 * room.rt60_s)

    patch.setattr("diffsr.simulation.pool_folder.draw_room", dry)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished pool; for reading only."""
    return build_pool(tmp_path_factory.mktemp("rooms") / "pool", COUNT, seed=3)


@pytest.fixture
def own(folder: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(folder, tmp_path / "pool"))


def room_file(folder: Path, number: int) -> Path:
    return folder / "rooms" / f"{number:06d}.safetensors"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# --- building


def test_rooms_are_a_function_of_seed_and_number(folder: Path, tmp_path: Path) -> None:
    assert contents(build_pool(tmp_path / "again", COUNT, seed=3)) == contents(folder)
    other = RoomPool(build_pool(tmp_path / "other", 1, seed=4))
    assert other.room(0).size_m != RoomPool(folder).room(0).size_m
    assert other.fingerprint != RoomPool(folder).fingerprint


def test_files_hold_what_rendering_gives(folder: Path) -> None:
    room, stored, rate_hz = read_room(room_file(folder, 2))
    rendered = render_room(room, rate_hz)
    assert torch.equal(stored.full, rendered.full)
    assert torch.equal(stored.direct, rendered.direct)
    assert stored.onset_samples == rendered.onset_samples
    assert room == RoomPool(folder).room(2) == room_from_text(room_to_text(room))


def test_an_interrupted_pool_goes_on_where_it_stopped(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_pool(tmp_path / "pool", COUNT, seed=3, progress=stop)
    with pytest.raises(DataError, match=r"is not finished. Continue with: diffsr prepare rooms .* --count 6"):
        RoomPool(tmp_path / "pool")
    made, seen = [], []
    render = pool_building.render_room
    monkeypatch.setattr(
        pool_building, "render_room", lambda room, hz: made.append(room.number) or render(room, hz)
    )
    build_pool(tmp_path / "pool", COUNT, seed=3, progress=lambda done, total: seen.append((done, total)))
    assert made == [3, 4, 5]
    assert seen == [(3, 6), (4, 6), (5, 6), (6, 6)]
    assert contents(tmp_path / "pool") == contents(folder)


def test_a_pool_can_grow_and_shrink(own: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(own / "rooms")
    build_pool(own, COUNT + 1, seed=3)
    assert len(RoomPool(own)) == COUNT + 1
    assert before.items() <= contents(own / "rooms").items()
    assert RoomPool(own).fingerprint != RoomPool(folder).fingerprint
    monkeypatch.setattr(pool_building, "render_room", None)
    build_pool(own, COUNT, seed=3)
    assert RoomPool(own).fingerprint == RoomPool(folder).fingerprint
    assert len(RoomPool(own)) == COUNT


@pytest.mark.parametrize("change", [{"seed": 4}, {"n_talkers": 2}, {"n_microphones": 1}, {"rate_hz": 8000}])
def test_other_settings_in_the_same_folder_are_refused(folder: Path, change: dict[str, int]) -> None:
    before = contents(folder)
    with pytest.raises(ConfigError, match=r"holds a pool with other settings: diffsr .*--seed 3"):
        build_pool(folder, COUNT, **{"seed": 3, **change})
    assert contents(folder) == before


def test_another_version_of_the_library_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffsr.simulation.rooms.version", lambda name: "99.0")
    with pytest.raises(ConfigError, match=r"\(pyroomacoustics [\d.]+ there, 99\.0 here\)"):
        build_pool(folder, COUNT, seed=3)
    assert len(RoomPool(folder)) == COUNT  # reading it is safe


@pytest.mark.parametrize("wrong", [{"count": 0}, {"workers": 0}, {"seed": -1}, {"rate_hz": 10}])
def test_numbers_out_of_range_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="expected at least 1 room, 1000 Hz, seed 0 and 1 worker"):
        build_pool(tmp_path / "pool", **{"count": 1, **wrong})
    assert not (tmp_path / "pool").exists()


def test_too_many_microphones_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="1 to 8 microphones"):
        build_pool(tmp_path / "pool", 1, n_microphones=9)
    assert not (tmp_path / "pool").exists()


def test_no_space_is_said_before_the_work_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 0, 150_000))
    with pytest.raises(DataError, match=r"3 rooms need 0\.\d MB, but .* has 0\.1\d? MB left.*--count"):
        build_pool(tmp_path / "pool", 3)
    assert not (tmp_path / "pool" / "rooms").exists()


def test_the_estimate_of_space_is_near(folder: Path) -> None:
    settings = PoolSettings(COUNT, seed=3)
    for number in range(COUNT):
        size = room_file(folder, number).stat().st_size
        assert size <= settings.n_bytes(settings.room(number)) <= 1.1 * size


def test_a_full_disk_on_the_way_keeps_what_is_finished(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = pool_building.write_room

    def fill(path: Path, *rest: object) -> None:
        if "000002" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, *rest)

    monkeypatch.setattr(pool_building, "write_room", fill)
    with pytest.raises(
        DataError, match=r"No space left on device.*about 0\.\d MB.*Finished rooms are kept.*diffsr prepare"
    ):
        build_pool(tmp_path / "pool", COUNT, seed=3)
    monkeypatch.undo()
    assert [p.name[:6] for p in sorted((tmp_path / "pool/rooms").iterdir())] == ["000000", "000001"]


@pytest.mark.slow
def test_two_processes_build_the_same(tmp_path: Path) -> None:
    one, two = (build_pool(tmp_path / str(n), 2, n_talkers=1, n_microphones=1, workers=n) for n in (1, 2))
    # The rooms of other processes are not shortened by this module.
    room, stored, _ = read_room(room_file(two, 0))
    assert torch.equal(render_room(room).full, stored.full)
    assert {path.name for path in (one / "rooms").iterdir()} == {
        path.name for path in (two / "rooms").iterdir()
    }


# --- reading


def test_draws_positions_without_repetition_from_all_rooms(folder: Path) -> None:
    pool, rng = RoomPool(folder), np.random.default_rng(0)
    rooms = [pool.draw(rng, 2, 1) for _ in range(300)]
    assert {room.number for room in rooms} == set(range(COUNT))
    assert {room.positions for room in rooms} == {(a, b) for a in range(3) for b in range(3) if a != b}
    for room in rooms[:20]:
        whole = pool.room(room.number)
        assert room.talkers_m == tuple(whole.talkers_m[k] for k in room.positions)
        assert room.microphones_m == whole.microphones_m[:1]
        assert pool.owns(room)


def test_responses_are_those_of_the_drawn_positions(folder: Path) -> None:
    pool = RoomPool(folder)
    room = pool.draw(np.random.default_rng(5), 2, 2)
    got = pool.responses(room, 16000)
    expected = render_room(room)
    assert torch.equal(got.direct, pool.responses(room, 16000).direct)
    n_samples = expected.full.shape[-1]
    torch.testing.assert_close(got.full[..., :n_samples], expected.full, atol=1e-6, rtol=0)
    assert got.onset_samples == expected.onset_samples
    assert pool.responses(pool.draw(np.random.default_rng(5), 1, 1), 16000).full.shape[:2] == (1, 1)


@pytest.mark.parametrize("rate_hz", [8000, 11025])
def test_another_rate_keeps_the_timing_and_the_energy(folder: Path, rate_hz: int) -> None:
    pool = RoomPool(folder)
    room = pool.draw(np.random.default_rng(5), 3, 2)
    original, got = pool.responses(room, 16000), pool.responses(room, rate_hz)
    torch.testing.assert_close(got.direct[:, 0].square().sum(-1), torch.ones(3))
    for talker, onset in enumerate(got.onset_samples):
        assert abs(onset - original.onset_samples[talker] * rate_hz / 16000) <= 1
        assert abs(int(got.direct[talker, 0].abs().argmax()) - onset) <= 1
    # The gain in the pass band is the same for every response of a talker.
    spectra = [
        torch.fft.rfft(x.full[0], n=4 * hz)[:, 400:12000] for x, hz in ((original, 16000), (got, rate_hz))
    ]
    ratio = spectra[1].abs() / spectra[0].abs()
    assert ratio.std() < 0.02 * ratio.mean()


def test_a_pool_of_a_lower_rate_than_the_scenes_is_refused(folder: Path) -> None:
    pool = RoomPool(folder)
    room = pool.draw(np.random.default_rng(5), 1, 1)
    with pytest.raises(DataError, match=r"have 16000 Hz, expected at least the 24000 Hz .*--rate_hz 24000"):
        pool.responses(room, 24000)


def test_a_pool_that_is_too_small_says_how_to_build_one(folder: Path) -> None:
    with pytest.raises(
        DataError, match=r"3 talkers and 2 microphones, expected at least 4 and 3.*-larger .*--talkers 4 "
    ):
        RoomPool(folder).draw(np.random.default_rng(0), 4, 3)


def test_a_missing_pool_says_how_to_build_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no pool of rooms\. Build one with: diffsr prepare rooms"):
        RoomPool(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["pool.json", "rooms.jsonl"])
def test_a_damaged_list_is_noticed(own: Path, name: str) -> None:
    (own / name).write_text('{"settings": 3')
    with pytest.raises(DataError, match=r"cannot be read|is not finished"):
        RoomPool(own)


def test_a_damaged_line_of_the_list_is_noticed(own: Path) -> None:
    path = own / "rooms.jsonl"
    path.write_text(path.read_text()[:-50])
    with pytest.raises(
        DataError, match=rf"Line {COUNT} .*is damaged.*Make it anew with: diffsr prepare rooms"
    ):
        RoomPool(own).room(COUNT - 1)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "missing", "other"])
def test_a_damaged_room_is_noticed_and_repaired(own: Path, folder: Path, damage: str) -> None:
    path, good = room_file(own, 1), room_file(folder, 1).read_bytes()
    flipped = bytearray(good)
    flipped[-1000] ^= 0x10
    other = b"not a room at all, but long enough to have a header"
    content = {"flip": bytes(flipped), "cut": good[:-100], "empty": b"", "other": other}.get(damage)
    path.unlink() if content is None else path.write_bytes(content)
    pool = RoomPool(own)
    room = next(r for r in (pool.draw(np.random.default_rng(k), 1, 1) for k in range(100)) if r.number == 1)
    with pytest.raises(DataError, match=r"000001.*Make it anew with: diffsr prepare rooms .* --seed 3"):
        pool.responses(room, 16000)
    build_pool(own, COUNT, seed=3)
    assert contents(own) == contents(folder)


def test_a_room_of_other_rooms_is_refused(folder: Path) -> None:
    pool = RoomPool(folder)
    room = pool.draw(np.random.default_rng(0), 1, 1)
    for foreign in (
        replace(room, number=COUNT),
        replace(room, number=None),
        replace(room, positions=(3,)),
        replace(room, size_m=(1.0, 2.0, 3.0)),
        MeasuredRoom("hall", ("a",), ("a.wav",)),
    ):
        assert not pool.owns(foreign)
        with pytest.raises(DataError, match="is not one of the pool"):
            pool.responses(foreign, 16000)


def test_the_command_builds_and_says_what(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import argparse

    parser = argparse.ArgumentParser()
    prepare_rooms.add_arguments(parser)
    assert prepare_rooms.run(parser.parse_args([str(own), "--count", "7", "--seed", "3"])) == 0
    output = capsys.readouterr()
    assert "7 rooms" in output.out
    assert len(RoomPool(own)) == 7
