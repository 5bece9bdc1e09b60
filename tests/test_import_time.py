"""`import diffsr` and `diffsr --help` load none of the heavy packages.

What is loaded is the same on every machine; seconds are not, so they are not tested.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    "gradio",
    "librosa",
    "lightning",
    "matplotlib",
    "onnxruntime",
    "pesq",
    "pyroomacoustics",
    "pystoi",
    "scipy",
    "torch",
    "torchaudio",
    "torchmetrics",
    "wandb",
}


def loaded_by(code: str) -> set[str]:
    report = "import sys; print('LOADED', *sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("LOADED")[2].split())


def test_import_is_light() -> None:
    loaded = loaded_by("import diffsr; diffsr.__version__; dir(diffsr)")
    assert "diffsr" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_is_light(option: str) -> None:
    code = (
        "import sys; from diffsr.cli import main\n"
        f"sys.argv = ['diffsr', '{option}']\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as stop:\n"
        "    assert not stop.code, stop.code\n"
    )
    loaded = loaded_by(code)
    assert "diffsr" in loaded
    assert not loaded & HEAVY


def test_a_room_that_is_not_fitted_by_an_optimizer_loads_no_compiler() -> None:
    # The first optimizer of a process loads it, which takes longer than a second of restored speech.
    code = (
        "import sys, torch\n"
        "from diffsr.degradations import LatePrediction\n"
        "LatePrediction().reset(torch.zeros(1, 1, 8000), 1)\n"
        "assert 'torch._dynamo' not in sys.modules"
    )
    assert "torch" in loaded_by(code)
