"""Every kind of bad input through the command line: one message, exit code 2, nothing half-written."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
NOISE = np.random.default_rng(0).standard_normal(8000)


@pytest.fixture
def work(shell, tiny_prior_folder, make_speech) -> Path:
    shutil.copytree(tiny_prior_folder, shell.folder / "prior")
    (shell.folder / "noisy").mkdir()
    soundfile.write(shell.folder / "noisy" / "good.wav", make_speech()[0], 16000)
    return shell.folder


def files_in(folder: Path) -> set[str]:
    """Every file, hidden ones too, but the experiments that stand ready for all tests."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {name for name in found if not name.startswith("experiments/")}


def restore(*arguments: str) -> list[str]:
    return ["restore", *arguments, "--prior", "prior", "--preset", "fast"]


# Recordings --------------------------------------------------------------------------------------

BAD = {
    "text.wav": (lambda path: path.write_text("no audio " * 100), "is not audio that can be read"),
    "picture.flac": (
        lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" * 99),
        "is not audio that can be read",
    ),
    "empty.wav": (lambda path: path.touch(), "is empty (0 bytes)"),
    "header.wav": (lambda path: soundfile.write(path, np.zeros(0), 16000), "holds no samples"),
    "nan.wav": (lambda path: soundfile.write(path, NOISE * np.nan, 16000, "FLOAT"), "8000 NaN or infinite"),
    "silence.wav": (lambda path: soundfile.write(path, np.zeros(8000), 16000), "is silent; expected speech"),
    "clipped.wav": (lambda path: soundfile.write(path, np.sign(NOISE), 16000), "clipped in 100%"),
    "sample.wav": (lambda path: soundfile.write(path, NOISE[:1] / 9, 16000), "(samples: 1, 16000 Hz)"),
}


@pytest.mark.parametrize("name", BAD)
def test_one_bad_recording(shell, work: Path, name: str) -> None:
    make, words = BAD[name]
    make(work / name)
    before = files_in(work)
    message = shell.fails(*restore(name, "out"))
    assert message.startswith(f"diffsr: error: {name}")
    assert words in message
    assert message.count("\n") == 1
    assert files_in(work) == before


@pytest.mark.parametrize("verb", ["restore", "predict"])
def test_bad_recordings_among_good_ones(shell, work: Path, verb: str) -> None:
    for name, (make, _) in BAD.items():
        make(work / "noisy" / name)
    shutil.copy(work / "noisy" / "good.wav", work / "noisy" / "very good.wav")
    command = restore("noisy", "out") if verb == "restore" else predict("noisy", "out")
    before = files_in(work)
    assert shell(*command) == 2
    errors = shell.err[shell.err.index("diffsr: error") :].splitlines()
    for name, (_, words) in BAD.items():
        assert sum(f"noisy/{name}" in line and words in line for line in errors) == 1, name
    assert len(errors) == len(BAD) + (verb == "predict")
    assert "Traceback" not in shell.err
    assert "restored 2 of 10" in shell.out
    assert files_in(work) - before - run_records(work) == {"out/good.wav", "out/very good.wav"}

    times = {path: path.stat().st_mtime_ns for path in (work / "out").iterdir()}
    assert shell(*command) == 2
    assert "2 skipped, there already" in shell.out + shell.err
    assert {path: path.stat().st_mtime_ns for path in (work / "out").iterdir()} == times
    for name in BAD:
        (work / "noisy" / name).unlink()
    assert shell(*command) == 0


@pytest.mark.parametrize("rate_hz", [8000, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_unusual_recordings_are_no_bad_input(
    shell, work: Path, make_speech, rate_hz: int, channels: int, subtype: str
) -> None:
    soundfile.write(work / "a.wav", make_speech(0.3, channels, rate_hz).T, rate_hz, subtype)
    assert shell(*restore("a.wav", "out")) == 0
    out = soundfile.info(work / "out" / "a.wav")
    assert (out.samplerate, out.channels, out.subtype) == (rate_hz, channels, subtype)
    assert out.frames == soundfile.info(work / "a.wav").frames


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("gone.wav", "gone.wav does not exist"),
        ("gone/", "gone does not exist"),
        ("", "A path is empty"),
        ("bare", "No recording in bare or below"),
    ],
)
@pytest.mark.parametrize("verb", ["restore", "predict"])
def test_nothing_to_restore(shell, work: Path, source: str, words: str, verb: str) -> None:
    (work / "bare").mkdir()
    (work / "bare" / "notes.txt").write_text("x")
    before = files_in(work)
    message = shell.fails(*(restore(source, "out") if verb == "restore" else predict(source, "out")))
    assert words in message
    assert files_in(work) == before


def test_a_recording_that_may_not_be_read(shell, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: "good" not in str(path) and allowed(path, mode))
    message = shell.fails(*restore("noisy/good.wav", "out"))
    assert "noisy/good.wav may not be read by this user. Change its permissions" in message


# Results -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["restore", "predict"])
@pytest.mark.parametrize("target", ["taken", "taken/deeper", ""])
def test_output_that_cannot_be_written(shell, work: Path, verb: str, target: str) -> None:
    (work / "taken").write_text("in the way")
    before = files_in(work)
    message = shell.fails(*(restore("noisy", target) if verb == "restore" else predict("noisy", target)))
    assert ("taken is" if target else "A path is empty") in message
    assert files_in(work) - run_records(work) == before


def test_output_without_permission(shell, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (work / "locked").mkdir()
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: "locked" not in str(path) and allowed(path, mode))
    message = shell.fails(*restore("noisy", "locked/out"))
    assert "Cannot write to locked/out:" in message
    assert "may not be written by this user" in message


def test_output_that_is_there_already(shell, work: Path) -> None:
    soundfile.write(work / "mine.wav", NOISE / 9, 16000)
    before = (work / "mine.wav").read_bytes()
    assert shell(*restore("noisy/good.wav", "mine.wav")) == 0  # nothing is wrong: a run that goes on
    assert shell.err == "diffsr: mine.wav is there already; --overwrite replaces it.\n"
    assert (work / "mine.wav").read_bytes() == before
    assert shell(*restore("noisy/good.wav", "mine.wav"), "--overwrite") == 0
    assert (work / "mine.wav").read_bytes() != before


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["noisy", "noisy"], "noisy would be overwritten by its own restoration"),
        (["noisy/good.wav", "noisy"], "noisy/good.wav would be overwritten"),
        (["noisy", "out.wav"], "out.wav is a file or named like one; give a folder"),
        (["noisy/good.wav", "out.m4a"], ".m4a is not a format that can be written"),
        (["noisy/good.wav", "out.wav", "--channels=1"], "channel '1' was asked for and the recording has 1"),
        (["noisy/good.wav", "out.wav", "--device=warp"], "Device warp cannot be used"),
        (["noisy/good.wav", "out.wav", "--precision=half"], "There is no precision 'half'"),
    ],
)
def test_contradictions(shell, work: Path, given: list[str], words: str) -> None:
    before = files_in(work)
    assert words in shell.fails(*restore(*given))
    assert files_in(work) == before


def test_a_full_disk(shell, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> int:
        path.touch()
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    before = files_in(work)
    message = shell.fails(*restore("noisy", "out"))
    assert "Cannot write out/good.wav: No space left on device. Choose another place" in message
    assert files_in(work) == before


def test_ctrl_c(shell, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(work / "noisy" / "good.wav", work / "noisy" / "last.wav")
    replace = os.replace

    def stop_at_last(source: str, target: Path) -> None:
        if target.name == "last.wav":
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", stop_at_last)
    before = files_in(work)
    assert shell(*restore("noisy", "out")) == 130
    assert "What was written is kept; the same command again continues" in shell.err
    assert "Traceback" not in shell.err
    assert files_in(work) - before == {"out/good.wav"}


# Priors ------------------------------------------------------------------------------------------


def spoil_config(prior: Path, **changes: object) -> None:
    config = yaml.safe_load((prior / "config.yaml").read_text())
    network = {**config["network"], **changes.pop("network", {})}  # type: ignore[dict-item]
    (prior / "config.yaml").write_text(yaml.safe_dump({**config, **changes, "network": network}))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda prior: (prior / "config.yaml").unlink(), "config.yaml missing"),
        (lambda prior: (prior / "model.safetensors").unlink(), "model.safetensors missing"),
        (lambda prior: spoil_config(prior, network={"width": 32}), "do not fit its configuration"),
        (lambda prior: spoil_config(prior, network={"name": "brain"}), "does not describe a prior"),
        (lambda prior: spoil_config(prior, network={"widht": 32}), "does not describe a prior"),
        (lambda prior: spoil_config(prior, format="other/9"), "has format 'other/9'"),
        (lambda prior: (prior / "config.yaml").write_text(""), "is empty or not a mapping"),
        (lambda prior: (prior / "model.safetensors").write_bytes(b"x" * 99), "cannot be read as safetensors"),
        (lambda prior: shutil.rmtree(prior), "No prior at prior"),
    ],
)
@pytest.mark.parametrize("verb", ["restore", "predict"])
def test_priors_that_cannot_be_loaded(shell, work: Path, spoil, words: str, verb: str) -> None:
    spoil(work / "prior")
    before = files_in(work)
    message = shell.fails(*(restore("noisy", "out") if verb == "restore" else predict("noisy", "out")))
    assert words in message
    assert "prior" in message
    assert files_in(work) == before


def test_a_prior_that_may_not_be_read(shell, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: "model" not in str(path) and allowed(path, mode))
    assert "model.safetensors may not be read by this user" in shell.fails(*restore("noisy", "out"))


def test_a_saved_prior_is_for_everybody_who_may_read_its_folder(work: Path) -> None:
    modes = {(work / "prior" / name).stat().st_mode & 0o777 for name in ("config.yaml", "model.safetensors")}
    assert len(modes) == 1


def test_a_checkpoint_of_something_else(shell, work: Path) -> None:
    import torch

    torch.save({"state_dict": {}}, work / "other.ckpt")
    (work / "cut.ckpt").write_bytes((work / "other.ckpt").read_bytes()[:200])
    assert "holds no diffsr prior" in shell.fails("restore", "noisy", "out", "--prior", "other.ckpt")
    assert "cannot be loaded as plain weights" in shell.fails(
        "restore", "noisy", "out", "--prior", "cut.ckpt"
    )


# Experiments and training speech -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("experiment", "old", "new", "words"),
    [
        ("prior/starter", "learning_rate:", "learning_rte:", "Did you mean 'learning_rate'?"),
        ("prior/starter", "CleanSpeech", "CleanSpech", "Did you mean 'CleanSpeech'?"),
        ("enhance/default", "n_steps:", "n_stps:", "Did you mean 'n_steps'?"),
        ("enhance/default", "output:", "outptu:", "Did you mean 'output'?"),
    ],
)
def test_a_typo_in_an_experiment(shell, work: Path, experiment: str, old: str, new: str, words: str) -> None:
    text = (EXPERIMENTS / f"{experiment}.yaml").read_text()
    assert old in text
    shell.write("typo.yaml", text.replace(old, new))
    before = files_in(work)
    message = shell.fails("fit" if experiment.startswith("prior") else "predict", "--config", "typo.yaml")
    assert words in message
    assert "typo.yaml, line" in message
    assert files_in(work) == before


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("bare", "No recording in bare or below"),
        ("gone", "gone does not exist"),
        ("list.csv", "list.csv lists no recordings"),
        ("table.csv", "expected a header with 'path'"),
        ("links.csv", "1 of 1 files are missing"),
        ("bad", "speech files cannot be used; first: bad/"),
    ],
)
def test_training_speech_without_audio(shell, work: Path, data: str, words: str) -> None:
    (work / "bare").mkdir()
    shell.write("list.csv", "path,speaker\n")
    shell.write("table.csv", "file\na.wav\n")
    shell.write("links.csv", "path\ngone.wav\n")
    for name in ("bad/a.wav", "bad/b.wav"):
        shell.write(name, "no audio")
    before = files_in(work)
    start = ("fit", "--config", str(EXPERIMENTS / "prior/starter.yaml"), "--trainer.accelerator=cpu")
    message = shell.fails(*start, f"--data.init_args.data={data}")
    assert words in message
    assert message.count("\n") == 1
    assert files_in(work) == before


def test_a_task_is_not_trained(shell, work: Path) -> None:
    before = files_in(work)
    message = shell.fails("fit", "--config", str(EXPERIMENTS / "enhance/default.yaml"))
    assert "restores recordings and trains nothing, so fit cannot run it" in message
    assert "diffsr fit --config experiments/prior/starter.yaml" in message
    assert files_in(work) == before


# Helpers of predict ------------------------------------------------------------------------------


def predict(source: str, target: str) -> list[str]:
    return [
        "predict",
        f"--config={EXPERIMENTS / 'enhance/default.yaml'}",
        f"--data.init_args.input={source}",
        f"--model.init_args.output={target}",
        "--model.init_args.prior=prior",
        "--model.init_args.sampler.init_args.n_steps=3",
        "--trainer.accelerator=cpu",
    ]


def run_records(folder: Path) -> set[str]:
    """What a started prediction notes down about itself."""
    return {name for name in files_in(folder) if name.startswith("runs/")}
