"""The blind room: what its parameters mean, and that they are found where the dry speech is known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from diffsr.degradations import BlindRoom
from diffsr.degradations.room_fit import comparison
from diffsr.errors import ConfigError
from diffsr.io.audio import read_audio
from diffsr.signal.decays import BINS_PER_BAND
from diffsr.signal.filtering import fft_convolve
from diffsr.signal.room_acoustics import rt60_s
from diffsr.signal.stft import STFT

RATE_HZ = 16000
SPEECH = Path(__file__).parents[2] / "diffsr" / "assets" / "starter" / "audio" / "de-f2-1.ogg"


def dry_speech(seconds: float = 2.0) -> torch.Tensor:
    wave, _ = read_audio(SPEECH, 0.0, seconds)
    return (0.05 * wave / wave.std())[None]


def room_with(*times_s: float) -> torch.Tensor:
    """A unit direct path and decaying noise for each reverberation time, [rows, 1, L]."""
    rng, time_s = torch.Generator().manual_seed(1), torch.arange(9600) / RATE_HZ
    tails = [0.05 * torch.randn(9600, generator=rng) * 10 ** (-3 * time_s / rt60) for rt60 in times_s]
    response = torch.stack(tails)[:, None]
    response[..., 0] = 1.0
    return response


@pytest.mark.parametrize("rate_hz", [8000, 16000])
@pytest.mark.parametrize("time_s", [0.15, 0.5, 1.0])
def test_the_decay_of_a_response_is_that_of_its_parameters(rate_hz, time_s):
    room = BlindRoom(rate_hz, initial_rt60_s=time_s)
    room.reset(torch.zeros(1, 1, 100), 2)
    response = room.response()
    torch.testing.assert_close(room.rt60_s(), torch.full((1, 2, len(room.band_hz)), time_s))
    torch.testing.assert_close(rt60_s(response, rate_hz), torch.full((1, 2), time_s), rtol=0.1, atol=0)
    assert (response[..., 0] == 1).all()
    assert not torch.equal(response[:, 0], response[:, 1])


def test_bands_decay_by_themselves():
    room = BlindRoom(longest_rt60_s=1.0)
    room.reset(torch.zeros(1, 1, 100), 1)
    with torch.no_grad():
        is_low = room.band_hz < 2000
        room.parameters_of_rows.log_decay.copy_((6.9078 * 0.008 / torch.where(is_low, 0.8, 0.2)).log())
    spectrum = torch.fft.rfft(room.response(), 32000)
    hz = torch.arange(16001) * 0.5
    low, high = (torch.fft.irfft(spectrum * part, 32000)[..., :12000] for part in (hz < 1500, hz > 3000))
    assert float(rt60_s(low, RATE_HZ)) == pytest.approx(0.8, rel=0.15)
    assert float(rt60_s(high, RATE_HZ)) == pytest.approx(0.2, rel=0.15)
    assert len(room.band_hz) == 25


def test_responses_are_as_long_as_the_longest_decay_asks_for():
    for longest_s in (0.5, 2.0):
        room = BlindRoom(longest_rt60_s=longest_s)
        room.reset(torch.zeros(1, 1, 100), 1)
        assert room.response().shape[-1] / RATE_HZ == pytest.approx(0.75 * longest_s, abs=0.008)
    with pytest.raises(ConfigError, match="more than the shortest"):
        BlindRoom(longest_rt60_s=0.05)


def test_parameters_stay_feasible():
    room = BlindRoom(longest_rt60_s=1.0, tie_decays=True)
    room.reset(torch.zeros(2, 1, 100), 2)
    with torch.no_grad():
        room.parameters_of_rows.log_decay[0] = 9.0
        room.parameters_of_rows.log_decay[1] = -9.0
        room.parameters_of_rows.log_level[0] = 9.0
        room.parameters_of_rows.log_level[1] = -9.0
    room.project()
    assert room.rt60_s().shape == room.level_db().shape == (2, 2, 25)
    torch.testing.assert_close(room.rt60_s()[:, 0, 0], torch.tensor([0.1, 1.0]))
    torch.testing.assert_close(room.level_db()[:, 0, 0], torch.tensor([40.0, 0.0]))
    before = room.response()
    room.project()
    assert torch.equal(room.response(), before)


# A start above the truth takes longer: what is too long is hidden by the phases first.
@pytest.mark.parametrize(
    ("start_s", "n_updates"),
    [
        (0.3, 50),
        pytest.param(0.1, 50, marks=pytest.mark.slow),
        pytest.param(0.6, 100, marks=pytest.mark.slow),
    ],
)
def test_the_room_of_known_speech_is_found_at_every_start(start_s, n_updates):
    times_s = (0.3, 0.5)
    x, response = dry_speech(1.5), room_with(*times_s)
    y = fft_convolve(x, response)
    room = BlindRoom(longest_rt60_s=0.8, initial_rt60_s=start_s)
    room.reset(y, 1)
    losses = room.fit(x.expand(2, -1, -1), y, n_updates=n_updates, stft=STFT(512, 256))
    assert (losses[-1] < 0.1 * losses[0]).all()
    measured = rt60_s(room.response()[:, 0], RATE_HZ)
    torch.testing.assert_close(measured, torch.tensor(times_s), rtol=0.15, atol=0)


@pytest.mark.parametrize("whitened", [False, True])
def test_a_fit_of_many_rows_is_the_fit_of_each(whitened):
    x, y = dry_speech(0.5).expand(2, 2, -1), fft_convolve(dry_speech(0.5), room_with(0.3, 0.5))
    stft = STFT(256, 64)
    weight = 1.0 / (stft(y[:, 0]).abs().square() + 1e-3) if whitened else None

    def fitted(rows: slice) -> BlindRoom:
        room = BlindRoom(longest_rt60_s=0.5, tie_decays=True)
        room.reset(y[rows], 2)
        with torch.inference_mode():
            part = None if weight is None else weight[rows]
            losses = [room.fit(x[rows], y[rows], part, n_updates=3, stft=stft) for _ in range(2)]
        assert losses[1].shape == (3, y[rows].shape[0])
        assert (losses[1][-1] < losses[0][0]).all()
        return room

    together = fitted(slice(None))
    for row in range(2):
        alone = fitted(slice(row, row + 1))
        torch.testing.assert_close(alone.response()[0], together.response()[row], atol=1e-4, rtol=0)
        torch.testing.assert_close(alone.rt60_s()[0], together.rt60_s()[row], rtol=1e-3, atol=0)
    # All talkers hear one room, and updates leave the estimate differentiable in x.
    assert torch.equal(together.rt60_s()[:, 0], together.rt60_s()[:, 1])
    leaf = x.clone().requires_grad_(True)
    together(leaf).sum().backward()
    assert leaf.grad.isfinite().all()


def test_what_happens_behind_the_room_is_part_of_the_fit():
    x = dry_speech(0.5)
    y = fft_convolve(x, room_with(0.4)).clamp(-0.1, 0.1)
    room = BlindRoom(longest_rt60_s=0.5)
    room.reset(y, 1)
    losses = room.fit(x, y, n_updates=15, after=lambda heard: heard.clamp(-0.1, 0.1))
    assert losses[-1] < 0.7 * losses[0]


def test_losses_do_not_depend_on_the_level():
    rng = torch.Generator().manual_seed(0)
    target, other = (torch.randn(2, 9, 7, generator=rng, dtype=torch.complex64) for _ in range(2))
    weight = torch.rand(2, 9, 7, generator=rng)
    for bins in (None, weight):
        loss = comparison(target, bins)(other)
        torch.testing.assert_close(comparison(100 * target, bins)(100 * other), loss)
        torch.testing.assert_close(comparison(target, bins)(target), torch.zeros(2))
    silence = torch.zeros_like(target)
    assert comparison(silence)(silence).isfinite().all()


def test_one_microphone_and_a_reset_are_needed():
    with pytest.raises(ConfigError, match="one microphone"):
        BlindRoom().reset(torch.zeros(1, 2, 100), 1)
    with pytest.raises(ConfigError, match="before reset"):
        BlindRoom()(torch.zeros(1, 1, 100))


def test_speech_that_is_silent_fits_nothing_and_breaks_nothing():
    room = BlindRoom(longest_rt60_s=0.3)
    room.reset(torch.zeros(1, 1, 4000), 1)
    assert room.fit(torch.zeros(1, 1, 4000), torch.zeros(1, 1, 4000), n_updates=2).isfinite().all()
    assert room.response().isfinite().all()


@pytest.mark.parametrize("rate_hz", [8000, 16000])
def test_a_band_takes_over_the_decay_of_the_frequencies_around_it(rate_hz):
    room = BlindRoom(rate_hz)
    room.reset(torch.zeros(1, 1, 100), 1)
    n_bins = 2 * room.hop_samples + 1
    n_bands = -(-n_bins // BINS_PER_BAND)
    times = 0.3 + 0.01 * torch.arange(n_bands)[None]
    room.set_decays(times, torch.full_like(times, 1e-2))
    bin_of = (room.band_hz / rate_hz * 4 * room.hop_samples).round().long()
    torch.testing.assert_close(room.rt60_s()[0, 0], times[0, bin_of // BINS_PER_BAND])
