"""DNSMOS and SRMR; left out where the optional packages are missing."""

import math
import sys

import numpy as np
import pytest
import torch

from diffsr.errors import ConfigError
from diffsr.evaluation import blind
from diffsr.evaluation.blind import dnsmos, srmr
from diffsr.evaluation.metrics import score_pair, select_metrics

RATE_HZ = 16000


@pytest.fixture(autouse=True)
def _fresh():
    blind._dnsmos_of.cache_clear()
    yield
    blind._loaded.cache_clear()


def syllables(seconds=1.0, noise=0.01):
    t = torch.arange(round(seconds * RATE_HZ)) / RATE_HZ
    wave = sum(torch.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 25))
    wave = 0.1 * wave * torch.sin(2 * np.pi * 3 * t).clamp_min(0)
    return wave + noise * torch.randn(len(t), generator=torch.Generator().manual_seed(1))


@pytest.mark.slow
def test_dnsmos_is_the_package_and_runs_once():
    package = pytest.importorskip("speechmos.dnsmos")
    wave = syllables()
    expected = package.run(wave.numpy(), RATE_HZ)
    for part, name in blind.DNSMOS_PARTS.items():
        assert float(dnsmos(wave, RATE_HZ, part)) == pytest.approx(float(expected[name]), abs=1e-4)
    assert blind._dnsmos_of.cache_info().misses == 1
    assert blind._loaded.cache_info().misses == 1


@pytest.mark.slow
def test_dnsmos_prefers_clean_speech_and_takes_loud_waves():
    pytest.importorskip("speechmos.dnsmos")
    waves = torch.stack([syllables(noise=1e-3), syllables(noise=0.1)])
    clean, noisy = dnsmos(waves, RATE_HZ, "bak").tolist()
    assert clean > noisy + 0.5
    peak = float(waves[0].abs().max())
    loud, full = dnsmos(torch.stack([5 * waves[0] / peak, waves[0] / peak]), RATE_HZ, "bak").tolist()
    assert loud == pytest.approx(full, abs=1e-3)


def test_dnsmos_where_it_is_not_defined():
    pytest.importorskip("speechmos.dnsmos")
    wave = torch.stack([torch.zeros(8000), torch.full((8000,), math.nan)])
    assert dnsmos(wave, RATE_HZ, "sig").isnan().all()
    assert math.isnan(float(dnsmos(syllables(0.2), RATE_HZ, "sig")))
    assert math.isnan(float(dnsmos(syllables(), 8000, "sig")))
    assert math.isnan(float(dnsmos(syllables()[:1], 48000, "sig")))
    with pytest.raises(ValueError, match="T > 0"):
        dnsmos(torch.ones(0), RATE_HZ, "sig")


def srmr_by_hand(wave, rate_hz):
    """SRMR with the filters of `gammatone` and scipy's recursion: independent of torchmetrics."""
    from gammatone.filters import centre_freqs, erb_filterbank, make_erb_filters
    from scipy.signal import hilbert, lfilter

    bands = erb_filterbank(wave, make_erb_filters(rate_hz, centre_freqs(rate_hz, 23, 125)))
    envelopes = np.abs(hilbert(bands))
    centres = 4 * (128 / 4) ** (np.arange(8) / 7)
    size, hop = math.ceil(0.256 * rate_hz), math.ceil(0.064 * rate_hz)
    n_frames = 1 + (len(wave) - size) // hop
    window = np.hamming(size + 1)[:-1]
    energy = np.zeros((23, 8))
    for k, centre in enumerate(centres):
        w0 = math.tan(math.pi * centre / rate_hz)
        b, a = [w0 / 2, 0, -w0 / 2], [1 + w0 / 2 + w0**2, 2 * w0**2 - 2, 1 - w0 / 2 + w0**2]
        modulation = lfilter(b, a, envelopes, axis=-1)
        frames = [modulation[:, n * hop : n * hop + size] * window for n in range(n_frames)]
        energy[:, k] = np.mean([np.square(frame).sum(-1) for frame in frames], axis=0)
    share = energy.sum(1)[::-1].cumsum() / energy.sum()
    widths = (centre_freqs(rate_hz, 23, 125) / 9.26449 + 24.7)[::-1]
    width = widths[np.argmax(share > 0.9)]
    lowest = centres - (np.tan(math.pi * centres / rate_hz) / 2) * rate_hz / (2 * math.pi)
    last = 8 if lowest[7] <= width else 7 if lowest[6] <= width else 6 if lowest[5] <= width else 5
    return energy[:, :4].sum() / energy[:, 4:last].sum()


@pytest.mark.slow
def test_srmr_against_scipy():
    pytest.importorskip("gammatone")
    waves = torch.stack([syllables(2.0, 1e-3), syllables(2.0, 0.05)])
    found = srmr(waves, RATE_HZ)
    expected = [srmr_by_hand(wave.double().numpy(), RATE_HZ) for wave in waves]
    assert found.tolist() == pytest.approx(expected, rel=0.02)
    assert found[0] > found[1]


def test_srmr_where_it_is_not_defined():
    pytest.importorskip("gammatone")
    assert math.isnan(float(srmr(torch.zeros(8000), RATE_HZ)))
    assert math.isnan(float(srmr(syllables(0.2), RATE_HZ)))
    assert math.isnan(float(srmr(syllables(), 4000)))


@pytest.mark.parametrize(
    ("name", "module", "label"),
    [
        ("dnsmos_p808", "speechmos.dnsmos", "DNSMOS"),
        ("dnsmos_sig", "onnxruntime", "DNSMOS"),
        ("srmr", "gammatone", "SRMR"),
    ],
)
def test_missing_packages_are_named_with_the_command(monkeypatch, name, module, label):
    monkeypatch.setitem(sys.modules, module, None)
    package = module.partition(".")[0]
    message = rf"{label}.* needs the package {package},.* pip install 'diffsr\[evaluation\]'"
    with pytest.raises(ConfigError, match=message):
        select_metrics(("estoi", name))
    with pytest.raises(ConfigError, match=message):
        score_pair(syllables(), syllables(), RATE_HZ, (name,))
    with pytest.raises(ConfigError, match=message):
        srmr(syllables(), RATE_HZ) if name == "srmr" else dnsmos(syllables(), RATE_HZ, "sig")
