"""Declipping, lost packets and missing bands, from recording to recording."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
import torch
import yaml
from torch import Tensor

from diffsr import Restorer, restore
from diffsr.cli import main
from diffsr.degradations import Chain, Clipping, LowPass, Mixing, PacketLoss
from diffsr.diffusion.schedule import rho_schedule
from diffsr.errors import AudioError, ConfigError, DataError
from diffsr.io.audio import probe, read_audio, write_audio
from diffsr.recipes import REPAIRS, declip, make_recipe, widen
from diffsr.restoration import Restoration
from diffsr.signal.resampling import resample

LEVEL = 0.07
EXPERIMENTS = Path(__file__).parents[2] / "experiments" / "repair"


@pytest.fixture(autouse=True)
def short_presets(monkeypatch):
    monkeypatch.setattr("diffsr.recipes.by_name.PRESETS", {"default": 3, "fast": 2})


@pytest.fixture(scope="module")
def speech(make_speech) -> Tensor:
    return torch.from_numpy(make_speech(0.4))


def with_gaps(wave: Tensor) -> Tensor:
    damaged = wave.clone()
    damaged[:, 1000:1400] = 0.0
    damaged[:, 3000:3500] = 0.0
    return damaged


def test_declipping_changes_clipped_samples_alone_and_makes_them_no_smaller(tiny_prior, speech):
    y = speech.clamp(-LEVEL, LEVEL)
    result = Restorer(tiny_prior, task="declip").restore(y, 16000)
    clipped = y.abs() == LEVEL
    assert clipped.sum() > 20
    assert torch.equal(result.wave[~clipped], y[~clipped])
    assert bool((result.wave[clipped] * y.sign()[clipped] >= LEVEL * (1 - 1e-5)).all())
    assert bool((result.wave[clipped].abs() > LEVEL).any())
    assert result.raises_peaks


def test_lost_packets_are_filled_and_nothing_else_changes(tiny_prior, speech):
    y = with_gaps(speech)
    out = Restorer(tiny_prior, task="packet_loss").restore(y, 16000).wave
    received = y != 0
    assert torch.equal(out[received], y[received])
    assert out.isfinite().all()
    assert out[:, 1000:1400].std() > 0
    assert out[:, 3000:3500].std() > 0


def test_a_band_is_added_above_the_cutoff_and_the_one_below_stays(tiny_prior, speech):
    low = LowPass(3000.0)
    low.reset(speech[None], 1)
    y = low(speech[None])[0]
    out = Restorer(tiny_prior, task="bandwidth", cutoff_hz=3000.0).restore(y, 16000).wave
    assert out.shape == y.shape
    torch.testing.assert_close(low(out[None])[0], y, rtol=0, atol=1e-5)
    assert (out - y).norm() > 1e-3 * y.norm()


def test_a_band_is_added_above_a_cutoff_that_is_found(tiny_prior):
    speech = 0.1 * torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    low = LowPass(3000.0)
    low.reset(speech[None], 1)
    y = low(speech[None])[0]
    restorer = Restorer(tiny_prior, task="bandwidth")
    out = restorer.restore(y, 16000).wave
    found_hz = float(restorer.recipe.degradation.describe()["cutoff_hz"][0])
    assert 2000 < found_hz < 4500
    kept = LowPass(0.9 * min(found_hz, 3000.0))
    kept.reset(y[None], 1)
    torch.testing.assert_close(kept(out[None])[0], kept(y[None])[0], rtol=0, atol=1e-3)
    assert (out - y).norm() > 1e-3 * y.norm()
    with pytest.raises(DataError, match="has frequencies up to its end.* nothing to repair"):
        restorer.restore(speech, 16000)


def test_a_narrow_recording_comes_out_at_the_rate_of_the_prior(tiny_prior, speech):
    narrow = speech[0, ::2].numpy()
    result = restore(narrow, tiny_prior, 8000, task="bandwidth", cutoff_hz=3800.0)
    assert result.rate_hz == 16000
    assert result.wave.shape == (2 * narrow.size,)
    with pytest.raises(DataError, match="8000 Hz ends at 4000 Hz"):
        restore(narrow, tiny_prior, 8000, task="bandwidth", cutoff_hz=5000.0)


@pytest.mark.parametrize(("task", "words"), [("declip", "is not clipped"), ("packet_loss", "has no gaps")])
def test_an_undamaged_recording_is_told(tiny_prior, speech, task, words):
    restorer = Restorer(tiny_prior, task=task)
    with pytest.raises(DataError, match=f"recording {words}.* nothing to repair"):
        restorer.restore(speech, 16000)
    with pytest.raises(DataError, match="has 44100 Hz, expected the 16000 Hz of the prior"):
        restorer.restore(speech, 44100)


def test_what_is_clipped_too_much_for_other_tasks_is_repaired(tiny_prior, speech):
    at = {
        share: speech.clamp(*(speech.abs().quantile(1 - share) * torch.tensor([-1, 1])))
        for share in (0.7, 0.95)
    }
    for task, share, words in (
        (
            "enhance",
            0.7,
            r"70% of its samples; expected at most 50%\. Record .* level, or raise .*--task declip",
        ),
        ("enhance", 0.95, r"95% of its samples; expected at most 50%\. Record it again at a lower level\.$"),
        ("declip", 0.95, r"95% of its samples; expected at most 90%\. Record it again at a lower level\.$"),
    ):
        with pytest.raises(AudioError, match=words):
            Restorer(tiny_prior, task=task).restore(at[share], 16000)
    assert Restorer(tiny_prior, task="declip").restore(at[0.7], 16000).wave.abs().max() > at[0.7].abs().max()


@pytest.mark.parametrize("task", ["declip", "packet_loss"])
def test_of_a_rate_that_is_a_multiple_samples_are_left_out(tiny_prior, speech, task):
    wide = resample(speech, 16000, 48000)
    damaged = with_gaps(wide) if task == "packet_loss" else wide.clamp(-LEVEL, LEVEL)
    restorer = Restorer(tiny_prior, task=task)
    with pytest.raises(DataError, match=r"Keep one sample of 3 without a filter .* wave\[:, ::3\]"):
        restorer.restore(damaged, 48000)
    assert restorer.restore(damaged[:, ::3], 16000).n_calls > 0
    with pytest.raises(DataError, match="nothing to repair"):  # what everybody would try first
        restorer.restore(resample(damaged, 48000, 16000), 16000)
    with pytest.raises(DataError, match=r"Record it at 16000 Hz or a multiple, or train a prior for 8000 Hz"):
        restorer.restore(damaged[:, ::6], 8000)


def test_channels_are_repaired_where_they_are_damaged(tiny_prior, speech):
    y = torch.cat([speech, with_gaps(speech), torch.zeros_like(speech)])
    out = Restorer(tiny_prior, task="packet_loss").restore(y, 16000).wave
    assert torch.equal(out[[0, 2]], y[[0, 2]])
    assert not torch.equal(out[1], y[1])


def test_models_of_another_rate(tiny_prior, speech):
    recipe = make_recipe("packet_loss", rate_hz=8000)
    with pytest.raises(ConfigError, match="PacketLoss is made for 8000 Hz, the prior for 16000 Hz"):
        Restorer(tiny_prior, recipe=recipe).restore(with_gaps(speech), 16000)


def test_a_chain_has_what_its_parts_have(speech):
    chain = Chain([Mixing(), LowPass(3000.0), Clipping()])
    assert chain.extends_band
    assert chain.raises_peaks
    both = torch.stack([speech, speech.clamp(-LEVEL, LEVEL)])
    assert chain.damaged(both).tolist() == [False, True]
    with pytest.raises(DataError, match="clipping cannot be seen"):
        chain.check_rates(48000, 16000)
    with pytest.raises(ConfigError, match="PacketLoss is made for 16000 Hz"):
        Chain([Mixing(), PacketLoss()]).check_rates(8000, 8000)


def test_peaks_above_full_scale_are_kept(tmp_path):
    wave = torch.linspace(-1.5, 1.5, 4000)[None]
    repaired = Restoration(wave, 16000, 1, 1.0, raises_peaks=True)
    path = repaired.save(tmp_path / "a.wav", "PCM_16")
    assert probe(path).subtype == "FLOAT"
    assert torch.equal(read_audio(path)[0], wave)
    with pytest.raises(AudioError, match=r"reach 1.50 times full scale, which .flac cannot hold"):
        repaired.save(tmp_path / "a.flac")
    quiet = Restoration(0.5 * wave, 16000, 1, 1.0, raises_peaks=True)
    assert probe(quiet.save(tmp_path / "b.wav", "PCM_16")).subtype == "PCM_16"


@pytest.mark.parametrize(
    ("task", "cutoff_hz", "words"),
    [
        ("fly", None, "no task 'fly'; choose one of: enhance, .*declip, packet_loss, bandwidth"),
        ("declip", 4000.0, "declip has none, found 4000 Hz"),
        ("bandwidth", 9000.0, "less than 8000 Hz"),
    ],
)
def test_what_no_recipe_is_there_for(task, cutoff_hz, words):
    with pytest.raises(ConfigError, match=words):
        make_recipe(task, cutoff_hz=cutoff_hz)


def test_many_calls_for_a_lost_band_are_samples_whose_mean_keeps_the_other_band(
    tiny_prior_folder, speech, monkeypatch
):
    """The logarithmic mean of samples that agree below the cut-off is what was recorded there."""
    monkeypatch.setattr("diffsr.recipes.repair.REPAIR_LEVELS", 2)
    recipe = widen(LowPass(4000.0, 16000), 6)
    assert (recipe.n_samples, len(recipe.sampler.sigmas) - 1) == (3, 2)
    damaged = recipe.degradation(speech[None])[0]
    result = Restorer(tiny_prior_folder, recipe=recipe).restore(damaged, 16000)
    assert result.n_calls == 6
    spectra = [torch.fft.rfft(wave[0].double()) for wave in (result.wave, damaged)]
    below = int(3800 / 8000 * len(spectra[0]))
    error = (spectra[0] - spectra[1])[:below].abs().square().sum()
    assert float(error) < 1e-3 * float(spectra[1][:below].abs().square().sum())


def test_many_calls_for_clipping_are_samples_whose_mean_keeps_the_rest(tiny_prior, speech, monkeypatch):
    monkeypatch.setattr("diffsr.recipes.repair.REPAIR_LEVELS", 2)
    recipe = declip(6)
    assert (recipe.n_samples, len(recipe.sampler.sigmas) - 1) == (3, 2)
    y = speech.clamp(-LEVEL, LEVEL)
    wave = Restorer(tiny_prior, recipe=recipe).restore(y, 16000).wave
    clipped = y.abs() == LEVEL
    assert torch.equal(wave[~clipped], y[~clipped])
    assert bool((wave[clipped] * y.sign()[clipped] >= LEVEL * (1 - 1e-5)).all())


@pytest.mark.parametrize("name", [*REPAIRS, "bandwidth_blind"])
def test_the_experiment_is_the_recipe(name, monkeypatch):
    monkeypatch.undo()  # the presets as they are
    init = yaml.safe_load((EXPERIMENTS / f"{name}.yaml").read_text(encoding="utf-8"))["model"]["init_args"]
    recipe = make_recipe(name.removesuffix("_blind"), cutoff_hz=4000.0 if name == "bandwidth" else None)
    sampler = init["sampler"]["init_args"]
    for part, made in [
        (init["degradation"], recipe.degradation),
        (init["likelihood"], recipe.likelihood),
        (sampler["guidance"], recipe.sampler.guidance),
        (sampler["solver"], recipe.sampler.solver),
    ]:
        assert part["class_path"].rsplit(".", 1)[1] == type(made).__name__
        for name, value in part.get("init_args", {}).items():
            found = getattr(made, {"cutoff_hz": "known"}.get(name, name))
            assert float(found) == float(value)
    joiner = init.get("joiner", {"class_path": "builtins.NoneType"})["class_path"]
    assert joiner.rsplit(".", 1)[1] == type(recipe.joiner).__name__
    for name in ("churn", "churn_above"):
        assert sampler.get(name, 0.0) == getattr(recipe.sampler, name)
    levels = [sampler[key] for key in ("sigma_max", "sigma_min", "n_steps", "rho")]
    torch.testing.assert_close(rho_schedule(*levels), recipe.sampler.sigmas)
    named = [part["class_path"].rsplit(".", 1)[1] for part in sampler["estimators"]]
    assert named == [type(estimator).__name__ for estimator in recipe.sampler.estimators]


def test_a_folder_from_the_command_line(tiny_prior_folder, speech, tmp_path, capsys):
    write_audio(tmp_path / "in" / "a.wav", speech.clamp(-LEVEL, LEVEL), 16000)
    write_audio(tmp_path / "in" / "b.wav", speech, 16000)
    write_audio(tmp_path / "in" / "c.wav", 0.5 * speech.clamp(-LEVEL, LEVEL), 16000)
    command = ["restore", str(tmp_path / "in"), str(tmp_path / "out"), f"--prior={tiny_prior_folder}"]
    assert main([*command, "--task=declip", "--preset=fast"]) == 2
    told = capsys.readouterr()
    assert "restored 2 of 3" in told.out
    assert "b.wav: The recording is not clipped" in told.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.wav", "c.wav"]
    before, after = (soundfile.read(tmp_path / folder / "a.wav")[0] for folder in ("in", "out"))
    kept = abs(before) < 0.99 * abs(before).max()
    assert (before[kept] == after[kept]).all()
    assert main([*command, "--task=fly"]) == 2
    assert "declip, packet_loss, bandwidth" in capsys.readouterr().err
    assert main([*command, "--task=declip", "--cutoff_hz=3000"]) == 2
    assert "--cutoff_hz" in capsys.readouterr().err
