"""NCSN++ against independent references: scipy's resampling, written-out layers, the published size."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.signal import upfirdn

from diffsr.diffusion import Prior
from diffsr.diffusion.analytic import WhiteGaussianPrior
from diffsr.diffusion.loss import denoising_loss
from diffsr.networks import NETWORKS, NCSNpp
from diffsr.networks.cost import gflop_per_second
from diffsr.networks.ncsnpp_blocks import Attention
from diffsr.networks.ncsnpp_resampling import Resampling

TAPS = np.array([1, 3, 3, 1]) / 8
SMALL = {"nf": 8, "n_fft": 126, "hop_samples": 32}


def awake(net: torch.nn.Module, std: float = 0.1) -> torch.nn.Module:
    """Away from the zero start, where nothing but the last layer can be seen."""
    torch.manual_seed(0)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return net


def along(axis: int, x: np.ndarray, function) -> np.ndarray:
    return np.apply_along_axis(function, axis, x)


@pytest.mark.parametrize(("bins", "frames"), [(4, 6), (8, 2)])
def test_fir_resampling_is_that_of_scipy(bins, frames):
    x = np.random.default_rng(0).standard_normal((2, 3, bins, frames))
    down, up = x, x
    for axis in (2, 3):
        # One zero before and one after; the first full overlap is at sample 3.
        down = along(axis, down, lambda v: upfirdn(TAPS, np.pad(v, 1))[3 : 3 + len(v) - 1 : 2])
        up = along(axis, up, lambda v: upfirdn(2 * TAPS, v, up=2)[1 : 1 + 2 * len(v)])
    resample = Resampling("fir").double()
    np.testing.assert_allclose(resample.down(torch.from_numpy(x)).numpy(), down, atol=1e-12)
    np.testing.assert_allclose(resample.up(torch.from_numpy(x)).numpy(), up, atol=1e-12)


@pytest.mark.parametrize("kind", ["fir", "box"])
def test_constants_stay_and_the_grids_are_centred(kind):
    resample = Resampling(kind)
    for move in (resample.down, resample.up):
        torch.testing.assert_close(move(torch.ones(1, 2, 16, 16))[..., 2:-2, 2:-2].mean(), torch.tensor(1.0))
    ramp = torch.arange(32.0).expand(1, 1, 32, 32)
    inner = resample.down(ramp)[..., 2:-2, 2:-2]
    torch.testing.assert_close(inner, (2 * torch.arange(16.0) + 0.5)[2:-2].expand_as(inner))
    mirrored = resample.up(ramp.flip(-1)).flip(-1)
    torch.testing.assert_close(resample.up(ramp), mirrored)


def test_box_is_mean_and_repetition():
    x = torch.tensor([[1.0, 2.0], [3.0, 6.0]])[None, None]
    assert Resampling("box").down(x).item() == 3
    assert Resampling("box").up(x)[0, 0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 6, 6], [3, 3, 6, 6]]


def test_attention_is_the_written_out_one():
    layer = awake(Attention(8), std=0.5)
    x = torch.randn(2, 8, 4, 3)
    normed = layer.GroupNorm_0(x)
    q, k, v = (
        torch.einsum("bcfn,cd->bdfn", normed, part.W) + part.b[:, None, None]
        for part in (layer.NIN_0, layer.NIN_1, layer.NIN_2)
    )
    weights = torch.einsum("bcfn,bcgm->bfngm", q, k) / math.sqrt(8)
    weights = weights.flatten(3).softmax(-1).view_as(weights)
    mixed = torch.einsum("bfngm,bcgm->bcfn", weights, v)
    out = torch.einsum("bcfn,cd->bdfn", mixed, layer.NIN_3.W) + layer.NIN_3.b[:, None, None]
    torch.testing.assert_close(layer(x), (x + out) / math.sqrt(2), rtol=1e-4, atol=1e-5)


def written_out(net: NCSNpp, image: torch.Tensor, c_noise: torch.Tensor) -> torch.Tensor:
    """The layers of two resolutions with one block each, one after the other, by their published numbers."""
    m = net.all_modules
    angles = 2 * math.pi * c_noise[:, None] * m[0].W
    level = m[2](F.silu(m[1](torch.cat([angles.sin(), angles.cos()], 1))))
    stem = m[3](image)
    first = m[4](stem, level)
    half = m[6](F.avg_pool2d(image, 2), m[5](first, level))
    second = m[7](half, level)
    x = m[10](m[9](m[8](second, level)), level)
    x = m[11](torch.cat([x, second], 1), level)
    x = m[12](torch.cat([x, half], 1), level)
    low = m[14](F.silu(m[13](x)))
    x = m[15](x, level)
    x = m[16](torch.cat([x, first], 1), level)
    x = m[17](torch.cat([x, stem], 1), level)
    assert len(m) == 20
    return F.interpolate(low, scale_factor=2) + m[19](F.silu(m[18](x)))


@pytest.mark.parametrize("unit_bins", [True, False])
def test_the_network_is_the_written_out_one_between_stft_and_inverse(unit_bins):
    net = awake(NCSNpp(**SMALL, channel_multipliers=(1, 2), resampling="box", unit_bins=unit_bins))
    wave, c_noise = torch.randn(2, 1_000), torch.tensor([-0.5, 0.3])
    unit = net.stft.window.square().sum().sqrt() if unit_bins else 1.0
    spec = net.stft(wave) / unit
    image = F.pad(torch.stack([spec.real, spec.imag], 1), (0, -spec.shape[-1] % 16))
    out = net.output_layer(written_out(net, image, c_noise)) * unit
    expected = net.stft.inverse(torch.complex(out[:, 0], out[:, 1]), 1_000)
    torch.testing.assert_close(net(wave, c_noise), expected, rtol=1e-3, atol=1e-4)


def test_published_size_of_the_full_network():
    net = NCSNpp()
    count = sum(parameter.numel() for parameter in net.parameters())
    # 27.74 M are reported for the unconditional NCSN++M; 27.8 M with a second complex input.
    assert count == 27_736_462
    assert len(net.all_modules) == 36


@pytest.mark.parametrize("n_samples", [40, 1_000, 2_047, 2_048])
def test_any_length_goes_in_and_comes_out(n_samples):
    net = awake(NCSNpp(**SMALL))
    out = net(torch.randn(2, n_samples), torch.zeros(2))
    assert out.shape == (2, n_samples)
    assert torch.isfinite(out).all()
    assert (out.abs().amax(1) > 0).all()


def test_it_starts_at_zero_and_every_parameter_learns():
    torch.manual_seed(0)
    net = NCSNpp(**SMALL)
    wave = torch.randn(2, 1_500)
    assert torch.count_nonzero(net(wave, torch.zeros(2))) == 0
    z, sigma = 0.1 * wave, torch.tensor([0.02, 0.2])
    torch.testing.assert_close(Prior(net).denoise(z, sigma), WhiteGaussianPrior(0.05).denoise(z, sigma))
    awake(net)(wave, torch.tensor([-0.5, 0.3])).square().sum().backward()
    silent = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # The key's bias adds the same to all scores of a query, which the softmax takes away again.
    assert [name for name in silent if not name.endswith("NIN_1.b")] == []


@pytest.mark.slow
def test_it_learns_to_tell_tones_from_noise():
    torch.manual_seed(0)
    prior = Prior(NCSNpp(**SMALL))
    optimizer = torch.optim.Adam(prior.parameters(), 3e-3)
    rng, time_s, losses = torch.Generator().manual_seed(0), torch.arange(2_048) / 16_000, []
    for _ in range(30):
        frequency_hz = 100 + 1_900 * torch.rand(8, 1, generator=rng)
        wave = 0.07 * torch.sin(2 * math.pi * frequency_hz * time_s)
        loss = denoising_loss(prior, wave, torch.full((8,), 0.1), rng).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(1.0, abs=0.1)
    assert losses[-1] < 0.7


def test_distant_frames_and_the_noise_level_matter():
    net = awake(NCSNpp(**SMALL), std=0.3)
    wave = torch.randn(1, 8_000)
    changed = wave.clone()
    changed[:, :500] = 0
    out = net(wave, torch.zeros(1))
    assert (net(changed, torch.zeros(1)) - out)[:, 6_000:].abs().max() > 1e-4
    assert (net(wave, torch.ones(1)) - out).abs().max() > 1e-3


def test_items_do_not_mix_and_results_repeat():
    net = awake(NCSNpp(**SMALL))
    wave, c_noise = torch.randn(3, 1_234), torch.tensor([-1.0, 0.0, 0.4])
    out = net(wave, c_noise)
    assert torch.equal(out, net(wave, c_noise))
    torch.testing.assert_close(out[1:2], net(wave[1:2], c_noise[1:2]), rtol=1e-3, atol=1e-5)


def test_weights_and_config_rebuild_the_same_network(tmp_path):
    net = awake(NCSNpp(**SMALL, attention_bins=[32], n_blocks=2, resampling="box", fourier_scale=4.0))
    again = NETWORKS["ncsnpp"](**net.config)
    assert again.config == net.config
    again.load_state_dict(net.state_dict())
    wave = torch.randn(1, 900)
    assert torch.equal(again(wave, torch.zeros(1)), net(wave, torch.zeros(1)))
    loaded = Prior.from_pretrained(Prior(net).save_pretrained(tmp_path))
    assert torch.equal(loaded.network(wave, torch.zeros(1)), net(wave, torch.zeros(1)))


def test_attention_goes_where_it_is_asked_for():
    kinds = [step.kind for step in NCSNpp(**SMALL, attention_bins=[32]).plan]
    assert kinds.count("attend") == 3  # encoder, bottom, decoder
    assert [step.kind for step in NCSNpp(**SMALL).plan].count("attend") == 1


def test_cost_of_the_narrow_sibling():
    # A window of 128 frames, where nothing is padded.
    assert gflop_per_second(NCSNpp(nf=32), 16_000, window_s=1.016) == pytest.approx(19.4, rel=0.01)


@pytest.mark.slow
def test_cost_of_the_full_width():
    assert gflop_per_second(NCSNpp(), 16_000, window_s=4.096) == pytest.approx(315, rel=0.01)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"nf": 10}, "multiple of 4"),
        ({"channel_multipliers": ()}, "at least 1"),
        ({"n_fft": 512}, "257|divisible by 8"),
        ({"hop_samples": 400}, "n_fft >= 2 hop_samples"),
        ({"resampling": "cubic"}, "one of fir, box"),
    ],
)
def test_impossible_sizes_are_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        NCSNpp(**bad)
