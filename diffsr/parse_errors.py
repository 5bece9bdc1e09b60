"""Turns the reports of the configuration parser into one sentence that names the key."""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PRIOR_EXAMPLE = "experiments/prior/starter.yaml"
_KEY = re.compile(r'Parser key "(?P<key>[^"]+)":?')
_CLASS = re.compile(r"Problem with given class_path '(?P<path>[^']+)':")
_NOISE = re.compile(
    r"(Does not validate against any|Subtypes:|Errors:|Given value|Expected a <class 'NoneType'>\.?$"
    r"|Expected a <class 'NoneType'>\. Got)"
)

_ARGUMENTS = "z: Sources, x0: Sources, sigma: Tensor, "
_PROTOCOLS = {
    "Guidance": f"`def correct(self, {_ARGUMENTS}problem: Problem) -> Sources`",
    "Solver": f"`def step(self, {_ARGUMENTS}sigma_next: Tensor, posterior: PosteriorMean, problem: Problem) "
    "-> Sources`",
}
"""The methods, with the annotations that the parser looks at."""


@dataclass(frozen=True)
class _Leaf:
    """One complaint: where (dotted key), in which class, what."""

    key: str
    owner: str | None
    text: str

    @property
    def depth(self) -> int:
        return self.key.count(".") + bool(self.key)


def explain(report: str, config_files: Sequence[Path] = (), example: str = PRIOR_EXAMPLE) -> str:
    """One sentence for a report of jsonargparse; the report itself where it is not understood.

    `example` is an experiment to give where none is given.
    """
    leaves = _leaves(report)
    if not leaves:
        return _located(report.strip(), None, config_files)
    deepest = max(leaf.depth for leaf in leaves)
    leaf = next(leaf for leaf in leaves if leaf.depth == deepest)
    same_key = [other for other in leaves if other.key == leaf.key]
    return _sentence(leaf, same_key, config_files, example)


def _leaves(report: str) -> list[_Leaf]:
    """Complaints in the indented report, each with the chain of keys and classes above it."""
    stack: list[tuple[int, str, str]] = []  # indent, "key" or "class", name
    leaves: list[_Leaf] = []
    for line in report.splitlines():
        text = line.lstrip(" -").strip()
        if not text or _NOISE.match(text):
            continue
        indent = len(line) - len(line.lstrip(" -"))
        while stack and stack[-1][0] >= indent:
            stack.pop()
        if match := _CLASS.match(text):
            stack.append((indent, "class", match["path"]))
        elif match := _KEY.match(text):
            stack.append((indent, "key", match["key"]))
            text = text[match.end() :].strip()
        if text and not _CLASS.match(text) and not _KEY.match(text):
            key = ".".join(name if kind == "key" else "init_args" for _, kind, name in stack)
            owner = next((name for _, kind, name in reversed(stack) if kind == "class"), None)
            leaves.append(_Leaf(key, owner, text))
    return leaves


def _sentence(leaf: _Leaf, same_key: Sequence[_Leaf], files: Sequence[Path], example: str) -> str:
    text = leaf.text
    if match := re.match(r"Option '(.+)' is not accepted", text):
        name = match[1].partition(".")[0]
        near = suggestion(name, _arguments(leaf.owner))
        return _located(f"{leaf.key}.{name}: {leaf.owner} has no option {name!r}.{near}", name, files)
    if match := re.match(r"Group '(.+)' does not accept option '(.+)'", text):
        group, name = match.groups()
        near = suggestion(name, _arguments("lightning.pytorch.Trainer") if group == "trainer" else [])
        return _located(f"{group}.{name}: {group} has no option {name!r}.{near}", name, files)
    if match := re.match(r"module '(.+)' has no attribute '(.+)'", text):
        near = suggestion(match[2], _names(match[1]))
        key = f"{leaf.key.removesuffix('.init_args')}.class_path"
        return _located(f"{key}: {match[1]} has no class {match[2]!r}.{near}", match[2], files)
    if match := re.match(r"No module named '(.+)'", text):
        key = f"{leaf.key.removesuffix('.init_args')}.class_path"
        return _located(f"{key}: {leaf.owner}: there is no module {match[1]!r}.", leaf.owner, files)
    if match := re.match(r"the following arguments are required: (.+)", text):
        where = f"{leaf.key}: {leaf.owner} needs" if leaf.owner else "the configuration needs"
        hint = "" if leaf.owner else f" Give an experiment: --config {example}."
        return _located(f"{where} {match[1]}, which is not given.{hint}", None, files)
    if match := re.match(r"unrecognized arguments: (.+)", text):
        return (
            f"unknown option {match[1].split('=')[0]}. Options are spelled as the keys of the YAML file, "
            "for example --trainer.max_steps=100 or --model.init_args.learning_rate=1e-4."
        )
    if match := re.search(r"File does not exist: '(.+)'", text):
        return f"--config {_shown(match[1])}: no such file."
    if text.startswith("Expected a"):
        return _located(_type_mismatch(leaf, same_key), leaf.key.rsplit(".", 1)[-1], files)
    where = f"{leaf.key}: " if leaf.key else ""
    if match := re.match(r"Import path (.+) does not implement protocol (\w+)", text):
        needed = _PROTOCOLS.get(match[2], f"the methods of {match[2]}")
        return _located(f"{where}{match[1]} is no {match[2]}: expected {needed}", None, files)
    return _located(f"{where}{_one_line([text, *(o.text for o in same_key if o is not leaf)])}", None, files)


def _type_mismatch(leaf: _Leaf, same_key: Sequence[_Leaf]) -> str:
    kinds = list(dict.fromkeys(k for other in same_key for k in re.findall(r"<class '([^']+)'>", other.text)))
    got = re.search(r"Got value: (.*)", leaf.text)
    found = f"found {got[1].strip()!r}, " if got else ""
    return f"{leaf.key}: {found}expected {' or '.join(kinds) or leaf.text}."


def suggestion(name: str, known: Sequence[str]) -> str:
    """` Did you mean 'width'?` for `wdth`; the known names where none is near; "" where none is known."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f" Did you mean {near[0]!r}?"
    return f" It has: {', '.join(known)}." if 0 < len(known) <= 20 else ""


def _arguments(class_path: str | None) -> list[str]:
    try:
        module, _, name = (class_path or "").rpartition(".")
        parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    except (ImportError, AttributeError, ValueError, TypeError):
        return []
    return [p for p in parameters if p not in ("self", "args", "kwargs")]


def _names(module: str) -> list[str]:
    try:
        found = vars(importlib.import_module(module))
    except ImportError:
        return []
    return [name for name, value in found.items() if inspect.isclass(value) and not name.startswith("_")]


def _located(sentence: str, word: str | None, files: Sequence[Path]) -> str:
    """Add the file and the line where `word` stands as a key or a value."""
    if word:
        name = re.escape(word)
        pattern = re.compile(rf"(?<![\w.]){name}\s*:|[.\s]{name}\s*[,}}]?\s*(#|$)")
        for path in reversed(files):
            try:
                lines = path.read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError):
                continue
            for number, line in enumerate(lines, 1):
                if pattern.search(line):
                    return f"{sentence} ({_shown(path)}, line {number})"
    elif files and not re.search(r"\.ya?ml", sentence):
        return f"{sentence} ({', '.join(_shown(path) for path in files)})"
    return sentence


def _shown(path: str | Path) -> str:
    """The path relative to the working folder where that is shorter."""
    try:
        return str(Path(path).resolve().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def _one_line(texts: Sequence[str]) -> str:
    joined = "; ".join(dict.fromkeys(texts))
    return joined if len(joined) <= 400 else joined[:400] + " ..."
