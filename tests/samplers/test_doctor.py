"""`diffsr doctor --sampler FILE`: every sampler that ships loads, every bad file gets one clear message."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
import yaml

from diffsr.cli import main
from diffsr.commands import check_sampler
from diffsr.errors import ConfigError
from diffsr.recipe_file import load_sampler
from diffsr.samplers import AnnealedSampler, NoisePerturbed, Renoise
from diffsr.samplers.oracle import ORACLES, TALKERS_ORACLES, compare, talkers_oracle
from diffsr.samplers.randomness import RowNoise

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "experiments" / "sampler").glob("*.yaml"))
TASKS = ("enhance", "dereverb", "denoise_dereverb", "repair", "separate", "joint")
EXPERIMENTS = sorted(path for task in TASKS for path in (ROOT / "experiments" / task).glob("*.yaml"))


@pytest.fixture
def short(monkeypatch):
    """Oracles of few samples: what is tested here is the command."""
    for table in ("ORACLES", "TALKERS_ORACLES"):
        made = {name: partial(make, n_samples=512) for name, make in globals()[table].items()}
        monkeypatch.setattr(check_sampler, table, made)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_shipped_sampler_loads_and_says_how_to_check_it(path):
    sampler = load_sampler(path)
    given = yaml.safe_load(path.read_text(encoding="utf-8"))["init_args"]
    for part in ("guidance", "solver"):
        name = given[part]["class_path"].rpartition(".")[2]
        assert type(getattr(sampler, part)).__name__ == name
        for option, value in given[part].get("init_args", {}).items():
            assert getattr(getattr(sampler, part), option) == value
    assert len(sampler.sigmas) == given["n_steps"] + 1
    head = path.read_text(encoding="utf-8")
    assert head.startswith("#")
    assert f"diffsr doctor --sampler {path.relative_to(ROOT)}" in head


def test_the_report_has_figures_and_a_verdict(short, capsys):
    assert main(["doctor", "--sampler", str(ROOT / "experiments/sampler/noise_perturbed.yaml")]) == 0
    out = capsys.readouterr().out
    assert "NoisePerturbed, Euler, 60 levels from 0.5, churn 2" in out
    lines = [line for line in out.splitlines() if line.startswith(("white", "coloured"))]
    assert [line.split()[:2] for line in lines] == [
        [prior, start] for prior in ("white", "coloured") for start in ("exact", "recording")
    ]
    for line in lines:
        assert "biased: mean too close to the recording, spread too narrow" in line
        assert line.split()[8] == "60"
    assert float(lines[0].split()[2]) == pytest.approx(0.025, abs=1e-4)
    assert float(lines[0].split()[5]) == pytest.approx(0.0354, abs=1e-4)
    assert "\nbiased: " in out


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_sampler_of_every_experiment_is_judged_by_talkers_where_there_are_some(path, short, capsys):
    assert main(["doctor", "--sampler", str(path)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    for_talkers = path.parent.name in ("separate", "joint")
    known = TALKERS_ORACLES if for_talkers else ORACLES
    judged = [line for line in lines if line and line[0] in known]
    assert [line[0] for line in judged] == [name for name in known for _ in range(2)]
    if path.parent.name in ("enhance", "separate"):
        mean_exact, mean_found = (float(judged[0][place]) for place in (2, 3))
        assert mean_found == pytest.approx(mean_exact, rel=0.25)


@pytest.mark.parametrize(("ratio", "share"), [(1.0, 0.5), (3.0, 0.9)])
def test_the_start_of_the_talkers_oracle_is_a_draw_of_its_posterior(ratio, share):
    oracle = talkers_oracle("any", ratio)
    draws = oracle.start(0.0, RowNoise(0, ["a"], 16), 16)
    torch.testing.assert_close(draws.sum(1), oracle.y.expand(16, -1))
    torch.testing.assert_close(oracle.mean, share * oracle.y)
    first, second = draws.unbind(1)
    assert compare(first, oracle).is_exact
    assert not compare(second + 0.1 * oracle.y, oracle).is_exact
    # as by the rule for jointly Gaussian variables, with the variances of the priors
    own, other = (prior.sigma_data**2 for prior in oracle.prior.priors)
    assert float(first.var()) == pytest.approx(
        own * other / (own + other) + float(oracle.mean.var()), rel=0.03
    )
    assert oracle.prior.sigma_data == pytest.approx(0.05)
    small = "silence" if ratio == 1.0 else "an even split"
    assert compare(0.5 * first, oracle).verdict.startswith(f"biased: mean too close to {small}")
    noisy = oracle.start(1.0, RowNoise(0, ["a"], 16), 16)
    assert float((noisy - draws).std()) == pytest.approx(1.0, rel=0.02)


def test_a_talkers_verdict_names_the_even_split(capsys):
    assert main(["doctor", "--sampler", str(ROOT / "experiments/separate/undiff.yaml")]) == 0
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if line.startswith(("alike", "louder"))]
    assert "judged by two talkers" in out
    assert lines[0].endswith("exact within 5%")
    assert lines[2].endswith("mean too close to an even split, spread too wide")
    assert float(lines[2].split()[3]) / float(lines[2].split()[2]) == pytest.approx(0.746 / 0.9, rel=0.02)


@pytest.mark.parametrize(
    ("text", "kind", "part"),
    [
        ("class_path: diffsr.samplers.NoisePerturbed\ninit_args: {weight: 1.2}", NoisePerturbed, "guidance"),
        ("class_path: diffsr.samplers.Renoise\ninit_args: {sampled: false}", Renoise, "solver"),
    ],
)
def test_a_guidance_or_a_solver_alone_runs_in_the_default_sampler(tmp_path, text, kind, part):
    (tmp_path / "part.yaml").write_text(text)
    sampler = load_sampler(tmp_path / "part.yaml")
    assert isinstance(getattr(sampler, part), kind)
    assert len(sampler.sigmas) == len(AnnealedSampler().sigmas)


def test_the_sampler_of_an_experiment_is_found():
    sampler = load_sampler(ROOT / "experiments" / "enhance" / "default.yaml")
    assert isinstance(sampler.guidance, NoisePerturbed)
    assert sampler.churn == 2.0


def test_a_sampler_of_an_own_package(tmp_path, monkeypatch):
    (tmp_path / "my_lab_guidance.py").write_text(
        "from diffsr.samplers import Proximal\nclass Mine(Proximal):\n    'Own.'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "mine.yaml").write_text("class_path: my_lab_guidance.Mine")
    assert type(load_sampler(tmp_path / "mine.yaml").guidance).__name__ == "Mine"


ANNEALED = "class_path: diffsr.samplers.AnnealedSampler\ninit_args: "


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "No such file"),
        ("a: [", "not YAML"),
        ("just words", "expected the keys class_path and init_args"),
        ("model: {init_args: {prior: x}}", "found no sampler"),
        ("class_path: no_such_package.Mine", "there is no module 'no_such_package'"),
        ("class_path: diffsr.samplers.Proximl", "Did you mean 'Proximal'?"),
        ("class_path: diffsr.samplers.RowNoise", "is no sampler; expected an AnnealedSampler, a guidance"),
        (ANNEALED + "{n_stps: 3}", "Did you mean 'n_steps'?"),
        (ANNEALED + "{n_steps: many}", "'many', expected int"),
        (ANNEALED + "{sigma_max: 1e-9}", "expected 0 < sigma_min < sigma_max"),
        (ANNEALED + "{solver: {class_path: diffsr.samplers.Huen}}", "Did you mean 'Heun'?"),
        ("class_path: diffsr.samplers.DPS\ninit_args: {rule: fast}", "fast"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path, capsys, text, expected):
    path = tmp_path / "sampler.yaml"
    if text is not None:
        path.write_text(text)
    assert main(["doctor", "--sampler", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("diffsr: error: ")
    assert expected in error
    assert "sampler.yaml" in error
    assert "Traceback" not in error
    assert len(error.splitlines()) <= 3


def test_a_diverging_sampler_is_named(tmp_path, short, capsys):
    path = tmp_path / "sampler.yaml"
    path.write_text("class_path: diffsr.samplers.NoisePerturbed\ninit_args: {weight: .inf}")
    assert main(["doctor", "--sampler", str(path)]) == 2
    assert "diverged at level 1 of 60" in capsys.readouterr().err


def test_a_folder_is_no_sampler(tmp_path):
    with pytest.raises(ConfigError, match="directory"):
        load_sampler(tmp_path)
