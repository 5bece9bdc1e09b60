"""Several talkers: told apart where the prior can, level, files, and bad input."""

from __future__ import annotations

import json
import math
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from diffsr import Restorer, restore
from diffsr.benchmark.systems import OwnTask
from diffsr.cli import main
from diffsr.degradations import LatePrediction
from diffsr.errors import AudioError, ConfigError
from diffsr.evaluation.permutation import best_assignment, pairwise_si_sdr_db
from diffsr.files import restore_path
from diffsr.io.audio import read_audio, write_audio
from diffsr.likelihoods import WhiteNoise
from diffsr.recipes import MAX_TALKERS, TALKER_TASKS, Recipe, make_recipe
from diffsr.restoration import UnfinishedError
from diffsr.restoration.posing import pose
from diffsr.restoration.posterior import Posterior
from diffsr.restoration.side_files import AudioFiles
from diffsr.restoration.solving import solve
from diffsr.restoration.talkers import Talkers
from diffsr.samplers import Agreement, AnnealedSampler, OneVoice, Proximal, Renoise
from diffsr.samplers.ranking import confidence

ROOT = Path(__file__).parents[2]
N_STEPS = 3
N_LAST = {"separate": 2, "joint": 0}
"""Levels after the search."""
SD = 0.05


@pytest.fixture(autouse=True)
def short_presets(monkeypatch):
    monkeypatch.setattr("diffsr.recipes.by_name.PRESETS", {"default": N_STEPS, "fast": 2})


@pytest.fixture
def mixture(make_speech) -> torch.Tensor:
    return torch.from_numpy(make_speech(0.3))


def recipe(n_sources: int = 2, n_samples: int = 2, guidance=None) -> Recipe:
    sampler = AnnealedSampler(guidance or Proximal(), Renoise(), [], N_STEPS, 1.5, churn=0.0)
    return Recipe(sampler, WhiteNoise(1e-4), n_samples=n_samples, n_sources=n_sources)


# Telling apart ---------------------------------------------------------------------------------------


class LowOrHigh(torch.nn.Module):
    """A talker is noise below 2 kHz for good, or above it: E[x | z] is the Wiener filter of the likelier."""

    rate_hz, sigma_data = 16000, SD

    def powers(self, n_bins: int) -> torch.Tensor:
        is_low = torch.arange(n_bins) < n_bins // 4
        return SD**2 * torch.stack([torch.where(is_low, 4.0, 1e-3), torch.where(is_low, 1e-3, 4 / 3)])

    def denoise(self, z, sigma):
        spectrum = torch.fft.rfft(z)
        power, state = self.powers(spectrum.shape[-1]), sigma[..., None, None].square()
        density = spectrum.abs().square()[..., None, :] / z.shape[-1]
        likelihood = -(density / (power + state) + (power + state).log()).sum(-1)
        gain = (likelihood.softmax(-1)[..., None] * power / (power + state)).sum(-2)
        return torch.fft.irfft(gain * spectrum, n=z.shape[-1])

    def uncertainty(self, x0, sigma, stft):
        return stft.bin_variance(sigma**2 * SD**2 / (sigma**2 + SD**2))


def low_and_high(n_samples: int = 4096) -> torch.Tensor:
    """A draw of each kind, `[2, T]`."""
    white = torch.randn(2, n_samples, generator=torch.Generator().manual_seed(5))
    gain = LowOrHigh().powers(n_samples // 2 + 1).sqrt()
    return torch.fft.irfft(gain * torch.fft.rfft(white), n=n_samples)


def test_talkers_that_the_prior_can_tell_apart_are_told_apart():
    true = low_and_high()
    sampler = AnnealedSampler(Proximal(), Renoise(sampled=True), [], 30, sigma_max=1.5, churn=0.0)
    made = Recipe(sampler, WhiteNoise(1e-4), n_samples=4, n_sources=2)
    done = solve(Posterior(true.sum(0)[None], ["a"], LowOrHigh(), made, n_samples=made.n_samples))
    assert done.x.shape == (1, 4, 2, 4096)
    talkers, found, ordered = Talkers.of(done.x[0], done.scores[0].tolist(), true.sum(0), 16000)
    assert torch.equal(found, ordered[talkers.chosen])
    order = list(best_assignment(found, true))
    assert float(pairwise_si_sdr_db(found[order], true).diagonal().min()) > 15.0
    assert talkers.confidence is not None
    assert talkers.confidence > 0.5  # one restart of the four went astray; its score says so
    assert min(talkers.scores) < 0.0 < 10.0 < max(talkers.scores)
    assert float(talkers.residual.std()) < 0.01 * float(true.sum(0).std())


def test_late_reverberation_is_predicted_from_what_all_talkers_leave(make_speech):
    """The parts of the joint recipe take several sources: only their sum and their powers matter."""
    one = torch.from_numpy(make_speech(0.5))
    talkers = torch.stack([0.3 * one[0], one[0].roll(3000)])
    y, variance = talkers.sum(0)[None, None] + 0.3 * one[None].roll(900), torch.tensor(1e-3)
    late = {}
    for n_sources, x in ((1, talkers.sum(0)[None, None]), (2, talkers[None])):
        degradation = LatePrediction(response_taps=0)
        degradation.reset(y, n_sources)
        degradation.fit(x, variance)
        late[n_sources] = degradation(x)
        degradation.measure(x, 3)
        assert degradation.describe()["rt60_s"].shape[:2] == (1, n_sources)
        assert bool(degradation.describe()["room_response"].isfinite().all())
    torch.testing.assert_close(late[2], late[1], rtol=0, atol=1e-5)
    assert float((late[1] - talkers.sum(0)).std()) > 1e-3


@pytest.mark.parametrize(
    ("n_calls", "expected"), [(30, (30, 4)), (60, (60, 4)), (120, (60, 8)), (200, (60, 13))]
)
def test_more_calls_are_more_levels_and_then_more_restarts(n_calls, expected):
    n_levels, n_restarts = expected
    for name, task in TALKER_TASKS.items():
        made = task(n_calls, 16000, 2)
        assert len(made.sampler.sigmas) - 1 == n_levels + N_LAST[name]
        assert made.n_samples == n_restarts


# Shapes and levels -----------------------------------------------------------------------------------


@pytest.mark.parametrize("task", list(TALKER_TASKS))
@pytest.mark.parametrize("n_talkers", [2, 3])
def test_a_wave_for_each_talker_and_the_rest(tiny_prior, make_speech, task, n_talkers):
    y = torch.from_numpy(make_speech(0.3, 2, 44100))
    done = Restorer(tiny_prior, task, "fast", talkers=n_talkers).restore(y, 44100)
    assert done.wave.shape == (n_talkers, y.shape[-1])
    assert done.samples.shape == (4, n_talkers, y.shape[-1])
    each_talker = (1 + 4) * 2 * n_talkers if task == "joint" else 0  # and those of restarts
    assert done.n_calls == 4 * (2 + N_LAST[task]) + each_talker
    assert done.rate_hz == 44100
    assert done.talkers.joined
    torch.testing.assert_close(done.wave.sum(0) + done.talkers.residual, y.mean(0), rtol=0, atol=1e-6)
    assert 0 <= done.talkers.confidence <= 1
    near = done.talkers.nearness_db
    assert len(near) == len(done.talkers.scores) == 4
    assert near[done.talkers.chosen] == max(near)


def test_without_a_joiner_the_best_restart_is_the_result(tiny_prior, mixture):
    done = Restorer(tiny_prior, recipe=recipe(n_samples=3)).restore(mixture, 16000)
    assert not done.talkers.joined
    assert done.talkers.nearness_db is None
    assert done.talkers.scores[done.talkers.chosen] == max(done.talkers.scores)
    assert torch.equal(done.samples[done.talkers.chosen], done.wave)


def test_of_joined_restarts_the_nearest_to_the_result_is_the_best():
    true = low_and_high()
    noise = torch.randn(4, 2, true.shape[-1], generator=torch.Generator().manual_seed(6))
    restarts = true + 0.3 * SD * torch.tensor([3.0, 1.0, 0.0, 2.0])[:, None, None] * noise
    restarts[1] = restarts[1].flip(0)
    scores = [2.0, 1.0, -math.inf, 1.5]  # the third one was lost
    talkers, result, ordered = Talkers.of(restarts, scores, true.sum(0), 16000, true, is_joined=True)
    assert talkers.chosen == 1
    assert talkers.nearness_db[2] is None
    assert talkers.nearness_db[1] > talkers.nearness_db[3] > talkers.nearness_db[0]
    torch.testing.assert_close(result, true.flip(0))  # in the order of the chosen one
    assert torch.equal(ordered[1], restarts[1])
    chosen = Talkers.of(restarts, scores, true.sum(0), 16000, true)[0]  # made of one of them
    assert (chosen.chosen, chosen.nearness_db) == (0, None)


def test_the_best_score_tells_whether_talkers_are_told_apart():
    true = low_and_high()
    scores = [0.1, math.nan, 0.3]
    found = Talkers.of(true.repeat(3, 1, 1), scores, true.sum(0), 16000)[0]
    assert (found.best_score, found.told_apart) == (0.3, None)  # no limit is known
    assert replace(found, sure_above=0.25).told_apart is True
    assert replace(found, sure_above=0.3).told_apart is False
    assert replace(found, scores=[None], sure_above=0.25).told_apart is None
    assert found.summary()["told_apart"] is None


@pytest.mark.parametrize(
    ("task", "talkers", "expected"), [("separate", 2, 0.25), ("separate", 3, None), ("joint", 2, None)]
)
def test_the_limit_of_the_score_is_known_of_two_talkers_without_noise_and_room(task, talkers, expected):
    assert make_recipe(task, talkers=talkers).sure_above == expected


def test_doubtful_separations_are_named(tiny_prior_folder, mixtures, tmp_path, capsys, monkeypatch):
    command = ["restore", str(mixtures), str(tmp_path / "out"), f"--prior={tiny_prior_folder}"]
    command += ["--task=separate"]
    monkeypatch.setattr(OneVoice, "scores", lambda self, x: torch.zeros(len(x)))  # these are too short for it
    for limit, words in ((9.0, "talkers may still be mixed: a.wav (best score "), (-9.0, None)):
        monkeypatch.setattr(Agreement, "sure_above", limit)
        monkeypatch.setattr(OneVoice, "sure_above", limit)
        capsys.readouterr()
        assert main([*command, "--overwrite"]) == 0
        error = capsys.readouterr().err
        told = json.loads((tmp_path / "out" / "a.json").read_text(encoding="utf-8"))
        assert told["told_apart"] is (words is None)
        assert words in error if words else "still be mixed" not in error


def test_restarts_are_joined_in_the_order_of_the_best(tiny_prior, mixture):
    class Reversed:
        """Gives the tracks of the best restart, the other way round."""

        def __call__(self, restarts, scores, rate_hz):
            assert rate_hz == 16000
            return restarts[int(scores.argmax())].flip(0) + 0.0

    made = recipe(n_samples=3)
    made.joiner = Reversed()
    done = Restorer(tiny_prior, recipe=made).restore(mixture, 16000)
    assert done.talkers.joined
    torch.testing.assert_close(done.wave, done.samples[done.talkers.chosen])
    single = Restorer(tiny_prior, recipe=made, n_samples=1).restore(mixture, 16000)
    assert not single.talkers.joined


def test_gain_comes_back(tiny_prior, mixture):
    one = Restorer(tiny_prior, recipe=recipe()).restore(mixture, 16000)
    for gain in (1e-3, 50.0):
        scaled = Restorer(tiny_prior, recipe=recipe()).restore(gain * mixture, 16000)
        torch.testing.assert_close(scaled.wave / gain, one.wave, rtol=1e-2, atol=1e-2 * float(one.wave.std()))
        assert scaled.talkers.gains_db == pytest.approx(one.talkers.gains_db, abs=0.05)


def test_a_mixture_meets_the_prior_louder_by_the_square_root_of_its_talkers(tiny_prior, mixture):
    def level(n_sources: int) -> float:
        [posed] = pose(mixture, 16000, "a", "each", tiny_prior, recipe(n_sources), torch.device("cpu"))
        return float(posed.waves.std())

    assert level(2) / level(1) == pytest.approx(2**0.5, rel=1e-4)
    assert level(4) / level(1) == pytest.approx(2.0, rel=1e-4)


def test_one_channel_of_several(tiny_prior, make_speech):
    y = torch.from_numpy(make_speech(0.3, 3))
    second = Restorer(tiny_prior, recipe=recipe(), channels=1).restore(y, 16000)
    torch.testing.assert_close(second.wave.sum(0) + second.talkers.residual, y[1], rtol=0, atol=1e-6)
    mean = Restorer(tiny_prior, recipe=recipe(), channels="mean").restore(y, 16000)
    assert torch.equal(mean.wave, Restorer(tiny_prior, recipe=recipe()).restore(y, 16000).wave)


def test_recordings_of_a_batch_come_out_as_each_alone(tiny_prior, make_speech):
    waves = [torch.from_numpy(make_speech(0.3, seed=k)) for k in range(3)]
    together = Restorer(tiny_prior, recipe=recipe(), batch=3).restore_many(waves, [16000] * 3, list("abc"))
    for wave, name, found in zip(waves, "abc", together, strict=True):
        alone = Restorer(tiny_prior, recipe=recipe()).restore(wave, 16000, name)
        torch.testing.assert_close(found.wave, alone.wave, rtol=0, atol=1e-5)
        assert found.talkers.chosen == alone.talkers.chosen


def test_arrays(tiny_prior, make_speech):
    y = make_speech(0.3)[0].astype(np.float64)
    done = restore(y, tiny_prior, 16000, task="separate", preset="fast", talkers=3)
    assert done.wave.shape == (3, len(y))
    assert done.wave.dtype == done.talkers.residual.dtype == np.float64
    assert isinstance(done.wave, np.ndarray)
    assert done.talkers.residual.shape == y.shape
    assert done.samples.shape == (4, 3, len(y))


# Restarts --------------------------------------------------------------------------------------------


class Diverges(Proximal):
    """Some rows are not finite below a level."""

    def __init__(self, rows: list[int]) -> None:
        super().__init__()
        self.rows = rows

    def correct(self, z, x0, sigma, problem):
        x0 = super().correct(z, x0, sigma, problem)
        if float(sigma.max()) < 0.1:
            x0[self.rows] = torch.nan
        return x0


def test_a_restart_that_diverges_is_not_chosen_and_spoils_nothing(tiny_prior, mixture):
    good = Restorer(tiny_prior, recipe=recipe(n_samples=3)).restore(mixture, 16000)
    lost = good.talkers.chosen
    found = Restorer(tiny_prior, recipe=recipe(n_samples=3, guidance=Diverges([lost])))
    done = found.restore(mixture, 16000)
    assert done.n_calls == 3 * N_STEPS  # without a second try
    assert done.talkers.scores[lost] is None
    assert done.talkers.chosen != lost
    assert bool(done.wave.isfinite().all())
    kept = [k for k in range(3) if k != lost]
    alone = confidence(done.samples[kept], kept.index(done.talkers.chosen))
    assert done.talkers.confidence == pytest.approx(alone, abs=1e-4)


def test_the_recording_fails_where_all_restarts_diverge(tiny_prior, mixture, tmp_path):
    write_audio(tmp_path / "a.wav", mixture, 16000)
    restorer = Restorer(tiny_prior, recipe=recipe(guidance=Diverges([0, 1])))
    with pytest.raises(UnfinishedError, match="second try"):
        restorer.restore(mixture, 16000)
    [report] = restore_path(tmp_path / "a.wav", tmp_path / "out", restorer)
    assert report.status == "failed"
    assert str(tmp_path / "out" / "a.failed.talker1.wav") in report.message
    assert not AudioFiles(tmp_path / "out" / "a.wav", 2).are_there


def test_a_constant_counts_neither_in_a_level_nor_in_a_gain(tiny_prior, mixture):
    restorer = Restorer(tiny_prior, recipe=recipe(n_samples=1))
    plain, shifted = (restorer.restore(mixture + constant, 16000).talkers for constant in (0.0, 0.3))
    assert shifted.gains_db == pytest.approx(plain.gains_db, abs=0.1)
    assert shifted.levels_db == pytest.approx(plain.levels_db, abs=0.1)


def test_a_single_restart_has_no_score(tiny_prior, mixture):
    done = Restorer(tiny_prior, recipe=recipe(n_samples=1)).restore(mixture, 16000)
    assert done.samples is None
    assert done.talkers.scores == [None]
    assert done.talkers.confidence is None


# Files -----------------------------------------------------------------------------------------------


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def mixtures(tmp_path, make_speech) -> Path:
    for seed, name in enumerate(("a.wav", "deep/b.flac")):
        write_audio(tmp_path / "in" / name, torch.from_numpy(make_speech(0.3, seed=seed)), 16000)
    return tmp_path / "in"


SET = ["a.json", "a.residual.wav", "a.talker1.wav", "a.talker2.wav"]


def test_files_of_talkers(tiny_prior, mixtures, tmp_path):
    out = tmp_path / "out"
    reports = restore_path(mixtures, out, Restorer(tiny_prior, recipe=recipe()))
    deep = [f"deep/b{name[1:]}".replace(".wav", ".flac") for name in SET]
    assert names(out) == sorted(SET + deep)
    assert [report.output for report in reports] == [out / "a.talker1.wav", out / "deep/b.talker1.flac"]
    waves = [read_audio(out / f"a.{name}.wav")[0][0] for name in ("talker1", "talker2", "residual")]
    torch.testing.assert_close(sum(waves), read_audio(mixtures / "a.wav")[0][0], rtol=0, atol=2e-4)
    told = json.loads((out / "a.json").read_text())
    assert told["talkers"] == len(told["level_db"]) == len(told["gain_db"]) == 2
    assert len(told["scores"]) == told["samples"] == 2
    assert told["chosen_restart"] in (1, 2)
    assert 0 <= told["confidence"] <= 1
    again = restore_path(mixtures, out, Restorer(tiny_prior, recipe=recipe()))
    assert [report.status for report in again] == ["skipped"] * 2
    assert f"{out / 'a.talker1.wav'} (and 2 more) is there already" in again[0].message


@pytest.mark.parametrize("missing", SET[1:])
def test_a_set_that_is_not_whole_is_done_again(tiny_prior, mixtures, tmp_path, missing):
    restorer = Restorer(tiny_prior, recipe=recipe())
    restore_path(mixtures / "a.wav", tmp_path / "out", restorer)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.wav")}
    (tmp_path / "out" / missing).unlink()
    [report] = restore_path(mixtures / "a.wav", tmp_path / "out", restorer)
    assert report.status == "restored"
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.wav")} == before


def test_another_number_of_talkers_is_another_set(tiny_prior, mixtures, tmp_path):
    out = tmp_path / "out"
    for n_talkers in (2, 4, 2):
        restorer = Restorer(tiny_prior, recipe=recipe(n_talkers))
        [report] = restore_path(mixtures / "a.wav", out, restorer)
        assert report.status == "restored"
        assert len(list(out.glob("a.talker*.wav"))) == n_talkers


def test_a_run_that_is_killed_while_it_replaces_a_set_leaves_none(
    tiny_prior, mixtures, tmp_path, monkeypatch
):
    """Old and new talkers never pass for one set; before that moment the old set is whole."""
    out = tmp_path / "out"
    restore_path(mixtures / "a.wav", out, Restorer(tiny_prior, recipe=recipe()))
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    other = Restorer(tiny_prior, recipe=recipe(), seed=1)
    replace = os.replace

    def stops_at(name: str):
        def stopping(source, target):
            if Path(target).name == name:
                raise KeyboardInterrupt
            replace(source, target)

        return stopping

    for name, is_whole in (("a.json", True), ("a.talker2.wav", False), ("a.residual.wav", False)):
        monkeypatch.setattr(os, "replace", stops_at(name))
        with pytest.raises(KeyboardInterrupt):
            restore_path(mixtures / "a.wav", out, other, overwrite=True)
        monkeypatch.undo()
        assert AudioFiles(out / "a.wav", 2).are_there == is_whole
        assert not list(out.glob(".*"))
        if is_whole:
            assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    monkeypatch.setattr("diffsr.recipes.by_name.PRESETS", {"default": N_STEPS})
    [report] = restore_path(mixtures / "a.wav", out, other)
    assert report.status == "restored"


def test_a_recording_that_has_the_name_of_a_talker_is_not_overwritten(tiny_prior, mixtures):
    shutil.copy(mixtures / "a.wav", mixtures / "x.talker2.wav")
    with pytest.raises(ConfigError, match="overwritten by its own restoration"):
        restore_path(mixtures / "x.talker2.wav", mixtures / "x.wav", Restorer(tiny_prior, recipe=recipe()))


def test_command_line(tiny_prior_folder, mixtures, tmp_path, capsys):
    command = ["restore", str(mixtures / "a.wav"), str(tmp_path / "out"), f"--prior={tiny_prior_folder}"]
    command += ["--task=separate", "--talkers=3", "--preset=fast"]
    assert main([*command, "--samples=2", "--physics"]) == 0
    assert "a.talker1.wav and 3 more" in capsys.readouterr().out
    samples = [f"a.samples/{k}.talker{talker}.wav" for k in (1, 2) for talker in (1, 2, 3)]
    others = ["a.json", "a.png", "a.residual.wav", "a.talker1.wav", "a.talker2.wav", "a.talker3.wav"]
    assert names(tmp_path / "out") == sorted(samples + others)
    told = json.loads((tmp_path / "out" / "a.json").read_text())
    assert told["joined"] is True
    sets = ("a.talker1", "a.talker2", "a.talker3", "a.residual")
    tracks = [read_audio(tmp_path / "out" / f"{name}.wav")[0] for name in sets]
    recording, _ = read_audio(mixtures / "a.wav")
    torch.testing.assert_close(sum(tracks), recording, rtol=0, atol=2e-4)
    assert main([*command, "--overwrite"]) == 0
    assert not (tmp_path / "out" / "a.samples" / "1.talker1.wav").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--task=separate", "--talkers=0"], "talkers is 0; expected a whole number from 2 to 8"),
        (["--task=joint", "--talkers=99"], "talkers is 99; expected a whole number from 2 to 8"),
        (["--task=joint", "--talkers=1"], "For one talker choose the task enhance"),
        (["--task=separate", "--talkers=two"], "invalid int value: 'two'"),
        (["--task=enhance", "--talkers=2"], "the task enhance restores one talker, found talkers 2"),
        (["--task=declip", "--talkers=2"], "choose the task separate or joint"),
        (["--preset=experiments/enhance/default.yaml", "--talkers=2"], "default.yaml is for one talker"),
        (
            ["--preset=experiments/enhance/default.yaml", "--task=joint"],
            "the task is joint and the experiment experiments/enhance/default.yaml is for enhance",
        ),
        (
            ["--preset=experiments/separate/undiff.yaml", "--task=joint"],
            "the task is joint and the experiment experiments/separate/undiff.yaml is for separate",
        ),
        (
            ["--preset=experiments/repair/declip.yaml", "--task=dereverb"],
            "declip.yaml is for declip or packet_loss or bandwidth. Leave the task out",
        ),
        (["--preset=experiments/separate/default.yaml", "--talkers=99"], "talkers is 99; expected"),
    ],
)
def test_numbers_of_talkers_that_do_not_fit(
    tiny_prior_folder, mixtures, tmp_path, capsys, monkeypatch, options, words
):
    monkeypatch.chdir(ROOT)
    command = ["restore", str(mixtures), str(tmp_path / "out"), f"--prior={tiny_prior_folder}"]
    try:
        code = main([*command, *options])
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("wrong", [0, -1, MAX_TALKERS + 1, 2.5, True, "2"])
def test_numbers_that_are_none(wrong):
    with pytest.raises(ConfigError, match="expected a whole number from 2"):
        make_recipe("separate", "fast", talkers=wrong)


def test_an_experiment_says_how_many_there_are(tiny_prior):
    path = ROOT / "experiments" / "separate" / "default.yaml"
    assert Restorer(tiny_prior, preset=path).recipe.n_sources == 2
    assert Restorer(tiny_prior, preset=path, talkers=3).recipe.n_sources == 3


# Recordings that are not two talkers ----------------------------------------------------------------


KINDS = ["one talker", "the same twice", "three talkers", "much louder", "0.1 s", "3 s", "stereo"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task", list(TALKER_TASKS))
def test_recordings_that_are_not_two_talkers_have_a_sane_result(
    tiny_prior, make_speech, monkeypatch, task, kind
):
    monkeypatch.setattr("diffsr.recipes.by_name.PRESETS", {"fast": 8})
    one = torch.from_numpy(make_speech(3.0 if kind == "3 s" else 0.1 if kind == "0.1 s" else 0.5))
    other = torch.from_numpy(make_speech(0.5, seed=1)).flip(-1)
    y = {"the same twice": 2 * one, "stereo": torch.cat([one, -one[..., :] + 0.1 * one.flip(-1)])}.get(
        kind, one
    )
    if kind == "much louder":
        y = one + 1e-3 * other
    if kind == "three talkers":
        y = one + other + torch.from_numpy(make_speech(0.5, seed=2)).roll(2000, -1)
    done = Restorer(tiny_prior, task, "fast").restore(y, 16000)
    assert done.wave.shape == (2, y.shape[-1])
    assert bool(done.wave.isfinite().all())
    assert float(done.wave.abs().max()) < 10 * float(y.abs().max())
    assert 0 <= done.talkers.confidence < 0.5  # of weights that know nothing


@pytest.mark.parametrize("task", ["separate", pytest.param("joint", marks=pytest.mark.slow)])
def test_more_than_a_window_is_two_talkers_throughout(tiny_prior, make_speech, monkeypatch, task):
    monkeypatch.setattr("diffsr.recipes.by_name.PRESETS", {"fast": 2})
    y = torch.from_numpy(make_speech(6.0)).repeat(1, 3)
    done = Restorer(tiny_prior, task, "fast").restore(y, 16000)
    assert done.wave.shape == (2, y.shape[-1])
    assert bool(done.wave.isfinite().all())
    power_of_seconds = done.wave.unfold(-1, 16000, 16000).square().mean(-1)
    assert bool((power_of_seconds > 0).all())  # no window was left out


@pytest.mark.parametrize("task", list(TALKER_TASKS))
def test_silence_and_less_than_a_moment_are_refused(tiny_prior, task):
    restorer = Restorer(tiny_prior, task, "fast")
    for wave, words in ((torch.zeros(1, 8000), "silent"), (torch.randn(1, 100), "at least 0.1 s")):
        with pytest.raises(AudioError, match=words):
            restorer.restore(wave, 16000)


def test_channels_of_opposite_polarity_have_no_mean(tiny_prior, make_speech):
    y = torch.from_numpy(make_speech(0.3))
    with pytest.raises(AudioError, match="cancel in their mean.*a number from 0 to 1"):
        Restorer(tiny_prior, recipe=recipe()).restore(torch.cat([y, -0.999 * y]) + 0.1, 16000)
    one = Restorer(tiny_prior, recipe=recipe(), channels="1").restore(torch.cat([y, -y]), 16000)
    assert one.wave.any()
    Restorer(tiny_prior, recipe=recipe()).restore(
        torch.cat([y, 0 * y]), 16000
    )  # the mean is quieter, no more


def test_sound_above_the_band_of_the_prior_is_left_to_the_residual(tiny_prior):
    y = 1e-4 * torch.sin(2 * torch.pi * 20000 * torch.arange(24000) / 48000)[None]
    done = Restorer(tiny_prior, recipe=recipe()).restore(y, 48000)
    assert float(done.wave.abs().max()) < 1e-2 * float(y.abs().max())
    torch.testing.assert_close(done.talkers.residual, y[0] - done.wave.sum(0))


# Benchmark -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["fast", "experiments/separate/default.yaml"])
def test_the_benchmark_says_how_many_talkers_there_are(tiny_prior_folder, mixture, monkeypatch, preset):
    monkeypatch.chdir(ROOT)
    few = ["sampler.init_args.n_steps=2"] if preset.endswith(".yaml") else []
    system = OwnTask("separate", tiny_prior_folder, preset, "cpu", 0, few)
    for n_talkers in (2, 3, 2):
        done = system.restore(mixture, 16000, n_talkers, "item")
        assert done.estimate.shape == (n_talkers, mixture.shape[-1])
        assert not torch.equal(done.estimate[0], done.estimate[1])
        assert done.n_calls == 4 * (2 + N_LAST["separate"])
    with pytest.raises(ConfigError, match="talkers is 1"):
        system.restore(mixture, 16000, 1, "item")
    with pytest.raises(ConfigError, match="is for enhance"):
        OwnTask("separate", tiny_prior_folder, "experiments/enhance/default.yaml", "cpu", 0)
