"""What the documents point at exists: links, anchors, make targets, verbs and their options, experiments."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
WITH_SUB_VERBS = {"prepare", "benchmark", "report"}
LIGHTNING_VERBS = {"fit", "validate", "test", "predict"}


def text_of(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def anchors(document: Path) -> set[str]:
    """Names of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", text_of(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def commands(document: Path, program: str) -> list[list[str]]:
    """Calls of a program in code blocks and code spans, continued lines joined."""
    code = "\n".join(re.findall(r"```\w*\n(.*?)```", text_of(document), re.DOTALL))
    code += "\n" + "\n".join(
        re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text_of(document), flags=re.DOTALL))
    )
    lines = code.replace("\\\n", " ").splitlines()
    calls = [re.sub(r"^\$ ", "", line.strip()).split("#")[0].split() for line in lines]
    return [call for call in calls if len(call) > 1 and call[0] == program]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(document)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (document.parent / path) if path else document
        assert linked.exists(), f"{document.name} links to {target}"
        assert not anchor or anchor in anchors(linked), f"{document.name} links to {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_make_targets_exist(document):
    targets = set(re.findall(r"^([a-z-]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    for call in commands(document, "make"):
        words = [word for word in call[1:] if re.fullmatch(r"[a-z-]+", word)]
        assert not words or words[0] in targets, " ".join(call)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_experiments_and_scripts_exist(document):
    for path in re.findall(
        r"\b((?:experiments|benchmarks|scripts)/[\w/.-]+\.(?:yaml|py|sh))", text_of(document)
    ):
        assert (ROOT / path).exists() or "NAME" in path, f"{document.name} names {path}"


def test_the_commands_of_the_readme_have_the_options_that_it_shows():
    helps: dict[str, str] = {}
    for call in commands(ROOT / "README.md", "diffsr"):
        verb = call[1].split("|")[0]
        if verb.startswith("-") or verb in LIGHTNING_VERBS:
            continue
        # of `prepare rooms OUT --count 3` the help of `prepare rooms`
        words = call[1:3] if verb in WITH_SUB_VERBS else [verb]
        verb = " ".join(words)
        if verb not in helps:
            command = [sys.executable, "-m", "diffsr", *words, "--help"]
            run = subprocess.run(command, capture_output=True, text=True, check=False)
            assert run.returncode == 0, f"diffsr {verb}: {run.stderr}"
            helps[verb] = run.stdout
        for option in re.findall(r"(--[\w-]+)", " ".join(call)):
            assert option in helps[verb], f"diffsr {verb} has no {option}"
    assert helps
