"""`diffsr predict` has the samples, the physics and the batches of `diffsr restore`."""

from __future__ import annotations

from pathlib import Path

import soundfile

from diffsr.cli import main

EXPERIMENT = Path(__file__).parents[2] / "experiments" / "enhance" / "default.yaml"


def files(folder: Path) -> dict[str, bytes]:
    """All but the time that it took, which the summary tells."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.endswith(".json")}


def test_predict_writes_what_restore_writes(tiny_prior_folder, make_speech, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("a", "b", "c")):
        soundfile.write(tmp_path / f"{name}.wav", make_speech(0.3, seed=seed).T, 16000)
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / f"{name}.wav").rename(tmp_path / "in" / f"{name}.wav")
    prior = str(tiny_prior_folder)
    options = ["--samples=2", "--physics", "--batch=2"]
    assert main(["restore", "in", "one", "--prior", prior, *options]) == 0
    init = {"prior": prior, "output": "two", "physics": "true", "batch": "2"}
    init |= {"n_samples": "2", "keep_samples": "true"}
    command = ["predict", f"--config={EXPERIMENT}", "--data.init_args.input=in", "--trainer.accelerator=cpu"]
    command += [f"--model.init_args.{name}={value}" for name, value in init.items()]
    assert main([*command, "--data.init_args.batch_size=4"]) == 0
    told = capsys.readouterr().out
    assert told.count("restored 3 of 3 (0.9 s of audio in ") == 2
    assert told.count("60 network calls each, peak memory ") == 2
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert (tmp_path / "two" / "b.json").is_file()
    assert len(files(tmp_path / "two")) == 3 * (1 + 1 + 2)  # the mean, the picture, the samples


def test_predict_takes_no_name_of_a_file_for_the_folder(
    tiny_prior_folder, make_speech, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    soundfile.write(tmp_path / "a.wav", make_speech(0.3).T, 16000)
    init = {"prior": str(tiny_prior_folder), "output": "out.wav"}
    command = [
        "predict",
        f"--config={EXPERIMENT}",
        "--data.init_args.input=a.wav",
        "--trainer.accelerator=cpu",
    ]
    command += [f"--model.init_args.{name}={value}" for name, value in init.items()]
    assert main(command) == 2
    assert "out.wav is a file or named like one; give a folder" in capsys.readouterr().err
    assert not (tmp_path / "out.wav").exists()
