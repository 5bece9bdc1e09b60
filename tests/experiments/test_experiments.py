"""Every YAML under experiments/ parses against the real classes; every sweep names keys that exist."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from functools import reduce
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from diffsr.cli import main
from diffsr.diffusion import Prior
from diffsr.evaluation.metrics import DEFAULT_METRICS
from diffsr.networks import TFTransformer

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"
OVERLAYS = sorted((EXPERIMENTS / "trainer").glob("*.yaml"))
SWEEPS = sorted((EXPERIMENTS / "sweep").glob("*.yaml"))
SAMPLERS = sorted((EXPERIMENTS / "sampler").glob("*.yaml"))
PARTS = sorted((EXPERIMENTS / "data").glob("*.yaml"))
COMPLETE = sorted(
    path
    for path in EXPERIMENTS.rglob("*.yaml")
    if path.parent.name not in {"trainer", "sweep", "debug", "data", "sampler"}
)


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def name(path: Path) -> str:
    return str(path.relative_to(EXPERIMENTS).with_suffix(""))


LOGGED = {"fit": {"valid/loss"}, "test": {f"test/{metric}" for metric in DEFAULT_METRICS}}
"""What the verbs log, of which a sweep minimises or maximises one; tests of the tasks see that they do."""


def verb_of(path: Path) -> str:
    """Priors, encoders and listeners are trained, recordings restored, and what has references is tested."""
    if path.parent.name in {"prior", "speakers", "noise"}:
        return "fit"
    data = yaml.safe_load(path.read_text(encoding="utf-8"))["data"]["class_path"]
    return "predict" if data == "data_modules.Folder" else "test"


def resolved(*files: Path, more: tuple[str, ...] = ()) -> dict:
    """The configuration that a command would run, from `--print_config`."""
    arguments = [
        verb_of(files[0]),
        *(f"--config={path.relative_to(ROOT)}" for path in files),
        *more,
        "--print_config",
    ]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(arguments)
        except SystemExit as stop:
            code = int(stop.code or 0)
    assert code == 0, err.getvalue()
    return yaml.safe_load(out.getvalue())


def keys(section: object, path: str = "") -> Iterator[str]:
    if isinstance(section, dict):
        for key, value in section.items():
            yield f"{path}{key}"
            yield from keys(value, f"{path}{key}.")


@pytest.mark.parametrize("path", COMPLETE, ids=name)
def test_experiment_parses(path: Path) -> None:
    config = resolved(path)
    assert config["model"]["class_path"].startswith("diffsr.tasks.")
    assert "${" not in yaml.safe_dump(config)
    head = path.read_text(encoding="utf-8").lstrip()
    assert head.startswith("#"), "an experiment begins with what it is and how to run it"


@pytest.mark.parametrize("path", OVERLAYS, ids=name)
def test_overlay_parses(path: Path) -> None:
    config = resolved(EXPERIMENTS / "prior" / "starter.yaml", path)
    assert config["trainer"]["logger"]["class_path"].startswith("lightning.pytorch.loggers.")


@pytest.mark.parametrize("path", PARTS, ids=name)
def test_data_can_be_put_into_an_experiment(path: Path) -> None:
    axis = "--data.init_args.scene.n_talkers=1"
    data = resolved(EXPERIMENTS / "enhance" / "default.yaml", more=(f"--data={path}", axis))["data"]
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert data["class_path"] == given["class_path"]
    expected = {**given["init_args"], "scene": {**given["init_args"]["scene"], "n_talkers": 1}}
    assert {key: data["init_args"][key] for key in expected if key != "scene"} == {
        key: value for key, value in expected.items() if key != "scene"
    }
    assert expected["scene"].items() <= data["init_args"]["scene"].items()
    assert path.read_text(encoding="utf-8").startswith("#"), "a part begins with what it is"


@pytest.mark.parametrize("path", SAMPLERS, ids=name)
def test_sampler_can_be_put_into_an_experiment(path: Path) -> None:
    put = resolved(EXPERIMENTS / "enhance" / "default.yaml", more=(f"--model.init_args.sampler={path}",))
    sampler = put["model"]["init_args"]["sampler"]
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert sampler["class_path"] == given["class_path"]
    for part in ("guidance", "solver"):
        assert sampler["init_args"][part]["class_path"] == given["init_args"][part]["class_path"]


@pytest.mark.parametrize("path", SWEEPS, ids=name)
def test_sweep_names_what_exists(path: Path) -> None:
    sweep = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert (ROOT / sweep["program"]).is_file()
    command = sweep["command"]
    assert command[:4] == ["${env}", "${interpreter}", "-m", "diffsr"]
    assert command[-1] == "${args}"
    files = [ROOT / command[i + 1] for i, word in enumerate(command) if word == "--config"]
    assert files
    assert all(file.is_file() for file in files)
    config = resolved(*files)
    assert command[4] == verb_of(files[0])
    unknown = set(sweep["parameters"]) - set(keys(config))
    assert not unknown
    assert sweep["method"] in {"bayes", "random", "grid"}
    assert sweep["metric"]["goal"] in {"minimize", "maximize"}
    assert sweep["metric"]["name"] in LOGGED[verb_of(files[0])]


@pytest.mark.parametrize("path", SWEEPS, ids=name)
def test_sweep_values_are_accepted(path: Path) -> None:
    """The flags that an agent would append, the smallest value of each."""
    sweep = yaml.safe_load(path.read_text(encoding="utf-8"))
    parameters = sweep["parameters"].items()
    smallest = {key: spec["min"] if "min" in spec else spec["values"][0] for key, spec in parameters}
    flags = [f"--{key}={value}" for key, value in smallest.items()]
    files = [word for i, word in enumerate(sweep["command"]) if sweep["command"][i - 1] == "--config"]
    fixed = [word for word in sweep["command"] if word.startswith("--") and "=" in word]
    arguments = [
        sweep["command"][4],
        *(f"--config={file}" for file in files),
        *(re.sub(r"\$\{envvar:\w+\}", "data.csv", word) for word in fixed),
        *flags,
        "--print_config",
    ]
    with contextlib.redirect_stdout(io.StringIO()) as out, pytest.raises(SystemExit) as stop:
        main(arguments)
    assert not stop.value.code
    shown = yaml.safe_load(out.getvalue())
    for key, value in smallest.items():
        assert float(reduce(dict.__getitem__, key.split("."), shown)) == float(value)


NETWORK = "--model.init_args.prior.init_args.network.init_args"
ENCODER = "--model.init_args.encoder.init_args"
TRACKER = "--model.init_args.tracker.init_args"
LISTENER = "--model.init_args.listener.init_args"
REFERENCE = "--data.init_args.reference_s=0.512"
SMALL_NETWORK = {
    "diffsr.networks.TFTransformer": (f"{NETWORK}.width=16", f"{NETWORK}.depth=1"),
    "diffsr.networks.NCSNpp": (f"{NETWORK}.nf=8", f"{NETWORK}.n_fft=126", f"{NETWORK}.hop_samples=63"),
    "diffsr.networks.TFDualPath": (f"{NETWORK}.width=16", f"{NETWORK}.depth=1", f"{NETWORK}.heads=1"),
    "diffsr.speakers.SpeakerEncoder": (f"{ENCODER}.width=16", f"{ENCODER}.depth=1", REFERENCE),
    "diffsr.speakers.VoiceTracker": (f"{TRACKER}.width=16", f"{TRACKER}.depth=1"),
    "diffsr.noise.NoiseListener": (f"{LISTENER}.width=16", f"{LISTENER}.depth=1"),
}
SMALL = {
    "fit": (
        "--data.init_args.crop_s=0.512",
        "--data.init_args.batch_size=2",
        "--data.init_args.n_valid_crops=2",
        "--trainer.max_steps=1",
    ),
    "predict": (),
    "test": (
        "--data.init_args.scene.crop_s=0.5",
        "--data.init_args.n_test_scenes=2",
        "--data.init_args.num_workers=0",
    ),
}


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """Two talkers, two recordings each, of noise in syllables."""
    time_s = np.arange(16000) / 16000
    for seed, (talker, take) in enumerate((talker, take) for talker in "ab" for take in "12"):
        noise = np.random.default_rng(seed).standard_normal(time_s.size)
        folder = tmp_path / "speech" / talker
        folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"{take}.wav", 0.1 * np.sin(np.pi * 4 * time_s) ** 2 * noise, 16000)
    return tmp_path / "speech"


def damage(speech: Path, is_low_pass: bool) -> None:
    """Recordings without upper frequencies, or clipped and with a gap: something to do for every repair."""
    for file in speech.rglob("*.wav"):
        wave, rate_hz = soundfile.read(file)
        if is_low_pass:
            spectrum = np.fft.rfft(wave)
            spectrum[np.fft.rfftfreq(len(wave), 1 / rate_hz) > 3500] = 0.0
            wave = np.fft.irfft(spectrum, len(wave))
        else:
            wave[7000:7400] = 0.0
            wave = wave.clip(-0.1, 0.1)
        soundfile.write(file, wave, rate_hz)


def few_steps(model: dict) -> list[str]:
    """The flags for two levels, of the sampler or of the one that it runs, and of further passes."""
    sampler = model["sampler"]
    inner = ".sampler.init_args" * (isinstance(sampler, dict) and "sampler" in sampler.get("init_args", {}))
    places = [f"sampler.init_args{inner}"]
    further = [
        part for part in ("each_talker", "second_pass", "second_search") if model.get(part) is not None
    ]
    places += [f"{part}.init_args.sampler.init_args" for part in further]
    return [f"--model.init_args.{place}.n_steps=2" for place in places]


def part_to_train(model: dict) -> str:
    """Class of the network of a prior, or of a speaker encoder, a voice tracker, a noise listener."""
    for name in ("encoder", "tracker", "listener"):
        if name in model:
            return model[name]["class_path"]
    return model["prior"]["init_args"]["network"]["class_path"]


def without_others(model: dict) -> list[str]:
    """The flags for a small network that cannot go on from one that ships, nor learn from it."""
    return [f"--model.init_args.{other}=null" for other in ("start", "teacher") if model.get(other)]


@pytest.mark.parametrize("path", COMPLETE, ids=name)
def test_experiment_runs_one_small_step(path: Path, speech: Path, tmp_path: Path) -> None:
    verb, given = (
        verb_of(path),
        [f"--config={path}", f"--runs={tmp_path / 'runs'}", "--trainer.accelerator=cpu"],
    )
    model = yaml.safe_load(path.read_text(encoding="utf-8"))["model"]["init_args"]
    if verb == "fit":
        small = (*SMALL[verb], *SMALL_NETWORK[part_to_train(model)], *without_others(model))
        assert main([verb, *given, *small, f"--data.init_args.data={speech}"]) == 0
        [run] = (tmp_path / "runs").glob("*/*/*")
        assert (run / "checkpoints" / "last.ckpt").is_file()
        assert (run / "finished.json").is_file()
        return
    given += few_steps(model)
    if "talkers" in model:
        given.append("--model.init_args.n_samples=2")  # restarts to choose from
    prior = Prior(TFTransformer(width=16, depth=1, heads=2)).save_pretrained(tmp_path / "prior")
    if verb == "test":
        files = [f"--model.init_args.prior={prior}", f"--data.init_args.test_speech={speech}"]
        assert main([verb, *given, *SMALL[verb], *files, f"--data.init_args.noise={speech}"]) == 0
        [scores] = (tmp_path / "runs").rglob("scores.csv")
        assert len(scores.read_text(encoding="utf-8").splitlines()) == 3
        return
    if path.parent.name == "repair":
        damage(speech, is_low_pass="bandwidth" in path.name)
    files = [f"--model.init_args.prior={prior}", f"--model.init_args.output={tmp_path / 'out'}"]
    if model.get("degradation", {}).get("init_args", {}).get("path"):
        soundfile.write(tmp_path / "response.wav", 0.9 ** np.arange(400), 16000)
        files.append(f"--model.init_args.degradation.init_args.path={tmp_path / 'response.wav'}")
    assert main([verb, *given, *SMALL[verb], *files, f"--data.init_args.input={speech}"]) == 0
    n_files = model.get("talkers", 0) + 1  # one for each, and the residual
    assert len(list((tmp_path / "out").rglob("*.wav"))) == 4 * n_files


@pytest.mark.parametrize("path", [path for path in COMPLETE if verb_of(path) == "fit"], ids=name)
def test_trainings_validate_by_steps(path: Path) -> None:
    """An interval within epochs is refused by Lightning where devices share an epoch."""
    trainer = yaml.safe_load(path.read_text(encoding="utf-8"))["trainer"]
    assert isinstance(trainer["val_check_interval"], int)
    assert trainer["check_val_every_n_epoch"] is None
