"""The tracker: whatever its weights, tracks in the other order give the opposite; its loss; its files."""

from __future__ import annotations

import pytest
import torch

from diffsr.errors import CheckpointError
from diffsr.speakers import VoiceTracker
from diffsr.speakers.pair_bands import PairBands, relative_log
from diffsr.speakers.tracking import tracking_loss


@pytest.fixture(scope="module")
def tracker() -> VoiceTracker:
    torch.manual_seed(0)
    tracker = VoiceTracker(width=16, depth=2, heads=2, embedding_dim=4).eval()
    for layer in tracker.layers:
        torch.nn.init.normal_(layer.bias)  # zero in a new one, which would hide a wrong place
    return tracker.requires_grad_(False)


@pytest.fixture
def tracks() -> torch.Tensor:
    return torch.randn(3, 2, 32_000, generator=torch.Generator().manual_seed(1))


def test_directions_have_unit_norm_and_come_every_48_ms(tracker, tracks):
    direction = tracker(tracker.bands(tracks))
    assert tracker.hop_samples == 768
    assert direction.shape == (3, 42, 4)  # of 126 frames
    torch.testing.assert_close(direction.norm(dim=-1), torch.ones(3, 42))


def test_the_other_order_is_the_opposite_direction(tracker, tracks):
    one, other = (tracker(tracker.bands(x)) for x in (tracks, tracks.flip(1)))
    torch.testing.assert_close(one, -other)


def test_a_gain_and_a_sign_change_nothing(tracker, tracks):
    expected = tracker(tracker.bands(tracks))
    for gain in (-1.0, 1e-3, 50.0):
        torch.testing.assert_close(tracker(tracker.bands(gain * tracks)), expected, atol=1e-3, rtol=0)


def test_rows_do_not_depend_on_one_another(tracker, tracks):
    alone = tracker(tracker.bands(tracks[:1]))
    torch.testing.assert_close(tracker(tracker.bands(tracks))[:1], alone)


def test_tracks_that_are_the_same_have_no_direction(tracker):
    same = torch.randn(1, 1, 16_000).expand(1, 2, -1)
    assert float(tracker(tracker.bands(same)).abs().max()) < 0.02


@pytest.mark.parametrize("rate_hz", [8_000, 16_000])
def test_a_tone_is_in_its_band(rate_hz):
    bands = PairBands(rate_hz)
    assert bool((bands.filters.sum(1) > 0).all())
    assert bool((bands.band_of_bin.diff() >= 0).all())
    assert bands.band_of_bin.unique().tolist() == list(range(bands.n_bands))
    assert bands.band_of_bin[[0, 4, 14]].tolist() == [0, 0, 10]
    time_s = torch.arange(rate_hz) / rate_hz
    for line in (0, 10, 95):
        power = bands(torch.sin(2 * torch.pi * (4 + line) / 0.064 * time_s)).mean(-1)
        assert int(power.argmax()) == line
    high = bands(torch.sin(2 * torch.pi * 3000 * time_s)).mean(-1)
    assert int(high.argmax()) >= 96


def test_the_level_is_that_of_both_tracks():
    power = torch.rand(2, 2, 5, 7) + 0.1
    torch.testing.assert_close(relative_log(100 * power), relative_log(power))
    mean = (2 * relative_log(power)).exp().sub(1e-3).sum(1).mean((1, 2))
    torch.testing.assert_close(mean, torch.ones(2))


def test_the_loss_is_one_for_chance_and_knows_no_names():
    sign = torch.tensor([[1.0, 1.0, -1.0, 1.0, -1.0]])
    weight = torch.tensor([[1.0, 2.0, 1.0, 0.5, 1.0]])
    right = sign[..., None] * torch.tensor([0.6, 0.8])
    assert float(tracking_loss(torch.zeros(1, 5, 2), sign, weight)) == pytest.approx(1.0)
    best = float(tracking_loss(right, sign, weight))
    assert best < 0.01
    assert float(tracking_loss(-right, sign, weight)) == pytest.approx(best)
    wrong = right.clone()
    wrong[:, 2] *= -1
    assert float(tracking_loss(wrong, sign, weight)) > 1.0
    ignored = sign.clone()
    ignored[:, 2] = 0  # where tracks change places nothing is right or wrong
    assert float(tracking_loss(wrong, ignored, weight)) < 0.01
    assert float(tracking_loss(wrong, sign, weight * (ignored != 0))) < 0.01


def test_files(tracker, tracks, tmp_path):
    loaded = VoiceTracker.from_pretrained(tracker.save_pretrained(tmp_path / "full"))
    assert loaded.config == tracker.config
    torch.testing.assert_close(loaded(loaded.bands(tracks)), tracker(tracker.bands(tracks)))
    half = VoiceTracker.from_pretrained(tracker.save_pretrained(tmp_path / "half", dtype="bfloat16"))
    assert half.embed.weight.dtype == torch.float32
    with pytest.raises(CheckpointError, match="No voice tracker at nothing.*a name that ships"):
        VoiceTracker.from_pretrained("nothing")
    text = (tmp_path / "full" / "config.yaml").read_text()
    (tmp_path / "full" / "config.yaml").write_text(text.replace("heads: 2", "heads: 3"))
    with pytest.raises(CheckpointError, match="does not describe a voice tracker.*width is 16"):
        VoiceTracker.from_pretrained(tmp_path / "full")


@pytest.mark.parametrize("sizes", [{"width": 0}, {"depth": 1.5}, {"width": 10, "heads": 4}])
def test_sizes_that_make_no_network(sizes):
    with pytest.raises(ValueError, match="expected a"):
        VoiceTracker(**sizes)
