"""What is found out beside the speech: at the level of the recording, and in files."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from diffsr import Restorer
from diffsr.cli import main
from diffsr.degradations import Chain, Gain, LowPass, Mixing, Room
from diffsr.errors import AudioError, ConfigError, DataError
from diffsr.io.audio import read_audio, write_audio
from diffsr.likelihoods import NMFNoise, WhiteNoise
from diffsr.recipes import Recipe, make_recipe
from diffsr.report.physics import spread_of
from diffsr.restoration.physics import one_sided_psd
from diffsr.restoration.spread import variance_of
from diffsr.samplers import AnnealedSampler, Unguided, UpdateNoise
from diffsr.signal.stft import STFT

RATE_HZ = 16000


@pytest.fixture
def short_presets(monkeypatch):
    monkeypatch.setattr("diffsr.recipes.by_name.PRESETS", {"default": 8, "fast": 2})


def room_response(rt60_s: float = 0.3, seconds: float = 0.4) -> torch.Tensor:
    time_s = torch.arange(round(seconds * RATE_HZ)) / RATE_HZ
    noise = torch.randn(len(time_s), generator=torch.Generator().manual_seed(1))
    response = 0.05 * noise * 10.0 ** (-3.0 * time_s / rt60_s)
    response[0] = 1.0
    return response


# Values ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gain", [1.0, 0.01])
@pytest.mark.parametrize("rate_hz", [16000, 48000])
def test_the_noise_has_the_level_that_it_has_in_the_recording(tiny_prior, make_speech, gain, rate_hz):
    """The model starts from the noise floor, and is not updated here: no network enters."""
    recipe = Recipe(AnnealedSampler(n_steps=2, estimators=[]), NMFNoise())
    y = gain * torch.from_numpy(make_speech(2.0, rate_hz=rate_hz))  # noise of RMS 0.02
    physics = Restorer(tiny_prior, recipe=recipe).restore(y, rate_hz).physics
    above_the_tones_db = 10 * physics.noise_psd[0, 80:250].log10()
    expected_db = 20 * math.log10(0.02 * gain) - 10 * math.log10(rate_hz / 2)
    assert float(above_the_tones_db.mean()) == pytest.approx(expected_db, abs=1.5)  # of the floor
    total_db = 10 * (physics.noise_psd[0].sum() * RATE_HZ / 512).log10()
    assert float(physics.noise_level_db[0]) == pytest.approx(float(total_db), abs=1e-3)


@pytest.mark.parametrize("n_fft", [512, 511])
def test_a_density_integrates_to_the_mean_square(n_fft):
    flat = STFT(n_fft)
    exact = one_sided_psd(torch.full((flat.n_bins,), flat.window_energy), flat, RATE_HZ)  # of unit variance
    assert float(exact.sum() * RATE_HZ / n_fft) == pytest.approx(1.0, abs=1e-5)
    wave = 0.3 * torch.randn(1, 160000, generator=torch.Generator().manual_seed(0))
    stft = STFT()
    psd = one_sided_psd(stft(wave).abs().square().mean(-1), stft, RATE_HZ)
    assert float(psd.sum() * RATE_HZ / stft.n_fft) == pytest.approx(0.09, rel=0.02)


def test_the_spread_is_that_of_the_samples():
    generator = torch.Generator().manual_seed(0)
    samples = torch.stack([torch.full((2, 16000), 1.0)] * 50)
    samples[:, 0] += 0.1 * torch.randn(50, 16000, generator=generator)
    loose, sure = spread_of(samples, RATE_HZ)
    assert loose["level_db"] == pytest.approx(-20.0, abs=0.2)
    assert loose["relative_db"] == pytest.approx(-20.0, abs=0.2)
    density = np.array(loose["psd_db_per_hz"])
    assert np.median(density) == pytest.approx(-20 - 10 * math.log10(RATE_HZ / 2), abs=0.3)
    assert sure["relative_db"] < -100
    stft = STFT()
    expected = torch.stack([stft(sample) for sample in samples[:, 0]])
    found = variance_of(stft(sample) for sample in samples[:, 0])
    torch.testing.assert_close(found.mean(), expected.var(0).mean(), rtol=1e-2, atol=0)


def test_every_part_of_the_model_is_described_for_the_channels_that_were_restored(tiny_prior, make_speech):
    y = torch.from_numpy(make_speech(channels=3))
    y[1] = 0
    degradation = Chain([Gain(), Room(room_response()[None]), LowPass(7000.0)])
    recipe = Recipe(AnnealedSampler(Unguided(), estimators=[], n_steps=2), WhiteNoise(1e-3), degradation)
    physics = Restorer(tiny_prior, recipe=recipe, n_samples=2).restore(y, RATE_HZ).physics
    assert physics.channels == [0, 2]
    assert physics.values["room_response"].shape[:2] == (2, 2)
    assert physics.noise_psd is None  # it was given and not found
    for channel, found in zip((0, 2), physics.summary(), strict=True):
        assert found["channel"] == channel
        assert found["room"]["rt60_s"] == pytest.approx(0.3, abs=0.03)
        assert found["gain_db"] == 0.0
        assert found["cutoff_hz"] == 7000.0
    json.dumps(physics.summary(), allow_nan=False)


def test_clipping_and_gaps_are_described_at_the_level_of_the_recording(
    tiny_prior, make_speech, short_presets
):
    speech = torch.from_numpy(make_speech())
    clipped = Restorer(tiny_prior, task="declip").restore(speech.clamp(-0.07, 0.07), RATE_HZ)
    assert clipped.physics.summary()[0]["clipping_threshold"] == pytest.approx(0.07, rel=1e-3)
    speech[:, 1000:1800] = 0.0
    found = Restorer(tiny_prior, task="packet_loss").restore(speech, RATE_HZ).physics.summary()[0]
    assert found["received_share"] == pytest.approx(0.9)


def test_samples_that_differ_have_a_spread_of_their_physics(tiny_prior, make_speech):
    y = torch.from_numpy(make_speech())
    recipe = Recipe(AnnealedSampler(n_steps=2), NMFNoise(), Chain([Gain(), Mixing()]))
    physics = Restorer(tiny_prior, recipe=recipe, n_samples=3).restore(y, RATE_HZ).physics
    assert "gain_db_std" not in physics.summary()[0]
    physics.values["gain_db"][0, :, 0] = torch.tensor([0.0, 1.0, 2.0])
    found = physics.summary()[0]
    assert (found["gain_db"], found["gain_db_std"]) == (1.0, pytest.approx(1.25**0.5, rel=1e-3))


# Files -----------------------------------------------------------------------------------------------


def test_summary_and_picture_are_written_when_asked_for(
    tiny_prior_folder, make_speech, tmp_path, short_presets
):
    for name, channels in (("a.wav", 1), ("b.flac", 2)):
        soundfile.write(tmp_path / name, make_speech(0.4, channels, 44100).T, 44100)
        target, prior = str(tmp_path / "out"), f"--prior={tiny_prior_folder}"
        plain = ["restore", str(tmp_path / name), target, prior]
        assert main(plain) == 0
        assert not list((tmp_path / "out").glob("*.json")) + list((tmp_path / "out").glob("*.png"))
        assert main([*plain, "--physics", "--samples=2", "--overwrite"]) == 0
        found = json.loads((tmp_path / "out" / name).with_suffix(".json").read_text(encoding="utf-8"))
        assert (found["recording"], found["rate_hz"], found["samples"]) == (name, 44100, 2)
        assert [channel["channel"] for channel in found["channels"]] == list(range(channels))
        for channel in found["channels"]:
            assert len(channel["noise"]["psd_db_per_hz"]) == len(channel["noise"]["frequency_hz"]) == 257
            assert -60 < channel["noise"]["level_db"] < -20
            assert channel["spread"]["relative_db"] < 20
        assert (tmp_path / "out" / name).with_suffix(".png").read_bytes().startswith(b"\x89PNG")
        for left in (".response.wav", ".failed" + Path(name).suffix):
            (tmp_path / "out" / f"{Path(name).stem}{left}").touch()
        assert main([*plain, "--overwrite"]) == 0  # what told of the audio before is gone
        assert [path.name for path in (tmp_path / "out").iterdir() if path.stem[0] == name[0]] == [name]


@pytest.mark.parametrize("own", ["[1]", "5", "no json"])
def test_an_overwrite_leaves_files_of_others_alone(
    own, tiny_prior_folder, make_speech, tmp_path, short_presets
):
    soundfile.write(tmp_path / "a.wav", make_speech(0.4, 1, 16000).T, 16000)
    (tmp_path / "out").mkdir()
    for name, content in (("a.json", own), ("a.png", "mine")):
        (tmp_path / "out" / name).write_text(content)
    assert (
        main(["restore", str(tmp_path / "a.wav"), str(tmp_path / "out"), f"--prior={tiny_prior_folder}"]) == 0
    )
    assert (tmp_path / "out" / "a.json").read_text() == own
    assert (tmp_path / "out" / "a.png").read_text() == "mine"


def test_one_channel_is_drawn_and_described_as_the_one_that_it_is(
    tiny_prior_folder, make_speech, tmp_path, short_presets
):
    soundfile.write(tmp_path / "a.wav", make_speech(0.4, 3).T, 16000)
    for channels, expected in (("2", 2), ("mean", "mean")):
        command = ["restore", str(tmp_path / "a.wav"), str(tmp_path / channels), f"--channels={channels}"]
        assert main([*command, f"--prior={tiny_prior_folder}", "--physics", "--samples=2"]) == 0
        found = json.loads((tmp_path / channels / "a.json").read_text(encoding="utf-8"))
        assert [channel["channel"] for channel in found["channels"]] == [expected]


def test_a_known_room_from_the_command_line(tiny_prior_folder, make_speech, tmp_path, short_presets, capsys):
    soundfile.write(tmp_path / "a.wav", make_speech(0.5).T, 16000)
    response = torch.nn.functional.pad(room_response(), (700, 0))  # the way through the air
    write_audio(tmp_path / "room.wav", response[None].repeat_interleave(3, dim=-1), 48000, "FLOAT")
    command = ["restore", str(tmp_path / "a.wav"), str(tmp_path / "out"), f"--prior={tiny_prior_folder}"]
    rir = f"--rir={tmp_path / 'room.wav'}"
    assert main([*command, "--task=dereverb", rir, "--physics"]) == 0, capsys.readouterr().err
    found = json.loads((tmp_path / "out" / "a.json").read_text(encoding="utf-8"))
    assert found["channels"][0]["room"]["rt60_s"] == pytest.approx(0.3, abs=0.03)
    written, info = read_audio(tmp_path / "out" / "a.response.wav")
    assert info.rate_hz == 16000
    assert int(written.abs().argmax()) == 0
    assert main([*command, "--task=enhance", rir]) == 2
    assert "the task enhance has no room response" in capsys.readouterr().err


def test_room_responses_that_do_not_fit(tiny_prior, tmp_path):
    def refused(error, words, name="room.wav", task="dereverb"):
        with pytest.raises(error, match=words):
            Restorer(tiny_prior, task=task, rir=tmp_path / name)

    refused(AudioError, "room.wav does not exist")
    write_audio(tmp_path / "stereo.wav", torch.randn(2, 8000), 16000)
    refused(DataError, "has 2 channels, expected one: .* -af pan=mono", "stereo.wav")
    write_audio(tmp_path / "narrow.wav", room_response()[None], 8000)
    refused(DataError, "has 8000 Hz, expected at least the 16000 Hz", "narrow.wav")
    write_audio(tmp_path / "silent.wav", torch.zeros(1, 8000), 16000)
    refused(DataError, "is silent", "silent.wav")
    (tmp_path / "text.wav").write_text("no audio")
    refused(AudioError, "is not audio", "text.wav")
    refused(ConfigError, "the task declip has no room response", "stereo.wav", "declip")


# Experiments as presets --------------------------------------------------------------------------------


def test_an_experiment_is_a_preset(tiny_prior, make_speech, tmp_path):
    y = torch.from_numpy(make_speech(0.3))
    text = """
model:
  init_args:
    sampler:
      class_path: diffsr.samplers.AnnealedSampler
      init_args: {n_steps: 3, churn: 2.0, guidance: {class_path: diffsr.samplers.NoisePerturbed}}
    likelihood: {class_path: diffsr.likelihoods.NMFNoise}
"""
    (tmp_path / "mine.yaml").write_text(text)
    found = Restorer(tiny_prior, preset=tmp_path / "mine.yaml").restore(y, RATE_HZ)
    assert found.n_calls == 3
    recipe = make_recipe("enhance")
    assert type(recipe.sampler.estimators[0]) is UpdateNoise
    for name, value in (("cutoff_hz", 4000.0), ("rir", tmp_path / "room.wav")):
        with pytest.raises(ConfigError, match=f"{name} is .* Leave {name} out"):
            Restorer(tiny_prior, preset=tmp_path / "mine.yaml", **{name: value})
    with pytest.raises(ConfigError, match=r"no experiment .*gone.yaml; expected a YAML file"):
        Restorer(tiny_prior, preset=tmp_path / "gone.yaml")
