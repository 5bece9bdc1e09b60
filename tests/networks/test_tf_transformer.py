from __future__ import annotations

import pytest
import torch

from diffsr.networks import NETWORKS, TFTransformer
from diffsr.networks.layers import attend, filter_and_add, rotary_angles


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
    net.decode.bias.data.view(4, 2, bins)[1, 0] = 1.0
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


def spoken(width=16, depth=2, speaker_width=8):
    """A network that takes talkers, away from its zero start."""
    torch.manual_seed(0)
    net = TFTransformer(width=width, depth=depth, heads=2, speaker_width=speaker_width)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net.eval()


def test_a_talker_of_zeros_is_nobody_and_any_other_changes_its_own_row_only():
    net, wave, c_noise = spoken(), torch.randn(2, 4_000), torch.zeros(2)
    speaker = torch.zeros(2, 8)
    torch.testing.assert_close(net(wave, c_noise, speaker), net(wave, c_noise))
    speaker[1] = torch.randn(8)
    difference = (net(wave, c_noise, speaker) - net(wave, c_noise)).abs().amax(-1)
    assert difference[0] < 1e-5
    assert difference[1] > 1e-3


def test_the_projection_of_talkers_starts_at_zero():
    net = TFTransformer(width=16, depth=1, heads=2, speaker_width=8)
    for name, parameter in net.named_parameters():
        if name != "condition.speaker.weight":
            torch.nn.init.normal_(parameter, std=0.3)
    wave = torch.randn(1, 4_000)
    with_talker = net(wave, torch.zeros(1), torch.randn(1, 8))
    torch.testing.assert_close(with_talker, net(wave, torch.zeros(1)))


def test_a_talker_for_a_network_without_is_refused():
    net = TFTransformer(width=16, depth=1, heads=2)
    with pytest.raises(ValueError, match="without talkers"):
        net(torch.randn(1, 4_000), torch.zeros(1), torch.zeros(1, 8))


@pytest.mark.parametrize("is_training", [False, True])
def test_bfloat16_attention_agrees_with_the_exact_one(is_training):
    torch.manual_seed(0)
    qkv = torch.randn(2, 50, 3 * 32)
    rotary = rotary_angles(50, 16, qkv.device)
    exact = attend(qkv, 2, rotary)
    rounded = attend(qkv.bfloat16().requires_grad_(is_training), 2, rotary)
    torch.testing.assert_close(rounded.float(), exact, rtol=0.05, atol=0.03)


def test_the_output_filter_is_complex_multiplication_over_frames():
    torch.manual_seed(0)
    out = torch.randn(1, 6, 4, 2, 5)
    spec = torch.randn(1, 6, 5, dtype=torch.complex64)
    taken = torch.complex(out[..., 0, :], out[..., 1, :])
    padded = torch.cat([torch.zeros(1, 1, 5), spec, torch.zeros(1, 1, 5)], dim=1)
    expected = taken[:, :, 3] + sum(taken[:, :, k] * padded[:, k : k + 6] for k in range(3))
    torch.testing.assert_close(filter_and_add(out, spec), expected)
