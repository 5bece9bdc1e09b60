"""Tasks under `test`: every item restored as if alone, scored, and told."""

import csv
import subprocess
import sys
from pathlib import Path

import lightning
import pytest
import torch

from data_modules import Paired, Whamr
from diffsr.api import Restorer
from diffsr.errors import ConfigError, DataError
from diffsr.evaluation.metrics import si_sdr_db
from diffsr.io.audio import write_audio
from diffsr.likelihoods import NMFNoise
from diffsr.recipes import Recipe
from diffsr.samplers import AnnealedSampler, NoisePerturbed
from diffsr.simulation.draw import SceneSettings
from diffsr.tasks import EnhanceModule
from diffsr.tasks.scoring import score_batch


def sampler():
    return AnnealedSampler(NoisePerturbed(), n_steps=2)


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    folder = tmp_path_factory.mktemp("noise")
    rng = torch.Generator().manual_seed(1)
    write_audio(folder / "hiss.wav", 0.1 * torch.randn(1, 48000, generator=rng), 16000)
    return str(folder)


def scenes(noise, **options):
    scene = SceneSettings(
        n_talkers=options.pop("n_talkers", 1), crop_s=options.pop("crop_s", None), longest_s=1.0
    )
    return Whamr(noise=noise, scene=scene, num_workers=0, **{"n_test_scenes": 3, "batch_size": 2, **options})


def trainer_in(folder):
    return lightning.Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        inference_mode=False,
        default_root_dir=folder,
    )


def table_of(folder):
    with (folder / "scores.csv").open(encoding="utf-8") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def test_scores_of_scenes(tiny_prior_folder, noise, tmp_path):
    task = EnhanceModule(str(tiny_prior_folder), sampler(), NMFNoise(), seed=3)
    [found] = trainer_in(tmp_path).test(task, datamodule=scenes(noise), verbose=False)
    table = table_of(tmp_path)
    assert sorted(table) == [f"test-00003-{number:05d}" for number in range(3)]
    data = scenes(noise)
    data.setup("test")
    restorer = Restorer(tiny_prior_folder, recipe=Recipe(sampler(), NMFNoise()), seed=3, device="cpu")
    output, before = [], []
    for number in range(3):
        scene = data.makers["test"].scene(3, number)
        restored = restorer.restore(scene.observation, 16000, scene.plan.id).wave
        output.append(float(si_sdr_db(restored[0], scene.direct[0, 0])))
        before.append(float(si_sdr_db(scene.observation[0], scene.direct[0, 0])))
        row = table[scene.plan.id]
        assert float(row["si_sdr_db_output"]) == pytest.approx(output[-1], abs=1e-3)
        assert float(row["snr_db"]) == pytest.approx(scene.plan.noise.snr_db)
        assert row["groups"] == scene.plan.talkers[0].speaker
    assert found["test/si_sdr_db"] == pytest.approx(sum(output) / 3, abs=1e-3)
    assert found["test/input_si_sdr_db"] == pytest.approx(sum(before) / 3, abs=1e-3)


def test_scores_do_not_depend_on_the_batch(tiny_prior_folder, noise, tmp_path):
    tables = []
    for batch_size in (1, 3):
        task = EnhanceModule(str(tiny_prior_folder), sampler(), NMFNoise())
        folder = tmp_path / str(batch_size)
        folder.mkdir()
        trainer_in(folder).test(task, datamodule=scenes(noise, batch_size=batch_size), verbose=False)
        tables.append(table_of(folder))
    assert tables[0] == tables[1]


def test_the_first_microphone_is_restored_and_scored(tiny_prior_folder, make_speech):
    speech = torch.from_numpy(make_speech(1.0))[0]
    noise = 0.1 * torch.randn(2, len(speech), generator=torch.Generator().manual_seed(0))
    rows = []
    for n_microphones in (1, 2):
        batch = {
            "id": ["a"],
            "observation": (speech + noise)[None, :n_microphones],
            "target": speech[None, None],
            "n_samples": torch.tensor([len(speech)]),
            "rate_hz": [16000],
        }
        restorer = Restorer(
            tiny_prior_folder, recipe=Recipe(sampler(), NMFNoise()), device="cpu", channels="mean"
        )
        found, failed = score_batch(batch, restorer)
        assert not failed
        rows += found
    assert rows[0] == rows[1]


def test_items_that_cannot_be_restored_are_told(tiny_prior_folder, make_speech, tmp_path, capsys):
    speech = torch.from_numpy(make_speech(1.0))
    for name, wave in (("good", speech), ("silent", torch.zeros_like(speech))):
        write_audio(tmp_path / "noisy" / f"{name}.wav", wave, 16000)
        write_audio(tmp_path / "clean" / f"{name}.wav", speech, 16000)
    task = EnhanceModule(str(tiny_prior_folder), sampler(), NMFNoise())
    trainer_in(tmp_path).test(task, datamodule=Paired(str(tmp_path), num_workers=0), verbose=False)
    out = capsys.readouterr().out
    assert "scored 1 of 2 items" in out
    assert "silent: The recording is silent" in out
    (tmp_path / "noisy" / "good.wav").unlink()
    with pytest.raises(DataError, match="None of the 1 items could be scored. First, silent"):
        trainer_in(tmp_path).test(task, datamodule=Paired(str(tmp_path), num_workers=0), verbose=False)


def test_more_talkers_than_the_task_restores(tiny_prior_folder, noise, tmp_path):
    task = EnhanceModule(str(tiny_prior_folder), sampler(), NMFNoise())
    with pytest.raises(ConfigError, match=r"2 talkers and this task restores 1.*of data_modules\.Whamr: "):
        trainer_in(tmp_path).test(task, datamodule=scenes(noise, n_talkers=2), verbose=False)


def test_a_batch_without_items(tiny_prior):
    empty = {
        "id": [],
        "n_samples": torch.zeros(0),
        "target": torch.zeros(0, 0, 0),
        "observation": torch.zeros(0, 0, 0),
    }
    assert score_batch(empty, Restorer(tiny_prior)) == ([], {})


def test_predict_wants_recordings(tiny_prior_folder, noise, tmp_path):
    task = EnhanceModule(str(tiny_prior_folder), sampler(), NMFNoise(), output=str(tmp_path / "out"))
    with pytest.raises(ConfigError, match=r"recordings of data_modules.Folder, the data are Whamr"):
        trainer_in(tmp_path).predict(task, datamodule=scenes(noise))


@pytest.mark.slow
@pytest.mark.parametrize("n_scenes", [1, 3])
def test_two_devices_score_what_one_does(tiny_prior_folder, noise, tmp_path, n_scenes):
    """Also where there is nothing for the second device to do."""
    experiment = Path(__file__).parents[2] / "experiments" / "enhance" / "whamr.yaml"
    command = [
        *(sys.executable, "-m", "diffsr", "test", f"--config={experiment}"),
        f"--model.init_args.prior={tiny_prior_folder}",
        "--model.init_args.sampler.init_args.n_steps=2",
        f"--data.init_args.noise={noise}",
        "--data.init_args.scene.crop_s=1.0",
        f"--data.init_args.n_test_scenes={n_scenes}",
        "--data.init_args.num_workers=0",
        "--trainer.accelerator=cpu",
    ]
    tables = []
    for devices in ("--trainer.devices=1", "--trainer.devices=2"):
        folder = tmp_path / devices[-1]
        folder.mkdir()
        done = subprocess.run(
            [*command, devices, "--trainer.strategy=ddp"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(f"scored {n_scenes} of {n_scenes} items: ") == 1
        assert "test/si_sdr_db" in done.stdout
        [found] = folder.rglob("scores.csv")
        tables.append(table_of(found.parent))
    assert len(tables[0]) == n_scenes
    assert tables[0] == tables[1]


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_a_precision_of_the_trainer_is_refused(tiny_prior_folder, precision):
    task = EnhanceModule(str(tiny_prior_folder), sampler(), NMFNoise())
    trainer = lightning.Trainer(accelerator="cpu", precision=precision, logger=False)
    task.trainer = trainer
    with pytest.raises(ConfigError, match=f"trainer.precision is {precision}.*model.init_args.precision"):
        task.on_test_start()
