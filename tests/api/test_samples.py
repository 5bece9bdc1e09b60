"""Several posterior samples, several recordings in one batch, and samplers that diverge."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import soundfile
import torch

from diffsr import Restorer, api, restore
from diffsr.cli import main
from diffsr.degradations import Chain, Clipping, Gain, LowPass, Mixing, PacketLoss
from diffsr.diffusion import WindowedPrior
from diffsr.diffusion.calibration import Calibration
from diffsr.errors import AudioError, ConfigError, DataError, DiffsrError
from diffsr.files import restore_path
from diffsr.io.audio import read_audio, write_audio
from diffsr.io.recordings import plan_outputs
from diffsr.likelihoods import NMFNoise, WhiteNoise
from diffsr.recipes import TASKS, Recipe, declip
from diffsr.restoration import UnfinishedError, one_talker
from diffsr.restoration.batch import batches
from diffsr.restoration.one_talker import mean_of
from diffsr.restoration.posterior import Posterior
from diffsr.restoration.side_files import SideFiles
from diffsr.restoration.solving import solve
from diffsr.restoration.spread import variance_of
from diffsr.samplers import (
    AnnealedSampler,
    LogSpectralMean,
    NoisePerturbed,
    PowerCeiling,
    Projection,
    Renoise,
)

N_STEPS = 4


def enhance(n_steps: int = N_STEPS) -> Recipe:
    return Recipe(AnnealedSampler(n_steps=n_steps), NMFNoise())


def repair() -> Recipe:
    return Recipe(
        AnnealedSampler(Projection(), Renoise(sampled=False), [], N_STEPS, churn=0.0),
        WhiteNoise(1e-5),
        PacketLoss(),
    )


@pytest.fixture
def speech(make_speech) -> torch.Tensor:
    return torch.from_numpy(make_speech(channels=2))


# Samples ---------------------------------------------------------------------------------------------


def test_the_result_is_the_mean_of_the_samples_and_has_their_spread(tiny_prior, speech):
    done = Restorer(tiny_prior, recipe=enhance(), n_samples=3).restore(speech, 16000)
    assert done.samples.shape == (3, 2, 8000)
    torch.testing.assert_close(done.wave, done.samples.mean(0), rtol=0, atol=1e-6)
    torch.testing.assert_close(done.std, variance_of(done.samples).sqrt())
    for a, b in ((0, 1), (1, 2)):
        assert not torch.allclose(done.samples[a], done.samples[b], atol=1e-3)
    assert done.n_calls == 3 * N_STEPS
    one = Restorer(tiny_prior, recipe=enhance()).restore(speech, 16000)
    assert one.samples is None
    assert one.std is None


def test_the_first_sample_is_the_single_one_where_nothing_is_estimated(tiny_prior, speech):
    """A noise model is shared by the samples, and so differs from that of a single one."""
    y = speech.clone()
    y[:, 1000:1500] = 0
    one = Restorer(tiny_prior, recipe=repair()).restore(y, 16000).wave
    done = Restorer(tiny_prior, recipe=repair(), n_samples=3).restore(y, 16000)
    torch.testing.assert_close(done.samples[0], one, rtol=0, atol=1e-5)
    received = y != 0
    assert torch.equal(done.wave[received], y[received])  # to the last bit, in spite of the mean
    assert bool((done.std[:, 1000:1500] > 0).any())
    assert float(done.std[received].abs().max()) == 0


def test_samples_have_rate_level_and_kind_of_the_recording(tiny_prior, make_speech):
    y = make_speech(0.3, rate_hz=44100)[0]
    done = restore(y, tiny_prior, 44100, n_samples=2, preset="fast")
    assert isinstance(done.samples, np.ndarray)
    assert isinstance(done.std, np.ndarray)
    assert done.samples.shape == (2, *y.shape)
    assert done.std.shape == done.wave.shape == y.shape
    louder = restore(100 * y, tiny_prior, 44100, n_samples=2, preset="fast")
    assert np.abs(louder.samples / 100 - done.samples).max() < 0.02 * np.abs(done.samples).max()


def test_a_mean_of_equal_samples_is_exact():
    wave = torch.rand(1, 999, generator=torch.Generator().manual_seed(0))
    assert torch.equal(mean_of(wave.expand(7, 1, 999)), wave)


@pytest.mark.parametrize(("name", "option"), [("n_samples", "--samples"), ("batch", "--batch")])
def test_no_number_of_them_is_refused(tiny_prior, name, option):
    for wrong in (0, -1, 2.5, True, "2"):
        with pytest.raises(ConfigError, match=f"{name} is {wrong!r}; expected a whole number .*{option}"):
            Restorer(tiny_prior, **{name: wrong})


# Batches ---------------------------------------------------------------------------------------------


def test_members_of_a_batch_have_one_length_and_are_few_enough():
    lengths = {0: 5, 1: 7, 2: 5, 3: 5, 4: 7, 5: 5, 6: 9}
    assert batches(lengths, 2) == [[0, 2], [1, 4], [3, 5], [6]]
    assert batches(lengths, 1) == [[0], [1], [2], [3], [4], [5], [6]]
    assert batches({}, 3) == []


@pytest.mark.parametrize("n_samples", [1, 2])
def test_recordings_of_a_batch_come_out_as_each_alone(tiny_prior, make_speech, n_samples):
    waves = [torch.from_numpy(make_speech(0.5, c, seed=c)) for c in (1, 2)]
    waves += [0.1 * torch.from_numpy(make_speech(0.5, 1, 8000)), torch.from_numpy(make_speech(0.3))]
    rates, ids = [16000, 16000, 8000, 16000], ["a", "b", "c", "d"]
    alone = Restorer(tiny_prior, recipe=enhance(), n_samples=n_samples)
    expected = [alone.restore(*one).wave for one in zip(waves, rates, ids, strict=True)]
    together = Restorer(tiny_prior, recipe=enhance(), n_samples=n_samples, batch=3)
    for order in ([0, 1, 2, 3], [3, 2, 1, 0]):
        found = together.restore_many(*([values[k] for k in order] for values in (waves, rates, ids)))
        for k, one in zip(order, found, strict=True):
            torch.testing.assert_close(one.wave, expected[k], rtol=0, atol=1e-5)


def test_what_is_wrong_with_one_of_many_is_told_in_its_place(tiny_prior, speech):
    restorer = Restorer(tiny_prior, recipe=enhance(), batch=4)
    waves = [speech, torch.zeros(1, 8000), speech[:, :100], 1e-5 * torch.ones(1, 3)]
    found = restorer.restore_many(waves, [16000] * 4, list("abcd"))
    assert [isinstance(one, DiffsrError) for one in found] == [False, True, True, True]
    assert "silent" in str(found[1])


def test_a_batch_too_large_for_the_memory_is_halved(tiny_prior, make_speech, monkeypatch):
    waves = [torch.from_numpy(make_speech(seed=k)) for k in range(5)]
    sizes = []

    def solve_few(posterior, *others):
        sizes.append(len(posterior.ids))
        if len(posterior.ids) > 2 or "e/0" in posterior.ids:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return solve(posterior, *others)

    monkeypatch.setattr(one_talker, "solve", solve_few)
    shares: list[float] = []
    restorer = Restorer(tiny_prior, recipe=enhance(), batch=8)
    told = lambda done, total: shares.append(done / total)  # noqa: E731
    found = restorer.restore_many(waves, [16000] * 5, list("abcde"), told)
    assert sizes == [5, 2, 3, 1, 2, 1, 1]
    assert shares == sorted(shares)
    assert [isinstance(one, AudioError) for one in found] == [False] * 4 + [True]
    assert "too long for this device's memory" in str(found[4])


def test_files_of_a_batch_are_written_as_each_alone(tiny_prior, make_speech, tmp_path):
    for number, (name, seconds) in enumerate([("a", 0.4), ("b", 0.3), ("c", 0.4), ("d", 0.4)]):
        wave = torch.from_numpy(make_speech(seconds, seed=number))
        write_audio(tmp_path / "in" / f"{name}.wav", wave, 16000, "FLOAT")
    (tmp_path / "in" / "b2.wav").write_text("no recording")
    restore_path(tmp_path / "in", tmp_path / "one", Restorer(tiny_prior, recipe=enhance()))
    told: list[tuple] = []
    together = Restorer(tiny_prior, recipe=enhance(), batch=3)
    reports = restore_path(
        tmp_path / "in", tmp_path / "many", together, on_progress=lambda *p: told.append(p)
    )
    assert [report.path.name for report in reports] == ["a.wav", "b.wav", "b2.wav", "c.wav", "d.wav"]
    assert [report.status for report in reports].count("restored") == 4
    for name in "abcd":
        one, many = (read_audio(tmp_path / folder / f"{name}.wav")[0] for folder in ("one", "many"))
        torch.testing.assert_close(many, one, rtol=0, atol=1e-5)
    shares = [(done + step / steps) / files for done, files, _, step, steps in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1


# Divergence ------------------------------------------------------------------------------------------


def spiky(wave: torch.Tensor) -> torch.Tensor:
    wave = wave.clone()
    wave[0, 4000] = 2.0
    return wave


class Diverges(Projection):
    """Not finite for recordings with a spike; gentle once its weight is halved."""

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def correct(self, z, x0, sigma, problem):
        spikes = problem.y.abs().amax((1, 2), keepdim=True) > 1.0
        bad = spikes & (sigma < 0.1)[:, None, None] & (self.weight > 0.4)
        return torch.where(bad, torch.nan, super().correct(z, x0, sigma, problem))


def diverging(weight: float) -> Recipe:
    return Recipe(AnnealedSampler(Diverges(weight), n_steps=8, estimators=[], churn=0.0), NMFNoise())


def test_a_second_try_with_smaller_steps_touches_only_the_channel_that_diverged(tiny_prior, speech):
    good = Restorer(tiny_prior, recipe=diverging(0.0)).restore(speech, 16000)
    y = torch.stack([speech[0], spiky(speech[:1])[0]])
    done = Restorer(tiny_prior, recipe=diverging(0.5)).restore(y, 16000)
    torch.testing.assert_close(done.wave[0], good.wave[0], rtol=0, atol=1e-5)
    assert done.wave.isfinite().all()
    assert done.n_calls == 8 + 15


class LastOfFour(NoisePerturbed):
    """Not finite in the first try for the last of four channels."""

    def correct(self, z, x0, sigma, problem):
        lost = torch.arange(len(z)) >= (3 if len(z) > 1 else 1)
        return torch.where(lost[:, None, None], torch.nan, super().correct(z, x0, sigma, problem))


class LastDiverges(NoisePerturbed):
    """Not finite in the first try for the last of three recordings."""

    def correct(self, z, x0, sigma, problem):
        lost = torch.arange(len(z)) >= (2 if len(z) > 1 else 1)
        return torch.where(lost[:, None, None], torch.nan, super().correct(z, x0, sigma, problem))


def test_a_second_try_knows_what_was_given_for_its_own_recording(tiny_prior, speech):
    waves = torch.stack([speech[0], 0.9 * speech[0].flip(-1), speech[0].roll(2000)])
    known = {
        Gain(torch.tensor([[0.0], [3.0], [6.0]])): "gain_db",
        PacketLoss(torch.rand(3, waves.shape[-1]) > 0.1): "received",
        LowPass(torch.tensor([3000.0, 4000.0, 5000.0])): "cutoff_hz",
        Chain([Mixing(), Gain(torch.tensor([[0.0], [3.0], [6.0]]))]): "gain_db",
    }
    prior = WindowedPrior(tiny_prior, 0.5, 0.1)
    for degradation, name in known.items():
        sampler = AnnealedSampler(LastDiverges(), n_steps=3, estimators=[], churn=0.0)
        solved = solve(Posterior(waves, list("abc"), prior, Recipe(sampler, NMFNoise(), degradation)))
        assert not solved.failed
        assert solved.n_calls[2] > solved.n_calls[0]
        given = [
            part.known for part in getattr(degradation, "parts", [degradation]) if part.known is not None
        ]
        torch.testing.assert_close(solved.described[name].reshape(given[0].shape), given[0])


def test_what_was_given_for_each_recording_goes_with_its_channels_into_a_second_try(tiny_prior, speech):
    sampler = AnnealedSampler(LastOfFour(), n_steps=3, estimators=[], churn=0.0)
    cutoffs = LowPass(torch.tensor([3000.0, 5000.0]))
    restorer = Restorer(tiny_prior, recipe=Recipe(sampler, NMFNoise(), cutoffs), batch=2)
    done = restorer.restore_many([speech, 0.9 * speech.flip(-1)], [16000] * 2, ["a", "b"])
    assert [one.physics.values["cutoff_hz"].flatten().tolist() for one in done] == [
        [3000.0] * 2,
        [5000.0] * 2,
    ]
    assert done[1].n_calls > done[0].n_calls


@pytest.mark.parametrize("keeps", [1, 0])
def test_where_one_does_not_fit_the_halves_of_a_batch_keep_what_was_given(tiny_prior, speech, keeps):
    masks = torch.ones(2, 8000, dtype=torch.bool)
    masks[keeps, 3000:3300] = False
    masks[1 - keeps] = False  # receives nothing
    recipe = Recipe(AnnealedSampler(n_steps=3, estimators=[]), WhiteNoise(1e-4), PacketLoss(masks))
    done = Restorer(tiny_prior, recipe=recipe, batch=2).restore_many(
        [speech[:1]] * 2, [16000] * 2, ["a", "b"]
    )
    assert done[keeps].wave.isfinite().all()
    received = done[keeps].physics.values["received"].flatten()
    assert torch.equal(received.bool(), masks[keeps])
    with pytest.raises(DataError, match="receive nothing by their masks"):
        raise done[1 - keeps]


def test_a_recording_that_does_not_fit_what_was_given_leaves_the_others(tiny_prior, speech):
    mask = torch.ones(1, 8000, dtype=torch.bool)
    mask[:, 3000:3300] = False
    recipe = Recipe(AnnealedSampler(n_steps=3), WhiteNoise(1e-4), PacketLoss(mask))
    fits, other = speech[:1], torch.cat([speech[:1], speech[:1]], -1)
    done = Restorer(tiny_prior, recipe=recipe).restore_many([fits, other], [16000] * 2, ["a", "b"])
    assert done[0].wave.isfinite().all()
    with pytest.raises(DataError, match=r"The mask has the shape \[1, 8000\]"):
        raise done[1]


@pytest.mark.parametrize("gain", [1.0, 0.01, 30.0])
def test_a_threshold_is_one_of_the_recording_as_it_is(tiny_prior, speech, gain):
    level = 0.3 * float(speech[:1].abs().max()) * gain
    clipped = (gain * speech[:1]).clamp(-level, level)
    restorer = Restorer(tiny_prior, recipe=declip(4, Clipping(level)))
    done = restorer.restore(clipped, 16000)
    is_at_level = clipped.abs() >= 0.999 * level
    torch.testing.assert_close(done.wave[~is_at_level], clipped[~is_at_level])
    assert (done.wave[is_at_level].abs() >= 0.998 * level).all()
    restorer = Restorer(tiny_prior, recipe=declip(4, Clipping(2 * level)))
    with pytest.raises(DataError, match=r"peaks at 0\.5 of their thresholds"):
        restorer.restore(clipped, 16000)


def test_a_sampler_that_diverges_twice_fails_with_the_best_estimate(tiny_prior, speech):
    restorer = Restorer(tiny_prior, recipe=diverging(5.0))
    with pytest.raises(
        UnfinishedError, match=r"diverged at level .* second try with smaller steps"
    ) as caught:
        restorer.restore(spiky(speech[:1]), 16000)
    best = caught.value.best.wave
    assert best.shape == (1, 8000)
    assert best.isfinite().all()
    assert float(best.std()) > 0


def test_the_best_estimate_is_of_the_kind_that_was_given(tiny_prior, speech, monkeypatch):
    monkeypatch.setattr(api, "Restorer", lambda *_, **__: Restorer(tiny_prior, recipe=diverging(5.0)))
    with pytest.raises(UnfinishedError) as caught:
        restore(spiky(speech[:1])[0].numpy(), tiny_prior, 16000)
    assert isinstance(caught.value.best.wave, np.ndarray)
    assert caught.value.best.wave.shape == (8000,)


class LosesARow(torch.nn.Module):
    """A network whose tenth call is not finite for the first of several rows."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network, self.n_calls = network, 0
        self.config, self.speaker_width = network.config, network.speaker_width
        self.adaptation_shape = network.adaptation_shape

    def forward(self, wave, c_noise, speaker=None, adaptation=None):
        out = self.network(wave, c_noise, speaker, adaptation)
        self.n_calls += 1
        if self.n_calls == 10 and len(wave) > 1:
            out = torch.cat([torch.full_like(out[:1], torch.nan), out[1:]])
        return out


@pytest.mark.parametrize("task", ["enhance", "denoise_dereverb"])
def test_a_row_that_is_lost_where_uncertainty_is_measured_is_tried_again(tiny_prior, make_speech, task):
    prior = copy.deepcopy(tiny_prior)
    prior.calibration = Calibration(torch.zeros(4, 3, 6), prior.rate_hz, prior.sigma_data)
    restorer = Restorer(prior, recipe=TASKS[task](12, 16000), batch=2, n_samples=1, precision="float32")
    prior.network = LosesARow(prior.network)
    waves = [torch.from_numpy(make_speech(seed=k)) for k in range(2)]
    lost, other = restorer.restore_many(waves, [16000] * 2, ["a", "b"])
    assert lost.n_calls > other.n_calls
    assert bool(lost.wave.isfinite().all())
    torch.testing.assert_close(other.wave, restorer.restore(waves[1], 16000, "b").wave, rtol=0, atol=1e-5)


def test_a_file_that_fails_leaves_its_best_estimate_and_the_others(tiny_prior, make_speech, tmp_path):
    waves = {name: torch.from_numpy(make_speech(seed=k)) for k, name in enumerate("abc")}
    waves["b"] = spiky(waves["b"])
    for name, wave in waves.items():
        write_audio(tmp_path / "in" / f"{name}.wav", wave, 16000, "FLOAT")
    for size in (1, 3):
        out = tmp_path / f"out{size}"
        restorer = Restorer(tiny_prior, recipe=diverging(5.0), batch=size)
        reports = restore_path(tmp_path / "in", out, restorer)
        assert [report.status for report in reports] == ["restored", "failed", "restored"]
        assert sorted(path.name for path in out.iterdir()) == ["a.wav", "b.failed.wav", "c.wav"]
        assert f"best estimate so far is in {out / 'b.failed.wav'}" in reports[1].message
        assert reports[1].message.startswith(f"{tmp_path / 'in' / 'b.wav'}: ")
        assert read_audio(out / "b.failed.wav")[0].isfinite().all()


# Command line ----------------------------------------------------------------------------------------


def test_samples_lie_beside_the_result(tiny_prior_folder, make_speech, tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", make_speech(0.3).T, 16000)
    command = ["restore", str(tmp_path / "a.wav"), str(tmp_path / "out"), f"--prior={tiny_prior_folder}"]
    assert main([*command, "--preset=fast", "--samples=3"]) == 0
    told = capsys.readouterr().out
    for words in ("restored 1 of 1 (0.3 s of audio", "real-time factor ", "90 network calls each", " MiB): "):
        assert words in told
    samples = [read_audio(tmp_path / "out" / "a.samples" / f"{k}.wav")[0] for k in (1, 2, 3)]
    mean = read_audio(tmp_path / "out" / "a.wav")[0]
    made = LogSpectralMean()(torch.stack(samples), torch.zeros(3), 16000)
    made = PowerCeiling()(made, read_audio(tmp_path / "a.wav")[0])
    torch.testing.assert_close(made, mean, rtol=0, atol=20 / 32768)  # sample files are rounded
    again = ["restore", str(tmp_path / "out"), str(tmp_path / "again"), f"--prior={tiny_prior_folder}"]
    assert main([*again, "--preset=fast"]) == 0  # the results alone, not their samples
    assert [path.name for path in (tmp_path / "again").rglob("*.*")] == ["a.wav"]
    assert main([*command, "--preset=fast", "--samples=2", "--overwrite"]) == 0
    assert sorted(path.name for path in (tmp_path / "out" / "a.samples").iterdir()) == ["1.wav", "2.wav"]
    capsys.readouterr()
    assert main([*command, "--overwrite"]) == 0
    assert "60 network calls each" in capsys.readouterr().out
    # the default's two were not asked for, and earlier ones go
    assert not list((tmp_path / "out").rglob("[0-9].wav"))
    assert not (tmp_path / "out" / "a.samples").exists()
    assert main([*command, "--samples=0"]) == 2
    assert "n_samples is 0; expected a whole number from 1 on (--samples" in capsys.readouterr().err


def test_side_files_of_namesakes_differ(tmp_path):
    for name in ("a.wav", "a.mp3", "b.wav", "deep/b.wav"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    pairs = plan_outputs(tmp_path / "in", tmp_path / "out")
    names = [SideFiles.of(output, recording.has_namesake).summary.name for recording, output in pairs]
    assert names == ["a.mp3.json", "a.wav.json", "b.json", "b.json"]
    # A recording by itself, as `restore talk.mp3 talk.wav`, has none, whatever lies there already.
    [(recording, output)] = plan_outputs(tmp_path / "in" / "a.mp3", tmp_path / "in" / "a.wav")
    assert SideFiles.of(output, recording.has_namesake).summary == tmp_path / "in" / "a.json"


def test_a_tilde_in_a_path_is_the_home_folder(tiny_prior, speech, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    done = Restorer(tiny_prior, recipe=enhance(), n_samples=2).restore(speech, 16000)
    assert done.save("~/out.wav") == tmp_path / "out.wav"
    assert [path.parent for path in done.save_samples("~/samples")] == [tmp_path / "samples"] * 2
    assert tiny_prior.save_pretrained("~/prior") == tmp_path / "prior"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.wav", "prior", "samples"]
