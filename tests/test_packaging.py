"""The files around the code agree with it and with each other."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import diffsr

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Modules whose package has another name.
PACKAGE_OF = {"yaml": "pyyaml"}


def requirements() -> dict[str, Requirement]:
    lines = [
        *PROJECT["dependencies"],
        *(line for extra in PROJECT["optional-dependencies"].values() for line in extra),
    ]
    return {canonicalize_name(item.name): item for item in map(Requirement, lines)}


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pins}


def repository_files() -> list[Path]:
    """The files under version control; all files but the ignored folders where there is no git."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0 and done.stdout:
        return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]
    ignored = {".venv", "runs", "build", "dist", "__pycache__", "wandb"}
    return [p for p in ROOT.rglob("*") if p.is_file() and not ignored & set(p.relative_to(ROOT).parts)]


def test_one_version_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert diffsr.__version__ == PROJECT["version"] == str(citation["version"])


def test_citation_has_what_its_schema_asks_for() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    for entry in [citation, *citation.get("references", [])]:
        assert isinstance(entry["title"], str)
        assert entry["authors"]
        for author in entry["authors"]:
            assert "name" in author or {"family-names", "given-names"} <= author.keys()
    assert citation["cff-version"] == "1.2.0"
    assert isinstance(citation["message"], str)
    assert citation["type"] in {"software", "dataset"}
    assert citation["license"] == PROJECT["license"] == "MIT"
    assert len(citation["keywords"]) == len(set(citation["keywords"]))
    assert all(reference["type"] for reference in citation["references"])
    known = {
        "cff-version",
        "message",
        "type",
        "title",
        "abstract",
        "version",
        "license",
        "authors",
        "keywords",
    }
    known |= {
        "references",
        "date-released",
        "doi",
        "url",
        "repository-code",
        "preferred-citation",
        "identifiers",
    }
    assert citation.keys() <= known


def test_constraints_pin_every_direct_dependency_within_its_range() -> None:
    wanted, pinned = requirements(), constraints()
    assert wanted.keys() - pinned.keys() == set(), "direct dependencies without a pin"
    assert pinned.keys() - wanted.keys() == set(), "pins of packages that pyproject.toml does not name"
    outside = [name for name, item in wanted.items() if not item.specifier.contains(Version(pinned[name]))]
    assert not outside


def test_every_import_is_a_declared_dependency() -> None:
    declared = requirements().keys()
    undeclared = set()
    for path in [*(ROOT / "diffsr").rglob("*.py"), *(ROOT / "data_modules").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [n.name for n in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for module in {name.split(".")[0] for name in names} - {"diffsr", "data_modules"}:
                package = canonicalize_name(PACKAGE_OF.get(module, module))
                if module not in sys.stdlib_module_names and package not in declared:
                    undeclared.add(f"{module} in {path.relative_to(ROOT)}")
    assert not undeclared


def test_no_package_index_is_named() -> None:
    address = r"(https?|file)://"
    # A setting of an index followed by an address, or an address that ends as those of indices do.
    setting = re.compile(rf"(index|find)[-_](url|links?)\W{{0,6}}{address}", re.IGNORECASE)
    index = re.compile(rf"{address}\S+/(simple|whl)\b", re.IGNORECASE)
    named = []
    for path in repository_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        named += [
            f"{path.relative_to(ROOT)}: {m.group()}" for p in (setting, index) for m in p.finditer(text)
        ]
    assert not named


def make(*arguments: str) -> str:
    done = subprocess.run(["make", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_make_help_explains_every_target_and_variable() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {
        name for line in re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE) for name in line.split()
    }
    targets = {name for name in targets if not name.startswith("$")}
    shown = make("help")
    assert {"setup", "train", "test", "test-all", "lint", "types", "format", "restore", "help"} <= targets
    assert not {name for name in targets if not re.search(rf"^  {name} +\S", shown, re.MULTILINE)}
    variables = re.findall(r"^([A-Z]+) \??=", makefile, re.MULTILINE)
    assert "DATA" in variables
    assert not {name for name in variables if not re.search(rf"\b{name}\b", shown.partition("Variables")[2])}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train"], "diffsr fit --config 'experiments/prior/starter.yaml'"),
        (["train", "DATA=some where/x.csv"], "--data.init_args.data='some where/x.csv'"),
        (["train", "EXP=prior/x", "LOGGER=wandb"], "--config 'experiments/trainer/wandb.yaml'"),
        (
            ["train", "DEVICES=2", "ARGS=--trainer.max_steps=50"],
            "--trainer.devices='2' --trainer.max_steps=50",
        ),
        (["restore", "IN=a", "OUT=b", "PRIOR=p"], "diffsr restore 'a' 'b' --prior 'p'"),
        (
            ["benchmark", "TRACK=t", "SYSTEM=s", "DATA=d", "ARGS=--device cpu", "SCORE_ARGS=--metrics stoi"],
            "benchmark run --track 't' --data 'd' --system 's' --device cpu "
            ".venv/bin/diffsr benchmark score --track 't' --data 'd' --system 's' --metrics stoi",
        ),
        (
            ["predict", "IN=a", "OUT=b", "PRIOR=p"],
            "--config 'experiments/enhance/default.yaml' --data.init_args.input='a'",
        ),
        (["restore", "OUT=b"], "needs IN=..."),
    ],
)
def test_make_hands_its_variables_on(arguments: list[str], expected: str) -> None:
    shown = " ".join(make("--dry-run", *arguments).replace("\\\n", " ").split())
    assert expected in shown


def test_python_of_the_install_workflow_runs(tmp_path: Path) -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/install.yml").read_text(encoding="utf-8"))
    commands = [step.get("run", "") for step in workflow["jobs"]["wheel"]["steps"]]
    [script] = re.findall(r"<<'END'\n(.*?)^END$", "\n".join(commands), re.DOTALL | re.MULTILINE)
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert (tmp_path / "prior" / "config.yaml").is_file()


@pytest.mark.slow
def test_wheel_holds_the_code_and_the_assets(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for path in repository_files():
        target = source / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(tmp_path),
        str(source),
    ]
    subprocess.run(command, check=True, capture_output=True)
    names = set(zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist())
    packaged = [p.relative_to(ROOT) for p in repository_files()]
    expected = {str(p) for p in packaged if p.parts[0] in {"diffsr", "data_modules"}}
    assert not expected - names
    assert not {name for name in names if name.split("/")[0] in {"tests", "experiments", "scripts"}}
