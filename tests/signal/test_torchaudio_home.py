"""torchaudio imports beside any build of torch, and fails with a sentence that helps."""

from __future__ import annotations

import subprocess
import sys

import pytest

from diffsr.errors import DiffsrError
from diffsr.signal import torchaudio_home


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_torchaudio_works_beside_the_installed_torch() -> None:
    code = (
        "import torch; from diffsr.signal.torchaudio_home import import_torchaudio, extension_loaded\n"
        "ta = import_torchaudio()\n"
        "assert import_torchaudio() is ta\n"
        "assert ta.functional.resample(torch.zeros(1, 1600), 16000, 8000).shape == (1, 800)\n"
        "assert ta.transforms.Spectrogram(n_fft=64)(torch.zeros(1, 640)).shape[1] == 33\n"
        "import torchaudio; assert torchaudio is ta\n"
        "print(torch.version.cuda is None, extension_loaded())"
    )
    is_cpu_build, has_extension = run_python(code).split()
    assert not (is_cpu_build == "True" and has_extension == "True" and sys.platform == "linux")


def test_missing_torchaudio_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torchaudio", raising=False)

    def no_such_module(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(torchaudio_home.importlib, "import_module", no_such_module)
    with pytest.raises(DiffsrError, match="constraints.txt"):
        torchaudio_home.import_torchaudio()


def test_failure_that_is_not_the_extension_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torchaudio", raising=False)
    monkeypatch.delitem(sys.modules, "torchaudio._extension.utils", raising=False)

    def broken(name: str) -> None:
        raise OSError("libc is broken")

    monkeypatch.setattr(torchaudio_home.importlib, "import_module", broken)
    with pytest.raises(DiffsrError, match="libc is broken"):
        torchaudio_home.import_torchaudio()
