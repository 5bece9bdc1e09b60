"""Restoring arrays and single recordings from Python."""

from __future__ import annotations

import math
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from diffsr import Restorer, load_prior, restore
from diffsr.errors import AudioError, CheckpointError, ConfigError
from diffsr.io.audio import read_audio, write_audio
from diffsr.recipes import Recipe
from diffsr.restoration import UnfinishedError
from diffsr.restoration.arrays import full_scale_of
from diffsr.samplers import AnnealedSampler


@pytest.fixture
def restorer(tiny_prior):
    return Restorer(tiny_prior, recipe=Recipe(AnnealedSampler(n_steps=4)))


@pytest.fixture(autouse=True)
def short_presets(monkeypatch):
    monkeypatch.setattr("diffsr.recipes.by_name.PRESETS", {"default": 4, "fast": 3})


@pytest.mark.parametrize("gain", [0.1, 1e-3, 20.0, 32768.0, 1e8])
def test_level_comes_back(restorer, make_speech, gain):
    y = torch.from_numpy(make_speech())
    one = restorer.restore(y, 16000).wave
    scaled = restorer.restore(gain * y, 16000).wave
    torch.testing.assert_close(scaled / gain, one, rtol=1e-2, atol=1e-2 * float(one.std()))


@pytest.mark.parametrize("rate_hz", [8000, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_rate_length_and_channels_come_back(restorer, make_speech, rate_hz, channels):
    y = torch.from_numpy(make_speech(0.3, channels, rate_hz))[:, :-1]  # a length that no ratio divides
    result = restorer.restore(y, rate_hz)
    assert result.wave.shape == y.shape
    assert result.rate_hz == rate_hz
    assert result.n_calls == 4
    assert bool(result.wave.isfinite().all())
    assert result.wave.std() > 0


@pytest.mark.parametrize("seconds", [0.1, 0.3, 0.55, 3.0, 30.0])
def test_any_length(restorer, make_speech, seconds):
    y = torch.from_numpy(make_speech(seconds))
    out = restorer.restore(y, 16000).wave
    assert out.shape == y.shape
    quarters = out.unflatten(-1, (4, -1)).std(-1)
    assert bool((quarters > 0.1 * quarters.max()).all())  # no part is left out


def test_a_restoration_starts_when_the_recording_does(tiny_prior, make_speech):
    """Time is not shifted: with a network that changes nothing, the result is nearly the recording."""
    silent_network = load_prior_like(tiny_prior)
    y = torch.zeros(1, 8000)
    y[:, 3000:5000] = torch.from_numpy(make_speech(0.125))
    out = Restorer(silent_network, recipe=Recipe(AnnealedSampler(n_steps=8))).restore(y, 16000).wave[0]
    lag = torch.fft.irfft(torch.fft.rfft(out, 16000) * torch.fft.rfft(y[0], 16000).conj()).argmax()
    assert lag == 0


def load_prior_like(prior):
    from diffsr.diffusion import Prior

    twin = Prior.from_config(prior.config).eval().requires_grad_(False)
    for parameter in twin.parameters():
        parameter.zero_()
    return twin


def test_silent_channel_stays_silent_and_changes_nothing(restorer, make_speech):
    y = torch.from_numpy(make_speech(channels=2))
    y[1] = 0
    out = restorer.restore(y, 16000).wave
    assert out[1].abs().max() == 0
    torch.testing.assert_close(out[:1], restorer.restore(y[:1], 16000).wave, rtol=1e-3, atol=1e-5)


def test_channels_each_mean_and_number(tiny_prior, make_speech):
    y = torch.from_numpy(make_speech(channels=3))
    recipe = Recipe(AnnealedSampler(n_steps=4))

    def with_channels(channels):
        return Restorer(tiny_prior, recipe=recipe, channels=channels).restore(y, 16000).wave

    plain = Restorer(tiny_prior, recipe=recipe)
    assert with_channels("each").shape == (3, 8000)
    assert torch.equal(with_channels("mean"), plain.restore(y.mean(0, keepdim=True), 16000).wave)
    for number, expected in enumerate(with_channels("each")):
        torch.testing.assert_close(with_channels(number)[0], expected, rtol=1e-3, atol=1e-5)
    assert not torch.allclose(with_channels(2), plain.restore(y[2:], 16000).wave, atol=1e-3)  # as channel 0
    assert torch.equal(with_channels("2"), with_channels(2))
    with pytest.raises(ConfigError, match="has 3; expected each, mean or a number from 0 to 2"):
        with_channels(3)


def test_the_function_takes_what_the_class_takes_for_one_recording(tiny_prior, make_speech):
    y = torch.from_numpy(make_speech(channels=3))
    options = {"device": "cpu", "precision": "float32", "channels": 2}
    of_class = Restorer(tiny_prior, **options).restore(y, 16000).wave
    assert torch.equal(restore(y, tiny_prior, 16000, **options).wave, of_class)
    for option, words in ({"device": "warp"}, "warp"), ({"precision": "half"}, "no precision 'half'"):
        with pytest.raises(ConfigError, match=words):
            restore(y, tiny_prior, 16000, **option)


def test_seed_and_identity_decide_the_result(tiny_prior, make_speech):
    y = torch.from_numpy(make_speech())
    recipe = Recipe(AnnealedSampler(n_steps=4, churn=1.0), n_samples=2)

    def restored(seed, item_id):
        return Restorer(tiny_prior, recipe=recipe, seed=seed).restore(y, 16000, item_id).wave

    a = restored(1, "a")
    assert torch.equal(a, restored(1, "a"))
    for other in (restored(2, "a"), restored(1, "b")):
        assert float((other - a).std()) > 0.02 * float(a.std())


def test_a_restorer_keeps_nothing_of_the_last_recording(restorer, make_speech):
    y = torch.from_numpy(make_speech())
    first = restorer.restore(y, 16000).wave
    restorer.restore(torch.from_numpy(make_speech(0.8, channels=2, seed=5)), 16000, "other")
    assert torch.equal(first, restorer.restore(y, 16000).wave)


def test_global_random_state_is_left_alone(restorer, make_speech):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    restorer.restore(torch.from_numpy(make_speech()), 16000)
    assert torch.equal(before, torch.get_rng_state())


def test_steps_are_told(restorer, make_speech):
    told = []
    restorer.restore(torch.from_numpy(make_speech()), 16000, on_step=lambda *step: told.append(step))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


# Arrays ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "convert",
    [
        lambda y: y[0],
        lambda y: y,
        lambda y: y[0].astype(np.float64),
        lambda y: y[0].astype(np.float16),
        lambda y: torch.from_numpy(y),
        lambda y: torch.from_numpy(y[0]).double(),
        lambda y: torch.from_numpy(y).requires_grad_(),
        lambda y: y[0, ::-1],
        lambda y: np.broadcast_to(y[:1], y.shape),
    ],
    ids=[
        "[T]",
        "[C, T]",
        "float64",
        "float16",
        "tensor",
        "float64 tensor",
        "with gradient",
        "reversed view",
        "read-only view",
    ],
)
def test_arrays_come_back_as_they_are(tiny_prior, make_speech, convert):
    y = convert(make_speech(channels=2))
    before = y.clone() if isinstance(y, torch.Tensor) else y.copy()
    out = restore(y, prior=tiny_prior, rate_hz=16000).wave
    assert type(out) is type(y)
    assert out.shape == y.shape
    assert out.dtype == y.dtype
    assert (y == before).all()


def test_a_restoration_shows_itself_in_a_line(tiny_prior, make_speech):
    wave = make_speech(0.4, channels=2)
    one = restore(wave, tiny_prior, 16000, preset="fast")
    assert repr(one).startswith(
        f"Restoration(wave [2, 6400] at 16000 Hz, 0.40 s; {one.n_calls} network calls in "
    )
    assert repr(one).endswith("s; physics)")
    assert repr(restore(wave[0], tiny_prior, 16000, preset="fast", n_samples=2)).endswith(
        "; samples; physics)"
    )


def test_integers_come_back_as_floats_of_their_level(tiny_prior, make_speech):
    y = make_speech()
    one = restore(y, prior=tiny_prior, rate_hz=16000).wave
    out = restore((32768 * y).astype(np.int16), prior=tiny_prior, rate_hz=16000).wave
    assert out.dtype == np.float32
    assert np.abs(out / 32768 - one).std() < 0.05 * one.std()


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64])
def test_integers_are_saved_at_the_level_of_their_bits(tiny_prior, make_speech, dtype, tmp_path):
    """Also where 16 bits were widened; a restart or sample as well."""
    y = (32768 * make_speech()).astype(np.int16).astype(dtype)
    done = restore(y, prior=tiny_prior, rate_hz=16000, n_samples=2)
    assert done.full_scale == 32768
    wave, _ = read_audio(done.save(tmp_path / "out.wav"))
    np.testing.assert_allclose(wave.numpy(), done.wave / 32768, atol=4e-5)
    sample, _ = read_audio(done.save_samples(tmp_path / "samples")[1])
    np.testing.assert_allclose(sample.numpy(), done.samples[1] / 32768, atol=4e-5)
    noise_db = done.physics.summary()[0]["noise"]
    as_floats = restore(y / 32768, prior=tiny_prior, rate_hz=16000, n_samples=2)
    assert noise_db == as_floats.physics.summary()[0]["noise"]


@pytest.mark.parametrize(
    ("wave", "full_scale"),
    [
        (np.array([[-128, 5]], np.int8), 128),
        (np.array([[3, -7]], np.int16), 32768),
        (np.array([[2**20, 0]], np.int32), 2**23),
        (torch.tensor([[2**30]], dtype=torch.int32), 2**31),
        (np.array([[2**40]]), 2**63),
        (np.array([[3e4, 1.0]]), 1),
        (np.zeros((1, 0), np.int16), 1),
    ],
)
def test_full_scale(wave, full_scale):
    assert full_scale_of(wave) == full_scale


@pytest.mark.parametrize("kind", [">f4", ">f8", "longdouble"])
def test_floats_of_other_machines_come_back_as_those_of_this_one(tiny_prior, make_speech, kind):
    y = make_speech()
    out = restore(y.astype(kind), prior=tiny_prior, rate_hz=16000).wave
    assert out.dtype == (np.float32 if kind == ">f4" else np.float64)
    assert np.array_equal(out.astype(np.float32), restore(y, prior=tiny_prior, rate_hz=16000).wave)


def test_threads_take_turns(restorer, make_speech):
    waves = [make_speech(seed=seed) for seed in range(4)]
    alone = [restorer.restore(wave, 16000, str(k)).wave for k, wave in enumerate(waves)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda k: restorer.restore(waves[k], 16000, str(k)).wave, range(4)))
    assert all(torch.equal(one, two) for one, two in zip(alone, together, strict=True))


def test_restorers_and_their_errors_go_to_other_processes(restorer, make_speech):
    twin = pickle.loads(pickle.dumps(restorer))
    assert torch.equal(twin.restore(make_speech(), 16000).wave, restorer.restore(make_speech(), 16000).wave)
    error = pickle.loads(pickle.dumps(UnfinishedError("lost", restorer.restore(make_speech(), 16000))))
    assert str(error) == "lost"
    assert error.best.rate_hz == 16000


def test_a_channel_without_the_damage_keeps_all_of_its_band(tiny_prior, make_speech):
    """A stereo recording whose left channel ends at 3 kHz, and whose right one does not."""
    noise = 0.05 * torch.randn(1, 22050, generator=torch.Generator().manual_seed(0))
    hz = torch.fft.rfftfreq(22050, 1 / 44100)
    left = torch.fft.irfft(torch.fft.rfft(noise) * (hz < 3000), n=22050)
    both = torch.cat([left, noise.flip(-1)])
    done = Restorer(tiny_prior, "bandwidth", "fast").restore(both, 44100)
    assert done.rate_hz == 44100
    assert torch.equal(done.wave[1], both[1])
    assert not torch.equal(done.wave[0], both[0])


def test_a_restorer_takes_arrays(restorer, make_speech):
    y = make_speech(channels=2)
    from_array = restorer.restore(y, np.int64(16000)).wave
    assert torch.equal(from_array, restorer.restore(torch.from_numpy(y), 16000.0).wave)


def test_a_file_gives_what_its_samples_give(tiny_prior, make_speech, tmp_path):
    write_audio(tmp_path / "a.wav", torch.from_numpy(make_speech(channels=2)), 16000)
    wave, info = read_audio(tmp_path / "a.wav")
    from_samples = Restorer(tiny_prior, seed=4).restore(wave, info.rate_hz, "a")
    from_file = restore(tmp_path / "a.wav", prior=tiny_prior, seed=4)
    assert torch.equal(from_samples.wave, from_file.wave)
    saved = from_file.save(tmp_path / "deep" / "out.wav", "PCM_24")
    back, info = read_audio(saved)
    assert info.subtype == "PCM_24"
    torch.testing.assert_close(back, from_file.wave.clamp(-1, 1), rtol=0, atol=1e-6)


def test_the_home_folder_in_paths(tiny_prior, make_speech, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    write_audio(tmp_path / "a.wav", torch.from_numpy(make_speech()), 16000)
    write_audio(tmp_path / "rir.wav", torch.eye(1, 800), 16000)
    done = restore("~/a.wav", tiny_prior, task="dereverb", preset="fast", rir="~/rir.wav")
    assert done.wave.shape == (1, 8000)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"recipe": Recipe(AnnealedSampler(n_steps=4)), "cutoff_hz": 4000},
            "cutoff_hz is 4000 and there is",
        ),
        ({"recipe": Recipe(AnnealedSampler(n_steps=4)), "rir": "rir.wav"}, "rir is rir.wav and there is a"),
        ({"channels": "left"}, "channels is 'left'; expected each, mean or a number"),
        ({"channels": -1}, "channels is '-1'; expected each, mean or a number"),
        ({"seed": None}, "seed is None; expected a whole number"),
        ({"seed": 1.5}, "seed is 1.5; expected a whole number"),
    ],
)
def test_options_that_would_do_nothing_or_something_else(tiny_prior, options, words):
    with pytest.raises(ConfigError, match=words):
        Restorer(tiny_prior, **options)


def test_a_file_says_its_rate(tiny_prior, tmp_path):
    with pytest.raises(ConfigError, match="Leave rate_hz out"):
        restore(tmp_path / "a.wav", tiny_prior, rate_hz=16000)


def test_an_array_needs_its_rate(tiny_prior, make_speech):
    with pytest.raises(ConfigError, match="rate_hz=16000"):
        restore(make_speech(), prior=tiny_prior)


@pytest.mark.parametrize(
    ("wave", "rate_hz", "words"),
    [
        (torch.zeros(1, 0), 16000, "lasts 0.0000 s"),
        (torch.zeros(1, 1), 16000, "samples: 1, 16000 Hz"),
        (torch.randn(1, 1599), 16000, "expected at least 0.1 s"),
        (torch.zeros(0, 8000), 16000, "shape \\(0, 8000\\)"),
        (torch.zeros(8000), 16000, "shape \\(8000,\\)"),
        (torch.zeros(1, 1, 8000), 16000, "expected \\[channels, T\\]"),
        (torch.randn(8000, 2), 16000, "8000 channels of 2 samples.* Transpose"),
        (1e20 * torch.randn(1, 8000), 16000, "at most 1e\\+09. Scale it down"),
        (torch.zeros(2, 8000), 16000, "is silent"),
        (torch.full((1, 8000), 0.3), 16000, "is silent"),
        (torch.zeros(1, 8000).index_fill(1, torch.tensor(7), 1e-7), 16000, "is silent"),
        (torch.full((1, 8000), math.nan), 16000, "NaN or infinite"),
        (torch.randn(1, 8000).index_fill(1, torch.tensor(7), math.inf), 16000, "NaN or infinite"),
        (torch.randn(1, 8000).sign(), 16000, "clipped in 100%"),
        (
            torch.randn(1, 8000, dtype=torch.complex64),
            16000,
            "of type torch.complex64; expected floating point",
        ),
        (np.full((1, 8000), 128, "uint8"), 16000, "of type uint8; .* half of their range"),
        (np.zeros((1, 8000), bool), 16000, "of type bool"),
        (np.zeros((1, 8000), object), 16000, "of type object"),
        ([[0.0] * 8000], 16000, "is of type list; .*numpy.asarray"),
        (torch.randn(1, 8000), "16000", "sampling rate is '16000'; expected a whole number"),
        (torch.randn(1, 8000), 16000.5, "sampling rate is 16000.5"),
        (torch.randn(1, 8000), True, "sampling rate is True"),
        (torch.randn(1, 8000), 0, "sampling rate is 0"),
        (torch.randn(1, 8000), 1, "sampling rate is 1 Hz; expected at least 1000 Hz"),
    ],
)
def test_what_cannot_be_restored(restorer, wave, rate_hz, words):
    with pytest.raises((AudioError, ConfigError), match=words) as caught:
        restorer.restore(wave, rate_hz)
    assert "\n" not in str(caught.value)


def test_a_faint_recording_is_restored(restorer, make_speech):
    y = 1e-4 * torch.from_numpy(make_speech())
    out = restorer.restore(y, 16000).wave
    torch.testing.assert_close(1e4 * out, restorer.restore(1e4 * y, 16000).wave, rtol=0.05, atol=0.02)


def test_sound_above_the_band_of_the_prior_gives_silence(restorer):
    time_s = torch.arange(24000) / 48000
    y = 1e-5 * torch.sin(2 * torch.pi * 20000 * time_s)[None]
    out = restorer.restore(y, 48000).wave
    assert out.shape == y.shape
    assert out.abs().max() < 1e-4


# Priors ----------------------------------------------------------------------------------------


def test_a_run_folder_stands_for_its_prior(tiny_prior, tmp_path, make_speech):
    run = tmp_path / "run"
    tiny_prior.save_pretrained(run / "prior")
    (run / "config.yaml").write_text("model: {}\n")
    y = torch.from_numpy(make_speech())
    assert torch.equal(Restorer(run).restore(y, 16000).wave, Restorer(tiny_prior).restore(y, 16000).wave)


def test_a_run_that_is_not_finished_stands_for_its_checkpoint(tiny_prior, tmp_path):
    weights = {f"prior.{name}": tensor for name, tensor in tiny_prior.state_dict().items()}
    (tmp_path / "checkpoints").mkdir()
    checkpoint = {"diffsr_prior": tiny_prior.config, "state_dict": weights}
    torch.save(checkpoint, tmp_path / "checkpoints" / "last.ckpt")
    loaded = load_prior(tmp_path).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tiny_prior.state_dict().items())


def test_no_prior(tmp_path):
    with pytest.raises(CheckpointError, match="not a prior folder"):
        load_prior(tmp_path)
    with pytest.raises(CheckpointError, match="No prior at"):
        Restorer(tmp_path / "gone")


@pytest.mark.parametrize("device", ["cuda:77", "warp", "meta:x", "meta"])
def test_devices_that_are_not_there(tiny_prior, device):
    with pytest.raises(ConfigError, match=f"Device {device} cannot be used") as caught:
        Restorer(tiny_prior, device=device)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"talkers": 3}, "talkers is 3 and the recipe has n_sources 1"), ({}, "n_samples of the recipe is 0")],
)
def test_recipes_that_cannot_be_are_refused(tiny_prior, options, words):
    recipe = Recipe(n_samples=1 if options else 0)
    with pytest.raises(ConfigError, match=words):
        Restorer(tiny_prior, recipe=recipe, **options)


def test_a_channel_that_is_heard_twice_is_restored_once(tiny_prior, make_speech):
    left, other = torch.from_numpy(make_speech(channels=2))
    restorer = Restorer(tiny_prior)
    found = restorer.restore(torch.stack([left, other, left, torch.zeros_like(left)]), 16000, "a")
    assert torch.equal(found.wave[0], found.wave[2])
    assert not torch.equal(found.wave[0], found.wave[1])
    torch.testing.assert_close(found.wave[:1], restorer.restore(left[None], 16000, "a").wave)
    assert [one["channel"] for one in found.physics.summary()] == [0, 1]
    assert not found.wave[3].any()


def test_a_run_that_has_trained_on_gives_its_newer_checkpoint(tiny_prior, tmp_path, caplog):
    state = {f"prior.{name}": value for name, value in tiny_prior.state_dict().items()}
    tiny_prior.save_pretrained(tmp_path / "prior")
    newer = {name: value + 1 for name, value in state.items()}
    (tmp_path / "checkpoints").mkdir()
    checkpoint = {"state_dict": newer, "diffsr_prior": tiny_prior.config}
    torch.save(checkpoint, tmp_path / "checkpoints" / "last.ckpt")
    written_s = (tmp_path / "prior" / "config.yaml").stat().st_mtime
    name, value = next(iter(tiny_prior.state_dict().items()))
    for later_s, expected in ((-5, value), (5, value + 1)):
        os.utime(tmp_path / "checkpoints" / "last.ckpt", (written_s + later_s,) * 2)
        assert torch.equal(load_prior(tmp_path).state_dict()[name], expected)
        assert ("the newer checkpoint is taken" in caplog.text) == (later_s > 0)


def test_a_rate_in_the_place_of_the_prior_is_told(make_speech):
    with pytest.raises(ConfigError, match="prior is 16000; .*rate_hz="):
        restore(make_speech(), 16000)
