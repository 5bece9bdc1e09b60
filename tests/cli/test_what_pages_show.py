"""What README and docs show is what happens: their Python runs, and the commands of the README do."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
import soundfile
import torch

ROOT = Path(__file__).parents[2]


@pytest.fixture
def desk(shell, make_speech, monkeypatch) -> Path:
    """A folder with what the commands name, where presets have few calls."""
    monkeypatch.setattr("diffsr.recipes.by_name.PRESETS", {"fast": 2, "default": 3, "quality": 4})
    folder: Path = shell.folder
    monkeypatch.chdir(folder)
    for name in ("noisy", "clean"):
        (folder / name).mkdir()
        for seed in range(2):
            speech = 0.1 * make_speech(0.6, 1, 16000, seed)[0]
            soundfile.write(folder / name / f"{seed}.wav", speech, 16000)
    soundfile.write(folder / "noisy.wav", 0.1 * make_speech(0.6, 1, 16000)[0], 16000)
    shutil.copytree(ROOT / "experiments" / "enhance", folder / "experiments" / "enhance", dirs_exist_ok=True)
    return folder


def blocks(document: str, language: str = "") -> list[str]:
    """The code of a page, block by block."""
    text = (ROOT / document).read_text(encoding="utf-8")
    found = re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [code for named, code in found if named == language]


VERBS = ("restore", "evaluate", "report scene", "report listen", "predict")
"""Of the README that need no corpus and no training."""
PYTHON = [
    (document, place)
    for document in ("README.md", "docs/outputs.md", "docs/scores.md")
    for place in range(len(blocks(document, "python")))
]


@pytest.mark.parametrize(("document", "place"), PYTHON)
def test_python_of_the_pages_runs(desk, make_speech, document, place):
    code = blocks(document, "python")[place].replace('device="cuda"', 'device="cpu"')
    speech = torch.from_numpy(0.1 * make_speech(0.6, 2, 48000))
    ref = torch.randn(2, 32000, generator=torch.Generator().manual_seed(0))
    known = {"wave": speech, "ref": ref, "est": ref.flip(0), "rate_hz": 16000}
    exec(compile(code, document, "exec"), known)  # noqa: S102 - our own page
    if "done" in known:
        assert known["done"].wave.shape[-1] > 0


def test_the_restoring_commands_of_the_readme_run_one_after_the_other(shell, desk):
    lines = [line for block in blocks("README.md") for line in block.splitlines()]
    calls = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines if "diffsr" in line]
    done = []
    for call in calls:
        verb = " ".join(call[1:3]) if call[1:2] == ["report"] else " ".join(call[1:2])
        if call[:1] != ["diffsr"] or verb not in VERBS:
            continue
        if verb == "predict":  # into a folder of its own, or it would skip what is there
            call = [word.replace("=restored/", "=predicted/") for word in call]
        assert shell(*call[1:]) == 0, f"{' '.join(call)}: {shell.err}"
        done.append(verb)
    assert sorted(set(done)) == sorted(VERBS)
    assert {path.name for path in (desk / "restored").glob("*.wav")} == {"0.wav", "1.wav"}
    assert {path.name for path in (desk / "predicted").glob("*.wav")} == {"0.wav", "1.wav"}
