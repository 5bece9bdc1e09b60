from __future__ import annotations

import pytest
import torch

from diffsr.diffusion import Prior
from diffsr.networks import NETWORKS, TFDualPath
from diffsr.networks.cost import gflop_per_second

HOP = 256


def small(std: float | None = 0.1, **sizes: int | float) -> TFDualPath:
    """A small network, away from its start at zero unless `std` is None."""
    torch.manual_seed(0)
    net = TFDualPath(**{"width": 16, "depth": 2, "heads": 2, **sizes, "speaker_width": 0})
    for parameter in net.parameters() if std else ():
        torch.nn.init.normal_(parameter, std=std)
    return net.eval()


@pytest.mark.parametrize("n_samples", [100, 1_600, 8_191, 8_192])
@pytest.mark.parametrize("bins_per_token", [2, 3, 4])
def test_any_length_goes_in_and_comes_out(n_samples, bins_per_token):
    net = small(depth=1, bins_per_token=bins_per_token)
    assert net(torch.randn(2, n_samples), torch.zeros(2)).shape == (2, n_samples)


def test_it_starts_at_zero_and_every_parameter_learns():
    wave = torch.randn(2, 4_000)
    assert torch.count_nonzero(small(std=None)(wave, torch.zeros(2))) == 0
    net = small()
    net(wave, torch.tensor([-0.5, 0.3])).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


@pytest.mark.parametrize("bins_per_token", [3, 4])
def test_the_output_filter_can_pass_its_input_on(bins_per_token):
    net = small(std=None, bins_per_token=bins_per_token)  # centre tap 1, everything else 0
    net.decode.bias.data.view(4, 2, bins_per_token)[1, 0] = 1.0
    wave = torch.randn(1, 5_000)
    torch.testing.assert_close(net(wave, torch.zeros(1)), wave, rtol=1e-4, atol=1e-5)


def test_a_predicted_bin_lands_at_its_own_frequency():
    net = small(std=None)
    net.decode.bias.data.view(4, 2, 4)[1, 0, 2] = 1.0  # of each token the third bin passes: 2, 6, 10 ...
    spec = net.stft(net(torch.randn(1, 8_192), torch.zeros(1))).abs().square().mean(-1)[0]
    power = spec[:256].view(64, 4).mean(0)
    assert power.argmax() == 2
    assert power[2] > 3 * power[0]


@pytest.mark.parametrize("frequency_only", [True, False])
def test_distant_bins_and_distant_frames_matter(frequency_only):
    net = small(std=0.3, depth=1)
    time = torch.arange(16_000) / 16_000
    wave = torch.randn(1, 16_000)
    if frequency_only:
        change = 3 * torch.sin(2 * torch.pi * 500 * time)
    else:
        change = torch.where(time < 0.05, -wave, 0)
    difference = net.stft(net(wave + change, torch.zeros(1)) - net(wave, torch.zeros(1))).abs()[0]
    # 500 Hz is bin 16; 0.05 s is frame 3.
    far = difference[150:250] if frequency_only else difference[:, 40:]
    assert far.max() > 1e-2


def test_the_noise_level_matters():
    net, wave = small(std=0.3), torch.randn(1, 8_000)
    assert (net(wave, torch.ones(1)) - net(wave, torch.zeros(1))).abs().max() > 1e-2


def test_an_item_alone_equals_the_item_in_a_batch():
    net = small()
    wave, c_noise = torch.randn(3, 6_000) * torch.tensor([[1.0], [5.0], [0.1]]), torch.tensor([-1.0, 0, 0.5])
    together = net(wave, c_noise)
    for item in range(3):
        alone = net(wave[item : item + 1], c_noise[item : item + 1])
        torch.testing.assert_close(alone[0], together[item], rtol=1e-4, atol=1e-5)


def test_a_shift_by_whole_frames_shifts_the_output():
    # Positions along time are relative: with silence around, only the place changes.
    net, shift = small(), 20 * HOP
    wave = torch.zeros(1, 100 * HOP)
    wave[:, 30 * HOP : 50 * HOP] = torch.randn(20 * HOP)
    there = net(wave, torch.zeros(1))
    moved = net(wave.roll(shift, -1), torch.zeros(1)).roll(-shift, -1)
    inside = slice(30 * HOP, 50 * HOP)
    assert there[:, inside].abs().max() > 0.1
    error = (moved - there)[:, inside].square().mean() / there[:, inside].square().mean()
    assert error < 1e-3


def test_saved_and_loaded_it_is_the_same(tmp_path):
    sizes = {"ffn_ratio": 1.5, "bins_per_token": 3, "taps": 5, "n_fft": 256, "hop_samples": 128}
    net = small(**sizes)
    Prior(net, rate_hz=8_000, window_s=1.0).save_pretrained(tmp_path)
    loaded = Prior.from_pretrained(tmp_path).network
    assert isinstance(loaded, NETWORKS["tf_dualpath"])
    assert loaded.config == net.config == {"width": 16, "depth": 2, "heads": 2, **sizes, "speaker_width": 0}
    wave = torch.randn(1, 3_000)
    torch.testing.assert_close(loaded(wave, torch.zeros(1)), net(wave, torch.zeros(1)))


def test_bfloat16_changes_little_and_its_gradients_are_finite():
    net, wave = small(std=0.05), torch.randn(2, 8_000)
    with torch.autocast("cpu", torch.bfloat16):
        half = net(wave, torch.zeros(2))
    full = net(wave, torch.zeros(2))
    assert half.dtype == torch.float32
    assert (half - full).square().mean() < 1e-3 * full.square().mean()
    half.square().sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in net.parameters())


def test_it_stays_below_its_budget():
    net = TFDualPath()
    assert sum(p.numel() for p in net.parameters()) < 4e6
    # By attention along time, the cost of a frame grows linearly with the frames: short windows tell.
    short, double = (gflop_per_second(net, 16_000, n * HOP / 16_000) * n / (n + 1) for n in (32, 64))
    assert 15 < short + (512 - 32) / 32 * (double - short) < 17


@pytest.mark.parametrize(
    "bad", [{"width": 10, "heads": 4}, {"taps": 2}, {"bins_per_token": 0}, {"ffn_ratio": 0.0}, {"n_fft": 256}]
)
def test_impossible_sizes_are_refused(bad):
    with pytest.raises(ValueError, match="expected"):
        TFDualPath(**bad)
