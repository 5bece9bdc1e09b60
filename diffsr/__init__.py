"""Unsupervised speech restoration: one diffusion prior of clean speech, posterior sampling for the rest.

    from diffsr import restore
    restored = restore("noisy.wav")

The names are imported when they are used, so that `import diffsr` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffsr.api import Restorer, load_prior, restore

    __version__: str

__all__ = ["Restorer", "__version__", "load_prior", "restore"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module's attributes are of any type
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("diffsr")
        except PackageNotFoundError:  # run from a copy that is not installed
            return "0+unknown"
    if name in __all__:
        from diffsr import api

        return getattr(api, name)
    raise AttributeError(f"module 'diffsr' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
