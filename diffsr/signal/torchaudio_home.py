"""The one place that imports torchaudio.

torchaudio 2.11 is the last release and ships one extension, linked against CUDA. Beside a CPU build of
torch loading it raises OSError, beside a build for another CUDA version RuntimeError, and `import
torchaudio` fails with it. Only a few functions use the extension, so it is switched off then and the
import is made again. That works only for the first import of a process: whatever imports torchaudio on
its own (torchmetrics does) has to come after a call of `import_torchaudio`.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

from diffsr.errors import DiffsrError

_LOADER = "torchaudio._extension.utils"


def import_torchaudio() -> ModuleType:
    """Import torchaudio, without its compiled extension where that does not fit the installed torch.

    Without the extension, resampling, spectrograms, filter banks, loudness, MVDR and SQUIM work;
    `lfilter` is 30 times slower (use scipy) and `forced_align` is missing.

    Returns:
        The module `torchaudio`.

    Raises:
        DiffsrError: torchaudio is not installed, or it cannot be imported without its extension either.
    """
    if "torchaudio" in sys.modules:
        return sys.modules["torchaudio"]
    try:
        return importlib.import_module("torchaudio")
    except (OSError, RuntimeError) as error:
        return _import_without_extension(error)
    except ImportError as error:
        raise _unusable(error) from error


def extension_loaded() -> bool:
    """Tell whether torchaudio runs with its compiled extension (imports torchaudio)."""
    import_torchaudio()
    return bool(getattr(sys.modules["torchaudio._extension"], "_IS_TORCHAUDIO_EXT_AVAILABLE", False))


def _import_without_extension(first_error: Exception) -> ModuleType:
    """Import torchaudio after telling its loader, which survives the failed import, to find nothing."""
    loader = sys.modules.get(_LOADER)
    if loader is None or not hasattr(loader, "_load_lib"):
        raise _unusable(first_error) from first_error

    def find_nothing(lib: str) -> bool:
        return False

    loader._load_lib = find_nothing  # type: ignore[attr-defined]
    try:
        return importlib.import_module("torchaudio")
    except Exception as error:
        raise _unusable(error) from first_error


def _unusable(error: Exception) -> DiffsrError:
    return DiffsrError(
        f"torchaudio cannot be imported ({type(error).__name__}: {error}). "
        "diffsr expects torchaudio 2.11 beside torch 2.11 to 2.14. "
        "Install the versions that ran together: pip install -c constraints.txt torch torchaudio"
    )
