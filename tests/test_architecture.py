"""Imports go one way through the layers, heavy packages are imported late, and no room is empty."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LAYERS: list[set[str]] = [
    {"errors", "typing", "signal", "io", "parse_errors"},
    {"networks", "degradations", "likelihoods", "noise", "simulation", "evaluation", "baselines"},
    {"diffusion", "speakers"},
    {"samplers"},
    {
        "recipes",
        "experiment_file",
        "recipe_file",
        "restoration",
        "api",
        "files",
        "prepare",
        "report",
        "benchmark",
    },
    {"tasks", "callbacks", "data_modules"},
    {"commands", "cli", "__main__"},
]
LAYER_OF = {room: layer for layer, rooms in enumerate(LAYERS) for room in rooms}
# The layer below which a package is not imported at all.
LOWEST_LAYER = {"lightning": 5, "pytorch_lightning": 5, "lightning_fabric": 5, "wandb": 5}
# Slow to import or needed by a few users only: imported inside functions, everywhere.
NEVER_AT_TOP = {
    *("librosa", "matplotlib", "pesq", "pyloudnorm", "pyroomacoustics", "pystoi", "scipy", "torchaudio"),
    *("torchmetrics", "gammatone", "nara_wpe", "noisereduce", "onnxruntime", "pyrnnoise", "speechmos"),
}
# These answer `diffsr --help`; what they hand on to is imported late.
LIGHT = {"cli", "__main__", "errors"}
TORCHAUDIO_HOME = ROOT / "diffsr" / "signal" / "torchaudio_home.py"


@dataclass(frozen=True)
class Import:
    """`module` is imported at `where`; `at_top` when importing the file runs the import."""

    module: str
    where: str
    at_top: bool


def sources() -> list[Path]:
    return sorted([*(ROOT / "diffsr").rglob("*.py"), *(ROOT / "data_modules").rglob("*.py")])


def room_of_file(path: Path) -> str:
    """The room of a file: diffsr/signal/stft.py is in signal, data_modules/folder.py in data_modules."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return "data_modules" if parts[0] == "data_modules" else parts[1]


def rooms_of_module(module: str) -> str | None:
    """The room that an imported name belongs to; None for third parties and for `diffsr` itself."""
    parts = module.split(".")
    if parts[0] == "data_modules":
        return "data_modules"
    return parts[1] if parts[0] == "diffsr" and len(parts) > 1 else None


def walk(node: ast.AST, at_top: bool = True) -> Iterator[tuple[ast.AST, bool]]:
    """All nodes, and whether importing the file runs them (functions and TYPE_CHECKING blocks wait)."""
    for child in ast.iter_child_nodes(node):
        yield child, at_top
        is_late = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        is_for_types = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        yield from walk(child, at_top and not is_late and not is_for_types)


def imports(path: Path) -> list[Import]:
    found = []
    for node, at_top in walk(ast.parse(path.read_text(encoding="utf-8"))):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import; write the full name"
            base = node.module or ""
            # `from diffsr import signal` imports a room; `from diffsr.signal import stft` is inside one.
            modules = [f"{base}.{name.name}" for name in node.names] if base == "diffsr" else [base]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            modules = [arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant)]
        where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
        found += [Import(module, where, at_top) for module in modules]
    return found


def all_imports() -> list[tuple[Path, Import]]:
    # diffsr/__init__.py stands above the layers: it only names what the others define.
    skipped = ROOT / "diffsr" / "__init__.py"
    return [(path, item) for path in sources() if path != skipped for item in imports(path)]


def test_every_file_has_a_layer() -> None:
    rooms = {room_of_file(path) for path in sources()} - {"__init__", "assets"}
    unknown = {room for room in rooms if not any(room in layer for layer in LAYERS)}
    assert not unknown, f"{sorted(unknown)}: give them a layer in LAYERS and in CONTRIBUTING.md"


def test_imports_go_one_way() -> None:
    wrong = []
    for path, item in all_imports():
        own, other = room_of_file(path), rooms_of_module(item.module)
        if own not in LAYER_OF or other not in LAYER_OF or own == other:
            continue
        up = LAYER_OF[other] > LAYER_OF[own]
        sideways = LAYER_OF[other] == LAYER_OF[own] == 1
        if up or sideways:
            wrong.append(
                f"{item.where}: {own} (layer {LAYER_OF[own]}) imports {item.module} ({LAYER_OF[other]})"
            )
    assert not wrong, "\n".join(wrong)


def test_rooms_of_one_layer_do_not_import_each_other_in_a_circle() -> None:
    pairs = {(room_of_file(path), rooms_of_module(item.module)) for path, item in all_imports()}
    circles = {tuple(sorted(pair)) for pair in pairs if pair[0] != pair[1] and pair[::-1] in pairs}
    assert not circles


def test_heavy_packages_are_imported_late() -> None:
    wrong = []
    for path, item in all_imports():
        package = item.module.split(".")[0]
        room = room_of_file(path)
        too_low = LAYER_OF.get(room, 0) < LOWEST_LAYER.get(package, 0)
        is_heavy = package in NEVER_AT_TOP or (room in LIGHT and package in {*LOWEST_LAYER, "torch"})
        too_early = item.at_top and is_heavy
        if too_low or too_early:
            wrong.append(
                f"{item.where}: {item.module} " + ("below its layer" if too_low else "at module level")
            )
    assert not wrong, "\n".join(wrong)


def test_torchaudio_has_one_home() -> None:
    homes = {path for path, item in all_imports() if item.module.split(".")[0] == "torchaudio"}
    assert homes == {TORCHAUDIO_HOME}


def is_only_docstring(path: Path) -> bool:
    return all(
        isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in ast.parse(path.read_text(encoding="utf-8")).body
    )


@pytest.mark.parametrize(
    "top", ["diffsr", "data_modules", "experiments", "docs", "benchmarks", "scripts", "tests"]
)
def test_no_empty_rooms_and_no_placeholders(top: str) -> None:
    files = [p for p in (ROOT / top).rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    empty = [
        str(p.relative_to(ROOT)) for p in files if p.stat().st_size == 0 or p.name in {".gitkeep", ".keep"}
    ]
    modules = [p for p in files if p.suffix == ".py"]
    empty += [str(p.relative_to(ROOT)) for p in modules if p.name != "__init__.py" and is_only_docstring(p)]
    for package in (p.parent for p in modules if p.name == "__init__.py" and is_only_docstring(p)):
        if not any(p != package / "__init__.py" and package in p.parents for p in files):
            empty.append(f"{package.relative_to(ROOT)}/ (nothing but an __init__.py)")
    assert not empty
