"""Pairs to train a tracker on: what is said to be true of them is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from diffsr.speakers.exchanges import Exchanges, make_pair

FRAMES_HZ = 62.5
PURE = Exchanges(parts_hz=0.0, steady=0.0, late=0.0, level=0.0, colour=0.0, leak=0.0, floor=(1e-9, 2e-9))


@pytest.fixture
def power() -> torch.Tensor:
    """One voice has the lower bands, the other the upper ones."""
    power = torch.rand(6, 2, 40, 500, generator=torch.Generator().manual_seed(0)) + 0.5
    power[:, 0, 20:] *= 1e-3
    power[:, 1, :20] *= 1e-3
    return power


def pair_of(power, how, seed=0):
    return make_pair(power, FRAMES_HZ, how, torch.Generator().manual_seed(seed))


def test_the_sign_says_in_which_track_the_first_voice_is(power):
    pair = pair_of(power, PURE)
    low = pair.power[:, :, :20].sum(2)
    settled = torch.nn.functional.avg_pool1d(pair.sign[:, None], 11, 1, 5)[:, 0].abs() == 1
    found = torch.where(low[:, 0] > low[:, 1], 1.0, -1.0)
    assert bool(settled.float().mean() > 0.5)
    assert torch.equal(found[settled], pair.sign[settled])
    assert len(pair.sign.unique()) == 2


def test_the_sum_of_the_tracks_is_that_of_the_voices(power):
    """Whatever is exchanged and leaks; voices at one mean level, and the floors."""
    pair = pair_of(power, replace(PURE, leak=0.25, parts_hz=7.5))
    voices = power / power.mean((2, 3), keepdim=True)
    torch.testing.assert_close(pair.power.sum(1), voices.sum(1))
    heard = voices.sum(1).mean(1)
    torch.testing.assert_close(pair.heard, heard / heard.mean(-1, keepdim=True))


def test_they_change_places_as_often_as_is_asked(power):
    changes = (pair_of(power, PURE).sign.diff(dim=-1) != 0).sum(-1)
    assert 0 < int(changes.min()) <= int(changes.max()) < 100  # 0.15 to 5 a second in 8 s
    often = pair_of(power, replace(PURE, often_hz=(30.0, 31.0))).sign
    rate = float((often.diff(dim=-1) != 0).float().mean())
    assert rate == pytest.approx(30.5 / FRAMES_HZ, rel=0.1)
    assert bool((pair_of(power, replace(PURE, steady=1.0)).sign == 1).all())


def test_parts_are_exchanged_in_some_bands_alone(power):
    pair = pair_of(power, replace(PURE, steady=1.0, parts_hz=7.5))
    voices = power / power.mean((2, 3), keepdim=True)
    changed = ((pair.power - voices).abs() > 1e-3).any(1)
    assert 0.01 < float(changed.float().mean()) < 0.6
    whole = changed.all(1)
    assert float(whole.float().mean()) < 0.05


def test_some_voices_begin_late_and_the_floor_is_there(power):
    pair = pair_of(power, replace(PURE, late=1.0, steady=1.0, floor=(1e-3, 1.1e-3)))
    begins = pair.power[..., 0].mean(-1)  # [B, 2]
    assert float(begins.median()) < 0.02
    assert float(pair.power[..., -1].mean(-1).min()) > 0.3
    assert float(pair.power.amin()) > 5e-5


def test_the_seed_decides(power):
    one, same, other = (pair_of(power, Exchanges(), seed) for seed in (3, 3, 4))
    assert torch.equal(one.power, same.power)
    assert torch.equal(one.sign, same.sign)
    assert not torch.equal(one.sign, other.sign)
    assert bool(one.power.isfinite().all())
    assert float(one.power.amin()) > 0


def test_silence_stays_finite():
    pair = pair_of(torch.zeros(2, 2, 40, 100), Exchanges())
    assert bool(pair.power.isfinite().all())
    assert bool(pair.heard.isfinite().all())
