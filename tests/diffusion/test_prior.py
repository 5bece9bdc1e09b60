from __future__ import annotations

import errno
import math
import os
from pathlib import Path

import pytest
import torch
import yaml

from diffsr import load_prior
from diffsr.diffusion import LogNormalLevels, Prior, RhoUniformLevels, WindowedPrior, rho_schedule
from diffsr.diffusion.analytic import WhiteGaussianPrior
from diffsr.diffusion.loss import denoising_loss
from diffsr.diffusion.precondition import precondition
from diffsr.errors import CheckpointError, ConfigError
from diffsr.networks import TFTransformer
from diffsr.signal.stft import STFT


def tiny_prior(**network) -> Prior:
    torch.manual_seed(0)
    prior = Prior(TFTransformer(**{"width": 16, "depth": 1, "heads": 2, **network}), window_s=1.0)
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return prior.eval()


def test_scalings_keep_unit_variance():
    # EDM Eq. 117, 131 and 138: unit variance of the network's input and of its target.
    sigma = torch.tensor([0.001, 0.05, 3.0])
    sd = 0.05
    c = precondition(sigma, sd)
    torch.testing.assert_close(c.c_in.square() * (sd**2 + sigma**2), torch.ones(3))
    target_variance = ((1 - c.c_skip) ** 2 * sd**2 + c.c_skip**2 * sigma**2) / c.c_out**2
    torch.testing.assert_close(target_variance, torch.ones(3))


def test_an_untrained_network_gives_the_wiener_gain_and_unit_loss():
    prior = Prior(TFTransformer(width=16, depth=1, heads=2))
    z = 0.1 * torch.randn(2, 8192)
    sigma = torch.tensor([0.02, 0.2])
    expected = WhiteGaussianPrior(0.05).denoise(z, sigma)
    torch.testing.assert_close(prior.denoise(z, sigma), expected)
    wave = 0.05 * torch.randn(2, 32_000)
    loss = denoising_loss(prior, wave, sigma, torch.Generator().manual_seed(0))
    torch.testing.assert_close(loss, torch.ones(2), rtol=0.05, atol=0)


def test_denoise_keeps_leading_dimensions_and_treats_items_alone():
    prior = tiny_prior()
    z = 0.1 * torch.randn(2, 3, 4000)
    sigma = torch.rand(2, 3) + 0.01
    out = prior.denoise(z, sigma)
    assert out.shape == z.shape
    torch.testing.assert_close(out[1, 2], prior.denoise(z[1, 2], sigma[1, 2]), rtol=1e-3, atol=1e-5)


def test_schedule_goes_down_from_sigma_max_to_zero():
    sigmas = rho_schedule(0.5, 1e-4, 30)
    assert len(sigmas) == 31
    assert sigmas[0] == pytest.approx(0.5)
    assert sigmas[-2] == pytest.approx(1e-4)
    assert sigmas[-1] == 0
    assert (sigmas.diff() < 0).all()
    with pytest.raises(ValueError, match="sigma_min"):
        rho_schedule(1e-4, 0.5, 30)


def test_training_levels_far_from_the_median_stay_inside():
    sigma = LogNormalLevels(0.001, 0.2, 0.01, 10.0).sample(1000, torch.Generator().manual_seed(0))
    assert sigma.min() >= 0.01
    assert sigma.max() <= 10.0


@pytest.mark.parametrize("levels", [LogNormalLevels(), RhoUniformLevels()])
def test_training_levels_stay_inside_and_spread(levels):
    sigma = levels.sample(20_000, torch.Generator().manual_seed(0))
    assert sigma.min() >= 1e-4 * 0.999
    assert sigma.max() <= 10 * 1.001
    assert torch.equal(sigma, levels.sample(20_000, torch.Generator().manual_seed(0)))
    if isinstance(levels, LogNormalLevels):
        assert float(sigma.log().mean()) == pytest.approx(math.log(0.05), abs=0.05)
        assert float(sigma.log().std()) == pytest.approx(1.6, rel=0.06)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LogNormalLevels(spread=0.0), "spread is 0, expected a number above 0"),
        (lambda: LogNormalLevels(median=-1.0), "median is -1"),
        (lambda: LogNormalLevels(sigma_min=1.0, sigma_max=0.1), "sigma_min is 1 and sigma_max 0.1"),
        (lambda: RhoUniformLevels(sigma_min=0.0), "sigma_min is 0"),
        (lambda: RhoUniformLevels(rho=0.0), "rho is 0"),
    ],
)
def test_levels_that_cannot_be_drawn_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_windows_of_an_analytic_prior_are_invisible():
    prior = WhiteGaussianPrior(0.05, rate_hz=1000)
    windowed = WindowedPrior(prior, window_s=1.0, overlap_s=0.25, windows_per_call=3)
    z, sigma = torch.randn(2, 2, 4321), torch.rand(2, 2) + 0.01
    torch.testing.assert_close(windowed.denoise(z, sigma), prior.denoise(z, sigma))


def test_a_long_state_meets_the_network_in_windows_only():
    prior = tiny_prior()
    lengths = []
    inner = prior.network.forward
    prior.network.forward = lambda wave, c, told: (lengths.append(wave.shape), inner(wave, c, told))[1]
    windowed = WindowedPrior(prior, window_s=1.0, overlap_s=0.2, windows_per_call=2)
    out = windowed.denoise(0.1 * torch.randn(1, 1, 60_000), torch.full((1, 1), 0.1))
    assert out.shape == (1, 1, 60_000)
    assert all(shape[0] <= 2 and shape[1] == 16_000 for shape in lengths)


def test_uncertainty_of_a_white_signal_is_that_of_the_white_gaussian_prior():
    # An untrained network is the Wiener gain, so x0 has exactly the statistics of the Gaussian case.
    prior, stft = Prior(TFTransformer(width=16, depth=1, heads=2)), STFT()
    rng = torch.Generator().manual_seed(0)
    for level in (0.01, 0.05, 0.3):
        sigma = torch.tensor([level])
        z = (0.05**2 + level**2) ** 0.5 * torch.randn(1, 80_000, generator=rng)
        local = prior.uncertainty(prior.denoise(z, sigma), sigma, stft).detach()
        exact = WhiteGaussianPrior(0.05).uncertainty(z, sigma, stft)
        assert float(local.mean() / exact.mean()) == pytest.approx(1, abs=0.15)


def test_uncertainty_is_small_where_the_estimate_is_silent():
    prior, stft = tiny_prior(), STFT()
    time_s = torch.arange(32_000) / 16_000
    x0 = 0.1 * torch.sin(2 * torch.pi * 1000 * time_s)[None] * (time_s < 1)
    r2 = prior.uncertainty(x0, torch.tensor([0.05]), stft)[0]
    assert r2[32, 20:100].min() > 1000 * r2[32, 150:240].max()  # 1 kHz: first second, second second
    assert (prior.uncertainty(torch.zeros(1, 8000), torch.tensor([0.05]), stft) == 0).all()


# Files ------------------------------------------------------------------------------------------


def test_a_prior_folder_brings_the_same_prior_back(tmp_path):
    prior = tiny_prior()
    folder = prior.save_pretrained(tmp_path / "prior", card="# Card\n")
    loaded = Prior.from_pretrained(folder)
    z, sigma = torch.randn(1, 5000), torch.tensor([0.1])
    assert torch.equal(loaded.denoise(z, sigma), prior.denoise(z, sigma))
    assert (loaded.rate_hz, loaded.sigma_data, loaded.window_s) == (16_000, 0.05, 1.0)
    assert not loaded.training
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "config.yaml", "model.safetensors"]


def test_a_missing_prior_says_what_there_is(tmp_path):
    with pytest.raises(CheckpointError, match="a name that ships with diffsr"):
        Prior.from_pretrained(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["config.yaml", "model.safetensors"])
def test_a_missing_part_is_named(tmp_path, name):
    folder = tiny_prior().save_pretrained(tmp_path)
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        Prior.from_pretrained(folder)


def test_weights_of_another_shape_are_refused(tmp_path):
    folder = tiny_prior().save_pretrained(tmp_path)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["network"]["width"] = 32
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(CheckpointError, match=r"found \(.*expected \("):
        Prior.from_pretrained(folder)


def test_a_configuration_that_may_not_be_read(tmp_path, monkeypatch):
    folder = tiny_prior().save_pretrained(tmp_path)

    def refuse(path, **_):  # root may read everything: pretend
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(CheckpointError, match="config.yaml cannot be read .Permission denied"):
        Prior.from_pretrained(folder)


def test_a_prior_in_a_locked_folder(tmp_path, monkeypatch):
    folder = tiny_prior().save_pretrained(tmp_path / "locked" / "run" / "prior")
    stat = os.stat

    def refuse(path, **options):
        if "locked/" in str(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", refuse)
    for load, source in ((Prior.from_pretrained, folder), (load_prior, folder), (load_prior, folder.parent)):
        with pytest.raises(CheckpointError, match="this user may not enter its folder"):
            load(source)


@pytest.mark.parametrize("name", ["model.safetensors", "README.md", "config.yaml"])
def test_a_full_disk_leaves_whole_files_and_config_last(tmp_path, monkeypatch, name):
    replace = os.replace

    def fill(source, target):
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fill)
    with pytest.raises(CheckpointError, match="prior cannot be written .*No space left on device"):
        tiny_prior().save_pretrained(tmp_path / "prior")
    written = ["model.safetensors", "README.md", "config.yaml"]
    assert {path.name for path in (tmp_path / "prior").iterdir()} == set(written[: written.index(name)])


def test_a_file_in_the_way_of_the_folder(tmp_path):
    (tmp_path / "prior").touch()
    with pytest.raises(CheckpointError, match="prior cannot be written"):
        tiny_prior().save_pretrained(tmp_path / "prior")


def test_truncated_weights_are_refused(tmp_path):
    folder = tiny_prior().save_pretrained(tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="safetensors"):
        Prior.from_pretrained(folder)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"format": "other/9"}, "format"),
        ({"network": {"name": "os.system"}}, "Known networks"),
        ({"network": {"name": "tf_transformer", "wdith": 3}}, "wdith"),
        ({"network": {"name": "tf_transformer", "heads": 0}}, "heads=0.*expected at least 1"),
        ({"network": {"name": "tf_transformer", "width": -256}}, "width=-256.*expected at least 1"),
        ({"network": {"name": "tf_transformer", "ffn_ratio": -2.0}}, "RuntimeError"),
        ({"network": {"name": "tf_transformer", "n_fft": 0}}, "n_fft=0.*expected n_fft >= 2 hop_samples"),
        ({"network": {"name": "tf_transformer", "hop_samples": 0}}, "hop_samples=0.*expected"),
        ({"rate_hz": "abc"}, "rate_hz 'abc', and the weights were saved for 16000"),
        ({"sigma_data": 0}, "sigma_data 0, and the weights were saved for 0.05"),
        ({"window_s": -1.0}, "window_s is -1.0; expected a number above 0"),
        ({"window_s": math.nan}, "window_s is nan; expected a number above 0"),
    ],
)
def test_a_strange_configuration_is_refused(tmp_path, change, match):
    folder = tiny_prior().save_pretrained(tmp_path)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(config | change))
    with pytest.raises(CheckpointError, match=match):
        Prior.from_pretrained(folder)


def test_nan_weights_are_refused(tmp_path):
    prior = tiny_prior()
    prior.network.decode.bias.data[0] = float("nan")
    with pytest.raises(CheckpointError, match="NaN"):
        Prior.from_pretrained(prior.save_pretrained(tmp_path))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80\x04cos\nsystem\n."])
def test_a_file_that_is_no_checkpoint_is_refused_without_running_it(tmp_path, content):
    path = tmp_path / "x.ckpt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="x.ckpt"):
        Prior.from_pretrained(path)
