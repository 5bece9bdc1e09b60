"""Pairs to train a tracker on: what is said to be true of them is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from diffsr.speakers.exchanges import Exchanges, Plan, make_plan

FRAMES_HZ = 62.5
PURE = Exchanges(
    parts_hz=0.0,
    steady=0.0,
    late=0.0,
    level=0.0,
    colour=0.0,
    leak=0.0,
    floor=(1e-9, 2e-9),
    cuts_hz=(1e-9, 2e-9),
)


@pytest.fixture
def power() -> torch.Tensor:
    """One voice has the lower bands, the other the upper ones."""
    power = torch.rand(6, 2, 40, 500, generator=torch.Generator().manual_seed(0)) + 0.5
    power[:, 0, 20:] *= 1e-3
    power[:, 1, :20] *= 1e-3
    return power


def planned(power, how, seed=0) -> tuple[Plan, torch.Tensor]:
    plan = make_plan(power, FRAMES_HZ, how, torch.Generator().manual_seed(seed))
    return plan, plan.finish(plan.of_powers(power))


def test_the_sign_says_in_which_track_the_first_voice_is(power):
    plan, tracks = planned(power, PURE)
    low = tracks[:, :, :20].sum(2)
    settled = torch.nn.functional.avg_pool1d(plan.sign[:, None], 11, 1, 5)[:, 0].abs() == 1
    found = torch.where(low[:, 0] > low[:, 1], 1.0, -1.0)
    assert bool(settled.float().mean() > 0.5)
    assert torch.equal(found[settled], plan.sign[settled])
    assert len(plan.sign.unique()) == 2


def test_the_sum_of_the_tracks_is_that_of_the_voices(power):
    """Whatever is exchanged and leaks; voices at one mean level, and the floors."""
    plan, tracks = planned(power, replace(PURE, leak=0.25, parts_hz=7.5))
    voices = power / power.mean((2, 3), keepdim=True)
    torch.testing.assert_close(tracks.sum(1), voices.sum(1))
    heard = voices.sum(1).mean(1)
    torch.testing.assert_close(plan.heard, heard / heard.mean(-1, keepdim=True))


def test_spectra_are_exchanged_as_powers_are(power):
    """Where each bin has one voice alone, and two bins make a band."""
    one_voice = power * (power > 0.1)
    band_of_bin = torch.arange(40).repeat_interleave(2)
    how = replace(PURE, parts_hz=7.5, level=0.35, colour=0.8, late=1.0)
    plan, _ = planned(one_voice, how)
    settled = plan.exchanged.frac() == 0  # half of a wave is a quarter of its power
    spec = torch.polar(one_voice[:, :, band_of_bin].sqrt(), 6.28 * torch.rand(6, 2, 80, 500))
    found = plan.of_spectra(spec, band_of_bin).abs().square()[:, :, ::2]
    where = settled.all(1, keepdim=True).expand_as(found)
    assert float(where.float().mean()) > 0.5
    torch.testing.assert_close(found[where], plan.of_powers(one_voice)[where])
    torch.testing.assert_close(plan.first(2).of_powers(one_voice[:2]), plan.of_powers(one_voice)[:2])


def test_they_change_places_as_often_as_is_asked(power):
    changes = (planned(power, PURE)[0].sign.diff(dim=-1) != 0).sum(-1)
    assert 0 < int(changes.min()) <= int(changes.max()) < 100  # 0.15 to 5 a second in 8 s
    often = planned(power, replace(PURE, often_hz=(30.0, 31.0)))[0].sign
    rate = float((often.diff(dim=-1) != 0).float().mean())
    assert rate == pytest.approx(30.5 / FRAMES_HZ, rel=0.1)
    assert bool((planned(power, replace(PURE, steady=1.0))[0].sign == 1).all())


def test_parts_are_exchanged_in_some_bands_alone(power):
    _, tracks = planned(power, replace(PURE, steady=1.0, parts_hz=7.5))
    voices = power / power.mean((2, 3), keepdim=True)
    changed = ((tracks - voices).abs() > 1e-3).any(1)
    assert 0.01 < float(changed.float().mean()) < 0.6
    whole = changed.all(1)
    assert float(whole.float().mean()) < 0.05


def test_some_voices_begin_late_and_the_floor_is_there(power):
    _, tracks = planned(power, replace(PURE, late=1.0, steady=1.0, floor=(1e-3, 1.1e-3)))
    begins = tracks[..., 0].mean(-1)  # [B, 2]
    assert float(begins.median()) < 0.02
    assert float(tracks[..., -1].mean(-1).min()) > 0.3
    assert float(tracks.amin()) > 5e-5


def test_the_seed_decides(power):
    (one, tracks), (same, again), (other, _) = (planned(power, Exchanges(), seed) for seed in (3, 3, 4))
    assert torch.equal(tracks, again)
    assert torch.equal(one.sign, same.sign)
    assert not torch.equal(one.sign, other.sign)
    assert bool(tracks.isfinite().all())
    assert float(tracks.amin()) > 0


def test_silence_stays_finite():
    plan, tracks = planned(torch.zeros(2, 2, 40, 100), Exchanges())
    assert bool(tracks.isfinite().all())
    assert bool(plan.heard.isfinite().all())
