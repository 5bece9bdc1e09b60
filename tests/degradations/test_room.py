"""Known rooms: convolution as it is defined, alignment, and files that do not fit."""

from __future__ import annotations

import pytest
import torch
from scipy.signal import fftconvolve

from diffsr.degradations import Room, read_response
from diffsr.errors import AudioError, DataError
from diffsr.io.audio import write_audio

RATE_HZ = 16000


def response_with_direct_path(place: int, level: float, n_channels: int = 1) -> torch.Tensor:
    rng = torch.Generator().manual_seed(place)
    response = 0.2 * torch.randn(n_channels, 2000, generator=rng) * torch.exp(-torch.arange(2000) / 300.0)
    response[:, : place - 8] = 0.0
    response[0, place] = level
    return response


@pytest.mark.parametrize("n_samples", [900, 5000])
def test_a_room_is_the_convolution_of_scipy_shifted_to_the_direct_path(n_samples):
    response = response_with_direct_path(100, -0.8, n_channels=2)
    x = torch.randn(2, 1, n_samples, generator=torch.Generator().manual_seed(1))
    room = Room(response, RATE_HZ)
    room.reset(torch.zeros(2, 2, n_samples), 1)
    expected = fftconvolve(x.numpy(), response[None].numpy() / -0.8, axes=-1)[..., 100 : 100 + n_samples]
    torch.testing.assert_close(room(x), torch.from_numpy(expected), atol=1e-4, rtol=1e-4)


def test_every_talker_has_a_unit_direct_path_at_lag_0():
    places = (100, 250)
    responses = torch.stack([response_with_direct_path(place, 0.1 * place) for place in places])[None]
    room = Room(responses, RATE_HZ)
    room.reset(torch.zeros(1, 1, 600), 2)
    torch.testing.assert_close(room.response()[0, :, 0, 0], torch.ones(2))
    for talker, place in enumerate(places):
        x = torch.zeros(1, 2, 600)
        x[0, talker, 50] = 1.0
        expected = responses[0, talker, 0] / (0.1 * place)
        torch.testing.assert_close(room(x)[0, 0, 50:], expected[place : place + 550], atol=1e-5, rtol=1e-5)


def test_the_direct_path_comes_first_even_where_a_reflection_is_larger():
    response = torch.zeros(1, 400)
    response[0, 30], response[0, 200] = 0.5, 1.0
    room = Room(response, RATE_HZ)
    room.reset(torch.zeros(1, 1, 400), 1)
    assert room.response()[0, 0, 0, [0, 170]].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (torch.zeros(1, 100), "silent"),
        (torch.full((1, 100), float("nan")), "NaN"),
        (torch.ones(100), r"expected \[C, L\]"),
        (torch.ones(1, 0), r"expected \[C, L\]"),
    ],
)
def test_unusable_responses_are_refused(response, reason):
    with pytest.raises(DataError, match=reason):
        Room(response)


def test_other_numbers_of_microphones_and_talkers_are_refused():
    with pytest.raises(DataError, match="has 2 channels, the recording 1"):
        Room(response_with_direct_path(50, 1.0, 2)).reset(torch.zeros(1, 1, 99), 1)
    with pytest.raises(DataError, match="of 3 talkers, expected 2"):
        Room(response_with_direct_path(50, 1.0).expand(1, 3, 1, -1)).reset(torch.zeros(1, 1, 99), 2)
    with pytest.raises(DataError, match="2 of room responses for 3 rows"):
        Room(response_with_direct_path(50, 1.0).expand(2, 1, 1, -1)).reset(torch.zeros(3, 1, 99), 1)


@pytest.mark.parametrize("from_hz", [16000, 44100, 48000])
@pytest.mark.parametrize("place", [0, 12, 13, 14, 400])
def test_a_direct_path_between_samples_stays_the_largest(tmp_path, from_hz, place):
    wave = torch.zeros(1, from_hz // 10)
    wave[0, place] = 0.7
    write_audio(tmp_path / "room.wav", wave, from_hz, "FLOAT")
    room = Room(read_response(tmp_path / "room.wav", RATE_HZ), RATE_HZ)
    x = torch.nn.functional.pad(
        torch.randn(1, 1, 4000, generator=torch.Generator().manual_seed(0)), (500, 500)
    )
    room.reset(x, 1)
    heard = room(x)
    gain = float((heard * x).sum() / x.square().sum())
    assert gain == pytest.approx(1.0, abs=0.03)  # but for the uppermost part of the band


def test_response_files_are_resampled_and_checked(tmp_path):
    wave = torch.zeros(2, 9600)
    wave[:, 480] = 0.5
    path = tmp_path / "room.wav"
    write_audio(path, wave, 48000, subtype="FLOAT")
    response = read_response(path, RATE_HZ)
    assert response.shape == (2, 3200)
    assert response[0].abs().argmax() == 160
    assert read_response(path, RATE_HZ, channel=1).shape == (1, 3200)
    with pytest.raises(DataError, match="found no channel 2"):
        read_response(path, RATE_HZ, channel=2)
    with pytest.raises(DataError, match="48000 Hz, expected at least the 96000 Hz"):
        read_response(path, 96000)
    write_audio(path, torch.zeros(1, 100), RATE_HZ)
    with pytest.raises(DataError, match="silent"):
        read_response(path, RATE_HZ)
    with pytest.raises(AudioError, match="does not exist"):
        read_response(tmp_path / "none.wav", RATE_HZ)
