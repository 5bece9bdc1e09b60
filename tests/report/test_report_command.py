"""`diffsr report scene` from the command line, on the starter corpus and on small folders."""

import csv
import json

import pytest
import torch

from diffsr.cli import main
from diffsr.commands.report import key_of
from diffsr.io.audio import write_audio

RATE_HZ = 8000
QUICK = ["--rate_hz", "8000", "--crop_s", "1", "--rooms", "none"]


@pytest.fixture
def data(tmp_path):
    """A folder of manifests: speech of two talkers in each split, noise and responses for train and test."""
    folder = tmp_path / "data"
    generator = torch.Generator().manual_seed(0)

    def lists(name, rows):
        with (folder / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)

    def wave(path, seconds, level=0.1):
        samples = level * torch.randn(1, round(seconds * RATE_HZ), generator=generator)
        write_audio(folder / path, samples, RATE_HZ)

    for split in ("train", "valid", "test"):
        names = [f"{split}-{k}" for k in range(2)]
        for name in names:
            wave(f"{name}.wav", 1.5)
        lists(f"speech_{split}.csv", [{"path": f"{name}.wav", "speaker": name} for name in names])
    for split in ("train", "test"):
        wave(f"noise-{split}.wav", 2.0)
        lists(f"noise_{split}.csv", [{"path": f"noise-{split}.wav", "category": f"{split} rain"}])
    decay = 10 ** (-3 * torch.arange(RATE_HZ // 2) / (0.3 * RATE_HZ))  # 60 dB in 0.3 s
    for k in range(2):
        response = 0.05 * decay * torch.randn(1, RATE_HZ // 2, generator=generator)
        response[:, :80], response[:, 80] = 0.0, 0.9
        write_audio(folder / f"response-{k}.wav", response, RATE_HZ)
    lists("rir_train.csv", [{"path": f"response-{k}.wav", "room": "the hall"} for k in range(2)])
    return folder


def test_measured_rooms_of_the_folder(data, tmp_path, capsys):
    arguments = ["--data", str(data), "--rooms", "measured", "--index", "0", *QUICK[:4]]
    assert main(["report", "scene", *arguments, "--output", str(tmp_path / "a.png")]) == 0
    shown = capsys.readouterr().out
    assert "measured, the hall" in shown
    assert "T60 measured  0.3" in shown or "T60 measured  0.29" in shown


@pytest.mark.slow
def test_manifests_of_the_other_kind_are_found(data, tmp_path, capsys):
    (data / "speech_train.jsonl").write_text(
        "".join(json.dumps({"path": f"train-{k}.wav", "speaker": str(k)}) + "\n" for k in range(2))
    )
    (data / "speech_train.csv").unlink()
    target = str(tmp_path / "scene.png")
    assert main(["report", "scene", "--data", str(data), "--index", "0", "--output", target, *QUICK]) == 0
    assert "rain" in capsys.readouterr().out


def test_simulated_rooms_are_the_default(tmp_path, capsys):
    arguments = ["--index", "5", "--microphones", "2", "--rate_hz", "8000", "--crop_s", "1"]
    assert main(["report", "scene", *arguments, "--output", str(tmp_path / "a.png")]) == 0
    assert "s asked for, talkers" in capsys.readouterr().out


def test_starter_corpus_without_any_data(tmp_path, capsys):
    path = tmp_path / "a.png"
    assert main(["report", "scene", "--index", "3", *QUICK, "--output", str(path)]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[0] == str(path)
    assert path.stat().st_size > 10_000
    for word in ("train-00001-00000-00003", "fingerprint", "talker 2", "noise         none"):
        assert word in shown


def test_scene_is_the_one_of_the_data_module(data, tmp_path, capsys):
    from data_modules import Whamr
    from diffsr.simulation.draw import SceneSettings

    arguments = ["--data", str(data), "--split", "test", "--index", "2", "--seed", "5"]
    audio = tmp_path / "audio"
    output = ["--output", str(tmp_path / "a.png"), "--audio", str(audio)]
    assert main(["report", "scene", *arguments, *QUICK, *output]) == 0
    assert "test rain" in capsys.readouterr().out
    module = Whamr(
        speech=str(data / "speech_train.csv"),
        test_speech=str(data / "speech_test.csv"),
        noise=str(data / "noise_train.csv"),
        test_noise=str(data / "noise_test.csv"),
        scene=SceneSettings(rate_hz=RATE_HZ, crop_s=1.0),
        num_workers=0,
        n_test_scenes=3,
        seed=5,
    )
    module.setup("test")
    item = list(module.test_dataloader())[2]
    from diffsr.io.audio import read_audio

    wave, _ = read_audio(audio / f"{item['id'][0]}-observation.wav")
    assert torch.equal(wave, item["observation"][0])


def test_keys_are_the_streams_of_the_data_module():
    assert key_of("train", 7) == (1, 0, 7)
    assert key_of("valid", 7) == (2, 7)
    assert key_of("test", 7) == (3, 7)


def test_validation_uses_the_training_noise_where_it_has_none(data, tmp_path, capsys):
    arguments = ["--data", str(data), "--split", "valid", "--index", "0", *QUICK]
    assert main(["report", "scene", *arguments, "--output", str(tmp_path / "a.png")]) == 0
    shown = capsys.readouterr().out
    assert "train rain" in shown
    assert "valid-0" in shown


def test_noise_can_be_switched_off(data, tmp_path, capsys):
    arguments = ["--data", str(data), "--noise", "none", "--index", "0", "--crop_s", "none"]
    assert main(["report", "scene", *arguments, *QUICK[:2], *QUICK[4:], "--output", f"{tmp_path}/a.png"]) == 0
    shown = capsys.readouterr().out
    assert "noise         none" in shown
    assert "1.50 s" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--index", "-1"], "--index is -1, expected 0 or more"),
        (["--index", "0", "--seed", "-2"], "--seed is -2, expected 0 or more"),
        (["--index", "0", "--data", "nowhere"], "--data nowhere does not exist, expected a folder"),
        (["--index", "0", "--data", "."], "has no speech_train.csv"),
        (["--index", "0", "--speech", "nowhere.csv"], "nowhere.csv does not exist"),
        (["--index", "0", "--rooms", "measured"], "--rooms measured takes the responses of --data"),
        (["--index", "0", "--talkers", "7"], "n_talkers is 7, expected 1, 2 or 3"),
        (["--index", "0", "--crop_s", "long"], "'long' is not a number of seconds, nor none"),
        (["--index", "0", "--output", "scene.jpg"], "expected a name that ends in .png"),
        (["--index", "three"], "invalid int value: 'three'"),
        ([], "required: --index"),
    ],
)
def test_bad_input_is_one_message(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["report", "scene", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_target_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "scene.png").mkdir()
    arguments = ["report", "scene", "--index", "0", *QUICK, "--output", str(tmp_path / "scene.png")]
    assert main(arguments) == 2
    assert "it is a folder" in capsys.readouterr().err
