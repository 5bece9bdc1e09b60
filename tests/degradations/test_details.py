"""Details that one wrong sign, factor or frame would change, each against its definition."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from diffsr.degradations import BlindLowPass, BlindRoom, Clipping, LatePrediction, LowPass, PacketLoss
from diffsr.degradations.decay_fit import EARLY_FRAMES, DecayFit
from diffsr.degradations.decay_fit import TIMES_S as FIT_TIMES_S
from diffsr.degradations.room_fit import _nearness, comparison, fit_response
from diffsr.degradations.subband_room import SubbandRoom
from diffsr.errors import DataError
from diffsr.signal.compression import compress
from diffsr.signal.compression import power as power_of
from diffsr.signal.stft import STFT

RATE_HZ = 16000


def noise(n_items=1, n_samples=64_000, seed=0):
    return 0.05 * torch.randn(n_items, 1, n_samples, generator=torch.Generator().manual_seed(seed))


# Sub-band room ---------------------------------------------------------------------------------------


def complex_normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


def test_where_nothing_is_heard_the_prior_stays():
    room = SubbandRoom(1, 1, 20, 12, 2, 0.008, torch.device("cpu"))
    before = room.log_level.clone(), room.decay.clone()
    v = torch.full((20, 300), 1e8)
    for _ in range(3):
        room.explain(
            0, complex_normal(1, 20, 300, seed=0), complex_normal(20, 300, seed=1), v, torch.zeros(1, 20, 300)
        )
    torch.testing.assert_close((room.log_level, room.decay), before, rtol=1e-3, atol=1e-3)


def test_each_block_of_bins_has_the_prior_of_its_own_bands():
    dry, heard = complex_normal(1, 40, 300, seed=0), complex_normal(40, 300, seed=1)
    heard[:32] *= 0.01  # blocks of 32 bins
    v = torch.full((40, 300), 0.1)
    whole, rest = (SubbandRoom(1, 1, n, 12, 2, 0.008, torch.device("cpu")) for n in (40, 8))
    found = whole.explain(0, dry, heard, v, torch.zeros(1, 40, 300))[32:]
    alone = rest.explain(0, dry[:, 32:], heard[32:], v[32:], torch.zeros(1, 8, 300))
    torch.testing.assert_close(found, alone)
    torch.testing.assert_close(whole.log_level[..., 4:], rest.log_level)


def test_an_energy_counts_as_no_more_than_five_times_its_prior():
    levels = []
    for factor in (100.0, 1e4):
        room = SubbandRoom(1, 1, 8, 12, 2, 0.008, torch.device("cpu"))
        energy = (room.log_level[0, 0, 0] - room.decay[0, 0, 0] * torch.arange(12)).exp()
        energy[5] *= factor
        room._refit(0, slice(0, 1), energy[None, None])
        levels.append((float(room.log_level), float(room.decay)))
    assert levels[0] == levels[1]


# Late prediction -------------------------------------------------------------------------------------


def test_what_the_response_explains_is_not_predicted_again(monkeypatch):
    room = LatePrediction(taps=5, response_taps=5)
    x = noise(1, 16_000)
    y = x + 0.5 * x.roll(640, -1)
    room.reset(y, 1)
    room.fit(x, torch.tensor(1e-3))
    convolved, targets = room.convolved.clone(), []
    assert float(convolved.abs().max()) > 0
    predicted = room._predicted
    monkeypatch.setattr(
        room,
        "_predicted",
        lambda spec, target, power: targets.append(target) or predicted(spec, target, power),
    )
    room.fit(x, torch.tensor(1e-3))
    torch.testing.assert_close(targets[0], room.stft((y - x)[:, 0])[0] - convolved[0])


@pytest.mark.parametrize("tied", [True, False])
def test_decays_of_talkers_are_tied_where_asked_for(tied):
    room = LatePrediction(response_taps=5, tied=tied)
    room.reset(noise(1, 4000), 2)
    assert room.responses is not None
    assert room.responses.tied is tied


# Thresholds, cut-offs, gaps --------------------------------------------------------------------------


def test_a_known_threshold_is_scaled_with_its_recording():
    scaled = Clipping(torch.tensor([0.5, 0.8])).at_scale(torch.tensor([2.0, 0.5]))
    torch.testing.assert_close(scaled.known, torch.tensor([1.0, 0.4]))


def test_the_cutoff_itself_is_kept():
    tone = torch.cos(2 * torch.pi * torch.arange(RATE_HZ).double() / 16).float()[None, None]
    low_pass = LowPass(1000.0)
    low_pass.reset(tone, 1)
    torch.testing.assert_close(low_pass(tone), tone, atol=1e-4, rtol=0)


def test_a_cutoff_beyond_what_was_recorded_is_refused():
    low_pass = LowPass(5000.0)
    low_pass.check_rates(16_000, 16_000)
    with pytest.raises(DataError, match="cut-off is 5000 Hz and the recording of 8000 Hz ends at 4000 Hz"):
        low_pass.check_rates(8000, 16_000)


def test_a_high_pass_does_not_change_where_the_spectrum_ends():
    y = torch.randn(1, 1, 32_000, generator=torch.Generator().manual_seed(0))
    hz = torch.fft.rfftfreq(32_000, 1 / RATE_HZ)
    y = torch.fft.irfft(torch.fft.rfft(y) * (hz < 3000), 32_000)
    power = STFT()(y[:, 0]).abs().square().mean(-1)
    high = power.clone()
    high[:, :4] *= 1e-6  # below 100 Hz
    losses = []
    for heard in (power, high):
        model = BlindLowPass()
        model.reset(y, 1)
        losses.append(model.fit(torch.full_like(power, float(power.max())), heard, 3))
    torch.testing.assert_close(losses[0], losses[1])


def test_gaps_as_short_as_was_asked_for_are_found():
    y = 1.0 + torch.rand(1, 1, 4000, generator=torch.Generator().manual_seed(0))
    y[..., 1000:1032] = 0.0  # 2 ms
    model = PacketLoss(shortest_gap_ms=1.0)
    model.reset(y, 1)
    assert (~model.received).nonzero()[:, 1].tolist() == list(range(1000, 1032))


def test_what_lies_in_a_known_gap_is_not_taken_for_speech():
    received = torch.ones(1, 1000, dtype=torch.bool)
    received[:, 300:400] = False
    y, x0 = torch.randn(2, 1, 1, 1000, generator=torch.Generator().manual_seed(0))
    model = PacketLoss(received)
    model.reset(y, 1)
    assert torch.equal(model.consistent(x0, y)[..., 300:400], x0[..., 300:400])


# Decays ----------------------------------------------------------------------------------------------


def test_time_and_energy_are_those_of_an_exponential():
    fit = DecayFit(torch.zeros(1, 32_000), STFT(512, 128), RATE_HZ)
    place = FIT_TIMES_S.index(0.4)
    energy = 0.02 * 10 ** (-6 * 0.008 * torch.arange(EARLY_FRAMES) / 0.4)
    fit.weights.zero_()
    fit.weights[:, :EARLY_FRAMES] = energy[None, :, None]
    fit.weights[:, EARLY_FRAMES + place] = 0.02
    time_s, found = fit.of_bands()
    torch.testing.assert_close(time_s, torch.full_like(time_s, 0.4), rtol=1e-3, atol=0)
    torch.testing.assert_close(found, torch.full_like(found, 0.02), rtol=1e-2, atol=0)


# Blind room ------------------------------------------------------------------------------------------


def test_the_whitened_loss_is_its_formula():
    rng = torch.Generator().manual_seed(0)
    target, other = (torch.randn(2, 9, 7, generator=rng, dtype=torch.complex64) for _ in range(2))
    weight = torch.rand(2, 9, 7, generator=rng)
    expected = ((target - other).abs().square() * weight).sum((1, 2)) / (target.abs().square() * weight).sum(
        (1, 2)
    )
    torch.testing.assert_close(comparison(target, weight)(other), expected)


def test_a_fit_hears_the_room_through_what_happens_behind_it():
    x = noise(1, 8000)
    room = BlindRoom(longest_rt60_s=0.3)
    room.reset(x, 1)
    losses = room.fit(x, x, n_updates=1, after=lambda heard: 0 * heard)
    torch.testing.assert_close(losses, torch.ones(1, 1), rtol=1e-2, atol=0)  # all of the recording is missing


def test_a_response_that_is_perturbed_to_its_double_is_as_far_as_it_says():
    response, target = torch.randn(1, 1, 2000), torch.randn(1, 4000)
    stft = STFT()
    found = _nearness(response, lambda one: one, stft, stft(target))
    own, heard = (
        power_of(compress(stft(wave), 2 / 3, torch.tensor(1e-6))).sum(-2).mean(-1)
        for wave in (response[0], target)
    )
    torch.testing.assert_close(found, 5.0 * (2 ** (2 / 3) - 1) ** 2 * own / heard, rtol=1e-2, atol=0)


def test_parameters_are_taken_back_after_each_update():
    response, calls = torch.zeros(1, 1, 100, requires_grad=True), []
    adam = torch.optim.Adam([response])
    fit_response(lambda: response, lambda: calls.append(1), adam, noise(1, 4000), noise(1, 4000), n_updates=4)
    assert len(calls) == 4
