"""Rooms have the geometry of the recipe, and their responses are those of the image-source method."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from diffsr.errors import ConfigError
from diffsr.simulation.image_source import (
    LEAD_SAMPLES,
    SPEED_OF_SOUND,
    arrival_samples,
    image_response,
    sabine_absorption,
)
from diffsr.simulation.plan import MeasuredRoom, Room
from diffsr.simulation.rooms import (
    CLASSES,
    ReverberationClass,
    SimulatedRooms,
    draw_room,
    render_room,
)

ROOM = Room(
    size_m=(6.1, 5.2, 3.3),
    rt60_s=0.3,
    rt60_class="medium",
    array_m=(3.0, 2.5, 1.3),
    microphones_m=((2.92, 2.5, 1.3), (3.08, 2.5, 1.3)),
    talkers_m=((4.2, 3.1, 1.6), (1.6, 2.0, 1.1)),
)


@pytest.fixture(scope="module")
def rooms() -> list[Room]:
    return [draw_room(np.random.default_rng([7, number])) for number in range(2000)]


# --- drawing


def test_requested_reverberation_has_the_quantiles_of_the_original_test_set(rooms: list[Room]) -> None:
    quantiles = np.quantile([room.rt60_s for room in rooms], [0.05, 0.25, 0.5, 0.75, 0.95])
    np.testing.assert_allclose(quantiles, [0.22, 0.41, 0.54, 0.74, 0.95], atol=0.03)


def test_classes_have_their_weights_and_ranges(rooms: list[Room]) -> None:
    for kind in CLASSES:
        times = [room.rt60_s for room in rooms if room.rt60_class == kind.name]
        assert len(times) / len(rooms) == pytest.approx(kind.weight, abs=0.03)
        assert kind.shortest_s <= min(times)
        assert max(times) <= kind.longest_s


def test_geometry_is_that_of_the_recipe(rooms: list[Room]) -> None:
    def check(values: list[float], low: float, high: float) -> None:
        """Uniform: inside, with the quartiles within 3 % of the range."""
        assert low - 1e-5 <= min(values)
        assert max(values) <= high + 1e-5
        expected = low + (high - low) * np.array([0.25, 0.5, 0.75])
        np.testing.assert_allclose(np.quantile(values, [0.25, 0.5, 0.75]), expected, atol=0.03 * (high - low))

    # The longer a room must not ring, the smaller it is: only rooms that are always possible are uniform.
    free = [room for room in rooms if room.rt60_s > 0.25]
    for axis, (low, high) in enumerate([(5, 10), (5, 10), (3, 4)]):
        check([room.size_m[axis] for room in free], low, high)
    for axis in (0, 1):
        check([room.array_m[axis] - room.size_m[axis] / 2 for room in rooms], -0.2, 0.2)
    check([room.array_m[2] for room in rooms], 0.9, 1.8)
    check([distance for room in rooms for distance in room.distances_m], 0.66, 2.0)
    check([talker[2] for room in rooms for talker in room.talkers_m], 0.9, 1.8)
    ends = [np.subtract(room.microphones_m[1], room.microphones_m[0]) for room in rooms]
    check([float(np.linalg.norm(end)) for end in ends], 0.15, 0.17)
    check([float(np.arctan2(end[1], end[0])) for end in ends], -np.pi, np.pi)
    towards = [np.subtract(t, room.array_m) for room in rooms for t in room.talkers_m]
    check([float(np.arctan2(step[1], step[0])) for step in towards], -np.pi, np.pi)


def test_everyone_is_inside_and_walls_are_possible(rooms: list[Room]) -> None:
    for room in rooms:
        for point in (*room.talkers_m, *room.microphones_m):
            assert all(0 < p < length for p, length in zip(point, room.size_m, strict=True))
        assert 0 < sabine_absorption(room.size_m, room.rt60_s) <= 1
        np.testing.assert_allclose(np.mean(room.microphones_m, axis=0), room.array_m, atol=2e-6)


def test_a_room_does_not_depend_on_how_many_talkers_are_drawn() -> None:
    few, many = (draw_room(np.random.default_rng(3), n_talkers=count) for count in (1, 4))
    assert replace(many, talkers_m=many.talkers_m[:1]) == few
    assert draw_room(np.random.default_rng(3), n_talkers=4) == many


@pytest.mark.parametrize("n_microphones", [1, 2, 4, 8])
def test_microphones_stand_in_a_level_line_clear_of_the_talkers(n_microphones: int) -> None:
    room = draw_room(np.random.default_rng(5), n_microphones=n_microphones)
    line = np.array(room.microphones_m)
    assert line.shape == (n_microphones, 3)
    steps = np.diff(line, axis=0)
    np.testing.assert_allclose(steps, np.broadcast_to(steps[:1], steps.shape), atol=3e-6)
    np.testing.assert_array_equal(line[:, 2], line[0, 2])
    assert np.abs(line - room.array_m).max() < min(room.distances_m)


@pytest.mark.parametrize(("talkers", "microphones"), [(0, 1), (1, 0), (1, 9)])
def test_impossible_counts_are_refused(talkers: int, microphones: int) -> None:
    with pytest.raises(ConfigError, match=r"at least 1 talker and 1 to 8 microphones"):
        draw_room(np.random.default_rng(0), talkers, microphones)


def test_a_class_that_no_room_can_have_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"No room of 5-10 m can have a .* 0\.01-0\.02 s"):
        draw_room(np.random.default_rng(0), classes=[ReverberationClass("none", 0.01, 0.02, 1.0)])


def test_sabine_is_that_of_pyroomacoustics(rooms: list[Room]) -> None:
    import pyroomacoustics

    assert pyroomacoustics.constants.get("c") == SPEED_OF_SOUND
    for room in rooms[:50]:
        expected, _ = pyroomacoustics.inverse_sabine(room.rt60_s, room.size_m)
        assert sabine_absorption(room.size_m, room.rt60_s) == pytest.approx(expected, rel=1e-12)
    assert sabine_absorption((10, 10, 4), 0.1) > 1
    with pytest.raises(ValueError, match="too large"):
        pyroomacoustics.inverse_sabine(0.1, (10, 10, 4))


# --- rendering


def exact_response(room: Room, talker: int, microphone: int, absorption: float, order: int) -> np.ndarray:
    """Sum over images, written out: one windowed sinc at the exact delay of each."""
    n_samples = 4000
    position, ear = np.array(room.talkers_m[talker]), np.array(room.microphones_m[microphone])
    response = np.zeros(n_samples + 200)
    for cell in itertools.product(range(-order, order + 1), repeat=3):
        reflections = sum(abs(c) for c in cell)
        if reflections > order:
            continue
        mirrored = [
            2 * length * np.ceil(c / 2) - p if c % 2 else length * c + p
            for c, length, p in zip(cell, room.size_m, position, strict=True)
        ]
        distance = np.linalg.norm(np.array(mirrored) - ear)
        arrival = 40 + distance / 343.0 * 16000
        if arrival > n_samples:
            continue
        time = np.arange(81) - 40 + np.floor(arrival)
        kernel = np.hanning(81) * np.sinc(time - arrival)
        response[time.astype(int)] += (1 - absorption) ** (reflections / 2) / distance * kernel
    return response[:n_samples]


@pytest.mark.parametrize("order", [0, 1, 4])
def test_the_response_is_the_sum_over_images(order: int) -> None:
    got = image_response(ROOM.size_m, ROOM.talkers_m[0], ROOM.microphones_m[1], 0.3, order, 4000, 16000)
    expected = exact_response(ROOM, 0, 1, 0.3, order)
    # The library reads its kernel from a table of 20 points a sample.
    assert np.abs(got - expected).max() < 2e-3 * np.abs(expected).max()


def test_the_response_is_that_of_pyroomacoustics() -> None:
    import pyroomacoustics

    filtered = pyroomacoustics.constants.get("rir_hpf_enable")
    pyroomacoustics.constants.set("rir_hpf_enable", False)
    try:
        absorption = sabine_absorption(ROOM.size_m, ROOM.rt60_s)
        order = int(np.ceil(ROOM.rt60_s * SPEED_OF_SOUND / min(ROOM.size_m)))
        shoebox = pyroomacoustics.ShoeBox(
            ROOM.size_m, fs=16000, materials=pyroomacoustics.Material(absorption), max_order=order
        )
        shoebox.add_source(ROOM.talkers_m[0])
        shoebox.add_microphone_array(np.array(ROOM.microphones_m).T)
        shoebox.compute_rir()
    finally:
        pyroomacoustics.constants.set("rir_hpf_enable", filtered)
    for microphone, point in enumerate(ROOM.microphones_m):
        expected = shoebox.rir[microphone][0][:4800]
        got = image_response(ROOM.size_m, ROOM.talkers_m[0], point, absorption, order, 4800, 16000)
        assert np.abs(got - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("rate_hz", [8000, 16000])
def test_the_direct_path_arrives_after_distance_over_speed(rate_hz: int) -> None:
    responses = render_room(ROOM, rate_hz)
    for talker, position in enumerate(ROOM.talkers_m):
        for microphone, point in enumerate(ROOM.microphones_m):
            arrival = LEAD_SAMPLES + np.linalg.norm(np.subtract(position, point)) / 343.0 * rate_hz
            peak = int(responses.direct[talker, microphone].abs().argmax())
            assert abs(peak - arrival) <= 1
            assert arrival_samples(position, point, rate_hz) == pytest.approx(arrival)
            first = int((responses.full[talker, microphone].abs() > 0.1).nonzero()[0])
            assert abs(first - arrival) <= 4
        onset = arrival_samples(position, ROOM.microphones_m[0], rate_hz)
        assert abs(responses.onset_samples[talker] - onset) <= 0.5


def test_delay_between_microphones_is_exact_to_a_hundredth_of_a_sample() -> None:
    direct = render_room(ROOM).direct[0].double()
    spectra = torch.fft.rfft(direct, n=1024)
    turn = torch.angle(spectra[1] * spectra[0].conj())[20:200]
    frequency = 2 * np.pi * torch.arange(20, 200) / 1024
    # Unwrapped by the expected delay, which leaves a remainder near zero.
    expected = np.diff([arrival_samples(ROOM.talkers_m[0], m, 16000) for m in ROOM.microphones_m])[0]
    remainder = torch.angle(torch.exp(1j * (turn + frequency * expected))) / frequency
    assert remainder.abs().max() < 0.01


def test_the_direct_path_has_unit_energy_and_is_the_start_of_the_whole() -> None:
    responses = render_room(ROOM)
    energy = responses.direct.square().sum(-1)
    torch.testing.assert_close(energy[:, 0], torch.ones(2))
    near, far = (np.linalg.norm(np.subtract(ROOM.talkers_m[0], m)) for m in ROOM.microphones_m[::-1])
    # The energy of the kernel itself varies by 2 % with the fraction of the delay.
    assert float(energy[0, 1]) == pytest.approx((far / near) ** 2, rel=0.03)
    # Before the first reflection, from the floor, both are the same.
    x, y, z = np.subtract(ROOM.talkers_m[0], ROOM.microphones_m[0]) + (0, 0, 2 * ROOM.microphones_m[0][2])
    before = int(np.linalg.norm([x, y, z]) / 343.0 * 16000)
    full, direct = responses.full[0, 0], responses.direct[0, 0]
    torch.testing.assert_close(full[:before], direct[:before], atol=1e-6, rtol=0)
    assert full[len(direct) : before + 80].abs().max() > 0.1
    assert responses.full.shape == (2, 2, 4800)


def test_absorbing_walls_leave_the_direct_path_alone() -> None:
    size = (6.0, 6.0, 3.0)
    dead = sabine_absorption(size, 1.0)  # The time at which Sabine's walls absorb everything.
    responses = render_room(replace(ROOM, size_m=size, rt60_s=dead))
    rest = responses.full.clone()
    rest[..., : responses.direct.shape[-1]] -= responses.direct
    assert rest.square().sum() < 1e-6


def test_measured_reverberation_is_near_what_was_asked_for(rooms: list[Room]) -> None:
    """Within 40 %, and 10 % on average: Sabine's formula is one for diffuse fields."""
    from pyroomacoustics.experimental import measure_rt60

    chosen = [room for room in rooms if 0.3 < room.rt60_s < 0.7][:30]
    ratios = []
    for room in chosen:
        alone = replace(room, talkers_m=room.talkers_m[:1], microphones_m=room.microphones_m[:1])
        response = render_room(alone).full[0, 0].numpy()
        ratios.append(measure_rt60(response, 16000, decay_db=20) / room.rt60_s)
    assert min(ratios) > 0.6
    assert max(ratios) < 1.4
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.1)


def test_rendering_is_repeatable_and_talkers_do_not_disturb_each_other() -> None:
    both, again = render_room(ROOM), render_room(ROOM)
    assert torch.equal(both.full, again.full)
    alone = render_room(replace(ROOM, talkers_m=ROOM.talkers_m[1:]))
    torch.testing.assert_close(alone.full[0], both.full[1])


def test_simulated_rooms_are_a_source() -> None:
    short = SimulatedRooms([ReverberationClass("low", 0.15, 0.2, 1.0)])
    room = short.draw(np.random.default_rng(0), 2, 1)
    assert short.responses(room, 8000).full.shape[:2] == (2, 1)
    assert short.fingerprint != SimulatedRooms().fingerprint == SimulatedRooms().fingerprint
    with pytest.raises(ConfigError, match="Room hall is measured"):
        short.responses(MeasuredRoom("hall", ("a",), ("a.wav",)), 8000)
