from __future__ import annotations

import pytest
import torch

from diffsr.networks import NETWORKS, TFTransformer


@pytest.mark.parametrize("n_samples", [100, 1_600, 8_191, 8_192])
def test_any_length_goes_in_and_comes_out(n_samples):
    net = TFTransformer(width=16, depth=1, heads=2)
    assert net(torch.randn(2, n_samples), torch.zeros(2)).shape == (2, n_samples)


def test_it_starts_at_zero_and_every_parameter_learns():
    torch.manual_seed(0)
    net = TFTransformer(width=16, depth=2, heads=2)
    wave = torch.randn(2, 4_000)
    assert torch.count_nonzero(net(wave, torch.zeros(2))) == 0
    for parameter in net.parameters():  # away from the zero start, where gates block the gradient
        torch.nn.init.normal_(parameter, std=0.1)
    net(wave, torch.tensor([-0.5, 0.3])).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_the_output_filter_can_pass_its_input_on():
    # Centre tap 1, everything else 0: the network is the identity.
    net = TFTransformer(width=16, depth=1, heads=2, taps=3)
    bins = net.stft.n_bins
    net.decode.bias.data.view(bins, 4, 2)[:, 1, 0] = 1.0
    wave = torch.randn(1, 5_000)
    torch.testing.assert_close(net(wave, torch.zeros(1)), wave, rtol=1e-4, atol=1e-5)


def test_distant_frames_and_the_noise_level_matter():
    torch.manual_seed(0)
    net = TFTransformer(width=16, depth=1, heads=2)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    wave = torch.randn(1, 16_000)
    changed = wave.clone()
    changed[:, :1_000] = 0
    out = net(wave, torch.zeros(1))
    assert (net(changed, torch.zeros(1)) - out)[:, 12_000:].abs().max() > 1e-4
    assert (net(wave, torch.ones(1)) - out).abs().max() > 1e-3


def test_config_rebuilds_the_same_network():
    net = TFTransformer(width=16, depth=1, heads=2, ffn_ratio=1.5, taps=5)
    assert NETWORKS["tf_transformer"](**net.config).config == net.config


@pytest.mark.parametrize("bad", [{"width": 10, "heads": 4}, {"taps": 2}])
def test_impossible_sizes_are_refused(bad):
    with pytest.raises(ValueError, match="expected"):
        TFTransformer(**bad)
