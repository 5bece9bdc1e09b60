"""restore, evaluate, prepare, export and doctor, from the command line to the files."""

from __future__ import annotations

import re
import shlex
import shutil
import tomllib
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import soundfile

from diffsr.commands import doctor

RATE_HZ = 16000


def speech(seconds: float = 0.5, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Noise that comes and goes like syllables, `[T, C]`."""
    time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    envelope = 0.5 - 0.5 * np.cos(2 * np.pi * 4 * time_s)
    noise = np.random.default_rng(seed).standard_normal((len(time_s), channels))
    return 0.1 * envelope[:, None] * noise


@pytest.fixture
def prior(shell) -> Path:
    from diffsr.diffusion import Prior
    from diffsr.networks import TFTransformer

    network = TFTransformer(width=16, depth=1, heads=2)
    return Prior(network, RATE_HZ).save_pretrained(shell.folder / "prior")


@pytest.fixture
def noisy(shell) -> Path:
    folder = shell.folder / "noisy"
    (folder / "deep").mkdir(parents=True)
    soundfile.write(folder / "a.wav", speech(), RATE_HZ)
    soundfile.write(folder / "deep" / "b.flac", speech(channels=2, seed=1), RATE_HZ)
    return folder


def test_restore_a_folder_with_a_bad_file(shell, prior: Path, noisy: Path) -> None:
    (noisy / "broken.wav").write_text("not audio")
    command = ("restore", "noisy", "out", "--prior", "prior", "--preset", "fast")
    assert shell(*command) == 2
    assert "restored 2 of 3" in shell.out
    assert "60 network calls each" in shell.out  # 30, and 30 more, as hardly anything was taken for noise
    *lines, error = shell.err.splitlines()
    assert lines == ["diffsr: 1/3 a.wav", "diffsr: 2/3 broken.wav", "diffsr: 3/3 deep/b.flac"]
    assert error.startswith("diffsr: error: ")
    assert "broken.wav" in error
    out = shell.folder / "out"
    assert sorted(p.name for p in out.rglob("*") if p.is_file()) == ["a.wav", "b.flac"]
    assert soundfile.info(out / "deep/b.flac").channels == 2

    before = (out / "a.wav").stat().st_mtime_ns
    assert shell(*command) == 2
    assert "2 skipped, there already from an earlier run" in shell.err
    assert (out / "a.wav").stat().st_mtime_ns == before
    (noisy / "broken.wav").unlink()
    assert shell(*command, "--overwrite") == 0
    assert (out / "a.wav").stat().st_mtime_ns > before


def test_restore_one_channel_of_a_file(shell, prior: Path, noisy: Path) -> None:
    arguments = ("--prior", "prior", "--preset", "fast", "--channels", "1")
    assert shell("restore", "noisy/deep/b.flac", "one.wav", *arguments) == 0
    assert shell.out.rstrip().endswith(": one.wav")
    assert soundfile.info(shell.folder / "one.wav").channels == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["noisy", "out", "--prior=nowhere"], "No prior at nowhere"),
        (["gone.wav", "out", "--prior=prior"], "gone.wav"),
        (["noisy", "out", "--prior=prior", "--task=fly"], "There is no task 'fly'"),
        (["noisy", "out", "--prior=prior", "--preset=slow"], "There is no preset 'slow'"),
        (["noisy", "out", "--prior=prior", "--channels=left"], "--channels left: expected each, mean or"),
        (["noisy", "out", "--prior=prior", "--device=cuda:77"], "cuda:77"),
        (["empty", "out", "--prior=prior"], "empty"),
    ],
)
def test_restore_that_cannot_start(
    shell, prior: Path, noisy: Path, arguments: list[str], expected: str
) -> None:
    (shell.folder / "empty").mkdir()
    assert expected in shell.fails("restore", *arguments)
    assert not (shell.folder / "out").exists()


def test_evaluate(shell, noisy: Path) -> None:
    soundfile.write(shell.folder / "clean.wav", speech(seconds=1.2), RATE_HZ)
    soundfile.write(shell.folder / "est.wav", speech(seconds=1.2) + 0.01, RATE_HZ)
    given = ("evaluate", "est.wav", "clean.wav", "--input", "est.wav")
    assert shell(*given, "--output", "scores.csv") == 0
    assert "SI-SDR" in shell.out
    assert "improvement" in shell.out
    assert (shell.folder / "scores.csv").read_text().count("\n") == 2
    assert shell(*given, "--output", "scores.md") == 0
    assert (shell.folder / "scores.md").read_text().startswith("|")
    assert shell(*given, "--output", "scores.tex") == 0
    assert (shell.folder / "scores.tex").read_text().startswith(r"\begin{tabular}")
    assert "ending in .csv" in shell.fails(*given, "--output", "scores.txt")
    assert "Cannot write est.wav/scores.csv" in shell.fails(*given, "--output", "est.wav/scores.csv")
    assert "SI-SDR" not in shell.out  # told before anything is scored
    assert "nowhere" in shell.fails("evaluate", "nowhere", "clean.wav")


@pytest.mark.parametrize(
    "command",
    ["evaluate '' noisy", "evaluate noisy noisy --input ''", "prepare folder ''", "report listen ''"],
)
def test_an_empty_path_is_not_the_current_folder(shell, noisy: Path, command: str) -> None:
    assert "A path is empty" in shell.fails(*shlex.split(command))
    assert not (shell.folder / "manifest.jsonl").exists()


def test_prepare(shell, noisy: Path) -> None:
    assert shell("prepare", "folder", "noisy", "--output", "list.jsonl") == 0
    assert shell.out.startswith("list.jsonl\n")
    assert (shell.folder / "list.jsonl").read_text().count("\n") == 2
    assert "nowhere" in shell.fails("prepare", "folder", "nowhere")
    assert "invalid choice: 'wsj'" in shell.fails("prepare", "wsj", "noisy")


def test_export(shell, prior: Path) -> None:
    assert shell("export", "prior", "copy") == 0
    copied = shell.folder / "copy"
    assert sorted(p.name for p in copied.iterdir()) == ["README.md", "config.yaml", "model.safetensors"]
    assert (copied / "README.md").read_text() == "# Speech prior\n\n16000 Hz.\n"
    (shell.folder / "prior" / "README.md").write_text("# Of three talkers\n")
    assert "copy is not empty" in shell.fails("export", "prior", "copy")
    assert shell("export", "prior", "copy", "--overwrite") == 0
    assert (copied / "README.md").read_text() == "# Of three talkers\n"
    assert "No prior at gone.ckpt" in shell.fails("export", "gone.ckpt", "other")
    assert not (shell.folder / "other").exists()


def test_doctor(shell) -> None:
    assert shell("doctor") == 0
    lines = [line for line in shell.out.splitlines() if re.match(r"(ok|warn|fail) ", line)]
    assert not [line for line in lines if line.startswith("fail")]
    words = ("Python", "torch", "threads", "torchaudio", "C compiler", "GiB free", "starter corpus")
    for word in (*words, "GiB available", "models: speech-16k-fast, speaker-16k, tracker-16k"):
        assert any(word in line for line in lines), word


def test_doctor_says_which_models_do_not_load(shell, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Path(shell.folder / "package")
    shipped = Path(doctor.__file__).parents[1] / "assets"
    shutil.copytree(shipped / "speakers", home / "assets" / "speakers")
    shutil.copytree(shipped / "priors", home / "assets" / "priors")
    prior = home / "assets" / "priors" / "speech-16k-fast" / "model.safetensors"
    prior.write_bytes(prior.read_bytes()[:1000])
    monkeypatch.setattr("diffsr.io.model_folder.files", lambda name: home)
    assert shell("doctor") == 2
    assert "fail  speech-16k-fast, which ships with diffsr, does not load\n      -> " in shell.out
    assert "fail  tracker-16k, which ships with diffsr, does not load\n      -> " in shell.out
    assert "tracker at tracker-16k" in shell.out
    assert "ok    models: speaker-16k\n" in shell.out
    assert shell.out.endswith("2 failures\n")


def test_doctor_warns_of_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    for available, level in ((1.9, "warn"), (2.1, "ok")):
        monkeypatch.setattr(doctor, "_memory_gib", lambda found=(8.0, available): found)
        [finding] = doctor._memory()
        assert (finding.level, finding.what) == (level, f"memory: {available} of 8.0 GiB available")
    monkeypatch.setattr(doctor, "_memory_gib", lambda: None)
    assert list(doctor._memory()) == []


@pytest.mark.parametrize(("is_fast", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_doctor_says_how_precisely_priors_compute(
    is_fast: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffsr.diffusion.devices.has_fast_bfloat16", lambda: is_fast)
    [cpu] = [one.what for one in doctor.findings() if one.what.startswith("CPU")]
    assert f"restores in {expected} " in cpu


def test_doctor_names_the_fix(shell, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = doctor._version
    monkeypatch.setattr(
        doctor, "_version", lambda name: None if name in ("soxr", "pesq", "onnxruntime") else installed(name)
    )
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    assert shell("doctor") == 2
    assert "fail  not installed: pesq soxr\n      -> make setup" in shell.out
    gone = "warn  not installed: onnxruntime (optional, for DNSMOS and SRMR)\n      -> "
    assert gone + "pip install 'diffsr[evaluation]'\n" in shell.out
    assert "fail  no C compiler, and pesq is built from source\n      -> " in shell.out
    assert "fail  0.0 GiB free" in shell.out
    assert shell.out.endswith("3 failures\n")


def test_doctor_looks_for_everything_that_diffsr_requires(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: None)
    told = {finding.what for finding in doctor._packages()}
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]

    def names(lines: list[str]) -> str:
        return " ".join(re.split(r"[\\[<>=]", line)[0] for line in lines)

    expected = {f"not installed: diffsr {names(project['dependencies'])}"}
    for extra, what in doctor.EXTRAS.items():
        packages = names(project["optional-dependencies"][extra])
        expected.add(f"not installed: {packages} (optional, for {what})")
    assert told == expected


def test_doctor_of_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "requires", unknown)
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "diffsr" else "1")
    assert [finding.level for finding in doctor._packages()] == ["ok", "fail"]
