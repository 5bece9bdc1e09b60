"""What every system promises, and that each does what it is for."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

import diffsr
from diffsr.baselines import BASELINES, WPE, make_baseline
from diffsr.errors import ConfigError
from diffsr.evaluation.metrics import si_sdr_db
from diffsr.io.audio import read_audio
from diffsr.signal.levels import rms
from diffsr.signal.resampling import resample
from diffsr.signal.stft import STFT

RATE_HZ = 16000
SLOW = {"wpe_long"}  # the same code as wpe
NAMES = [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in BASELINES]
STARTER = Path(diffsr.__file__).parent / "assets" / "starter" / "audio"
VOICES = ("de-f2-1", "en-029-grandpa-1", "en-us-linda-1")


def speech(voice: str = VOICES[0], seconds: float = 3.0, rate_hz: int = RATE_HZ) -> torch.Tensor:
    wave, info = read_audio(STARTER / f"{voice}.ogg", 0.0, seconds)
    return resample(wave[:1], info.rate_hz, rate_hz)


def noise(n_samples: int, level: float, seed: int = 0) -> torch.Tensor:
    return level * torch.randn(1, n_samples, generator=torch.Generator().manual_seed(seed))


def in_room(dry: torch.Tensor, seed: int, t60_s: float = 0.5) -> torch.Tensor:
    """Direct path and, 2 ms later, a tail of noise that decays by 60 dB in T60; [1, T]."""
    time_s = np.arange(round(t60_s * RATE_HZ)) / RATE_HZ
    tail = 0.05 * np.random.default_rng(seed).standard_normal(len(time_s)) * 10 ** (-3 * time_s / t60_s)
    tail[:32], tail[0] = 0.0, 1.0
    wet = np.convolve(dry[0].double().numpy(), tail)[: dry.shape[-1]]
    return torch.from_numpy(wet).float()[None]


def lag_samples(est: torch.Tensor, ref: torch.Tensor) -> int:
    """By how much `est` comes after `ref`: the peak of the cross-correlation."""
    n_fft = 2 * ref.shape[-1]
    cross = torch.fft.irfft(torch.fft.rfft(est, n_fft) * torch.fft.rfft(ref, n_fft).conj(), n_fft)
    peak = int(cross.argmax())
    return peak if peak < n_fft // 2 else peak - n_fft


def pause(wave: torch.Tensor) -> float:
    """Level of the last half second."""
    return float(rms(wave[..., -RATE_HZ // 2 :]).max())


@pytest.mark.parametrize("rate_hz", [8000, 16000])
@pytest.mark.parametrize("name", NAMES)
def test_speech_keeps_its_place_and_roughly_its_level(name, rate_hz):
    system = make_baseline(name)
    for voice in VOICES:
        dry = speech(voice, 2.0, rate_hz)
        noisy = dry + noise(dry.shape[-1], 0.001)
        out = system(noisy, rate_hz, 1)
        assert out.shape == dry.shape
        assert abs(lag_samples(out[0], dry[0])) <= 1
        # noisereduce cuts into speech, by up to 8 dB here, and more with one threshold for all times.
        lowest_db = {"noisereduce": -9.0, "noisereduce_stationary": -13.0}.get(name, -1.0)
        assert lowest_db < 20 * torch.log10(rms(out) / rms(dry)) < 0.1


@pytest.mark.parametrize("name", NAMES)
def test_the_rest_of_the_contract(name):
    system = make_baseline(name)
    recording = torch.cat([in_room(speech(seconds=1.5), seed) for seed in (1, 2)]) + noise(24000, 0.01)
    before = recording.clone(), np.random.get_state()[1].copy(), torch.get_num_threads()  # noqa: NPY002
    one, three = system(recording, RATE_HZ, 1), system(recording, RATE_HZ, 3)
    assert system.name == name
    assert one.shape == (1, 24000)
    assert one.dtype == torch.float32
    assert torch.equal(three, one.expand(3, -1))
    assert torch.equal(make_baseline(name)(recording, RATE_HZ, 1), one)
    assert torch.equal(recording, before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert torch.get_num_threads() == before[2]
    description = system.describe()
    assert description["system"] == name
    assert all(isinstance(value, str) and value for value in description.values())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", NAMES)
def test_silence_short_and_loud_recordings_stay_finite_and_keep_their_length(name):
    system = make_baseline(name)
    clicks = torch.zeros(1, 24000)
    clicks[0, ::8000] = 0.5
    cases = [torch.zeros(2, 16000), 0.1 * torch.ones(1, 16000), clicks, 1e-30 * speech(seconds=1.0)]
    cases += [torch.cat([torch.zeros(1, 16000), speech(seconds=1.0), torch.zeros(1, 16000)], -1)]
    cases += [speech(seconds=1.0)[:, 8000 : 8000 + n] for n in (0, 1, 7, 479, 1023, 1024, 2000)]
    for recording in cases:
        for rate_hz in (RATE_HZ, 11025):
            out = system(recording, rate_hz, 2)
            assert out.shape == (2, recording.shape[-1])
            assert out.isfinite().all()
            assert not out.numel() or out.abs().max() <= 1.1 * recording.abs().max() + 1e-11


@pytest.mark.parametrize("name", NAMES)
def test_nothing_clips_near_and_above_full_scale(name):
    dry = speech()
    system = make_baseline(name)
    for peak in (0.99, 4.0):
        loud = dry * peak / dry.abs().max()
        out = system(loud, RATE_HZ, 1)
        # A wrapped or clipped sample would tear the waveform: it stays close to a scaled copy.
        assert si_sdr_db(out, loud) > (3.0 if "noisereduce" in name else 10.0)
        assert 0.3 * peak < out.abs().max() < 1.1 * peak


@pytest.mark.parametrize("name", ["rnnoise", "noisereduce", "noisereduce_stationary"])
def test_denoisers_turn_white_noise_down_in_pauses(name):
    recording = torch.cat([speech(), torch.zeros(1, RATE_HZ)], -1)
    recording = recording + noise(recording.shape[-1], 0.01)
    out = make_baseline(name)(recording, RATE_HZ, 1)
    assert pause(out) < 0.5 * pause(recording)


def test_rnnoise_takes_noise_from_speech():
    dry = speech()
    noisy = dry + noise(dry.shape[-1], 0.02)
    assert si_sdr_db(make_baseline("rnnoise")(noisy, RATE_HZ, 1), dry) > si_sdr_db(noisy, dry) + 5.0


@pytest.mark.parametrize("name", ["wpe", pytest.param("wpe_long", marks=pytest.mark.slow)])
def test_wpe_reduces_reverberation_and_leaves_dry_speech(name):
    dry = speech()
    wet = torch.cat([in_room(dry, seed) for seed in (1, 2)])
    system = make_baseline(name)
    before = si_sdr_db(wet[0], dry[0])
    one, two = si_sdr_db(system(wet[:1], RATE_HZ, 1), dry), si_sdr_db(system(wet, RATE_HZ, 1), dry)
    assert one > before + 0.5
    assert two > one + 1.0
    assert si_sdr_db(system(dry, RATE_HZ, 1), dry) > 15.0


def test_wpe_is_that_of_nara_wpe():
    from nara_wpe.wpe import wpe_v8

    dry = speech()
    wet = torch.cat([in_room(dry, seed) + noise(dry.shape[-1], 1e-4, seed) for seed in (1, 2)])
    stft = STFT(512, 128).double()
    for recording in (wet[:1], wet):
        spec = stft(recording.double()).transpose(0, 1).numpy()
        dry_spec = torch.from_numpy(wpe_v8(spec, taps=10, delay=3, iterations=5)[:, 0])
        expected = stft.inverse(dry_spec, dry.shape[-1])[None].float()
        torch.testing.assert_close(
            make_baseline("wpe")(recording, RATE_HZ, 1), expected, atol=1e-5, rtol=1e-5
        )


def test_zero_padding_does_not_switch_wpe_off():
    dry = speech()
    wet = in_room(dry, 1)
    padding = torch.zeros(1, 2 * RATE_HZ)
    system = make_baseline("wpe")
    alone = system(wet, RATE_HZ, 1)
    padded = system(torch.cat([padding, wet, padding], -1), RATE_HZ, 1)
    inside = padded[:, padding.shape[-1] : -padding.shape[-1]]
    assert si_sdr_db(inside, alone) > 20.0
    window_samples = 512
    assert padded[:, window_samples - padding.shape[-1] :].abs().max() == 0


def test_wpe_of_equal_microphones_is_that_of_one():
    wet = in_room(speech(), 1)
    one = make_baseline("wpe")(wet, RATE_HZ, 1)
    for other in (wet, -0.5 * wet, torch.zeros_like(wet)):
        assert si_sdr_db(make_baseline("wpe")(torch.cat([wet, other]), RATE_HZ, 1), one) > 30.0


def test_wpe_of_a_bin_without_sound_is_that_bin():
    low = resample(resample(speech(), RATE_HZ, 8000), 8000, RATE_HZ)
    out = WPE()(low, RATE_HZ, 1)
    assert out.isfinite().all()
    assert (WPE()(torch.zeros(1, RATE_HZ), RATE_HZ, 1) == 0).all()


def test_wpe_returns_a_recording_too_short_for_its_filter():
    short = speech()[:, 8000 : 8000 + 12 * 128]
    torch.testing.assert_close(WPE()(short, RATE_HZ, 1), short)


PACKAGES = [
    ("rnnoise", "pyrnnoise.rnnoise", "pyrnnoise"),
    ("noisereduce", "noisereduce", "noisereduce"),
]


@pytest.mark.parametrize(("name", "module", "package"), PACKAGES)
def test_a_missing_package_is_named_with_the_way_to_install_it(monkeypatch, name, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    expected = rf"^{name} needs the package {package}: pip install 'diffsr\[baselines\]'"
    with pytest.raises(ConfigError, match=expected):
        make_baseline(name)


def test_a_library_for_another_machine_is_reported(monkeypatch):
    def fail(module: str) -> types.ModuleType:
        raise OSError("wrong ELF class")

    monkeypatch.setattr("importlib.import_module", fail)
    with pytest.raises(ConfigError, match=r"rnnoise cannot use the package pyrnnoise .*wrong ELF class"):
        make_baseline("rnnoise")


def test_an_unknown_name_lists_the_known():
    with pytest.raises(
        ConfigError, match=r"no system 'demucs'; choose one of unprocessed, wpe, .*noisereduce"
    ):
        make_baseline("demucs")


@pytest.mark.parametrize("name", NAMES)
def test_recordings_of_another_form_are_refused(name):
    system = make_baseline(name)
    for wrong in (torch.zeros(16000), torch.zeros(0, 16000), torch.zeros(1, 16000, dtype=torch.int16)):
        with pytest.raises(ValueError, match="expected floating-point"):
            system(wrong, RATE_HZ, 1)
    with pytest.raises(ValueError, match="n_talkers is 0"):
        system(torch.zeros(1, 16000), RATE_HZ, 0)
