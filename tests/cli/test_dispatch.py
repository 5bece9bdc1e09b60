"""Verbs, help and errors before anything is loaded."""

from __future__ import annotations

import importlib

import pytest

import diffsr
from diffsr.cli import LIGHTNING, PLAIN, main
from diffsr.errors import DataError


@pytest.mark.parametrize("arguments", [[], ["--help"], ["help"], ["-h"]])
def test_help_lists_every_verb(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {verb} " in shown for verb in [*LIGHTNING, *PLAIN])


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"diffsr {diffsr.__version__}\n"


@pytest.mark.parametrize(
    ("verb", "expected"),
    [("restore", "64"), ("predict", "64"), ("benchmark", "64"), ("fit", None), ("validate", None)],
)
def test_what_restores_keeps_few_compiled_products_unless_the_user_says_how_many(
    verb: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {"LRU_CACHE_CAPACITY": "512"}
    monkeypatch.setattr("diffsr.cli.os.environ", environment)
    monkeypatch.setattr("diffsr.cli._dispatch", lambda _: 0)
    assert main([verb]) == 0
    assert environment["LRU_CACHE_CAPACITY"] == "512"
    assert environment.get("ONEDNN_PRIMITIVE_CACHE_CAPACITY") == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"GOMP_SPINCOUNT": "10000"}),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"}),
        ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active"}),
    ],
)
def test_threads_wait_awake_as_long_as_the_user_says_else_a_little(
    given: dict[str, str], expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = dict(given)
    monkeypatch.setattr("diffsr.cli.os.environ", environment)
    monkeypatch.setattr("diffsr.cli._dispatch", lambda _: 0)
    assert main(["fit"]) == 0
    assert environment == expected


def test_near_miss_is_suggested(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["restor", "a", "b"]) == 2
    assert "unknown verb 'restor'. Did you mean `restore`?" in capsys.readouterr().err


@pytest.mark.parametrize("verb", PLAIN)
def test_help_of_plain_verbs(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    assert f"usage: diffsr {verb}" in capsys.readouterr().out


@pytest.mark.parametrize("verb", [verb for verb in PLAIN if verb != "doctor"])
def test_missing_arguments_are_one_message(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb]) == 2
    error = capsys.readouterr().err
    assert error.startswith("diffsr: error: the following arguments are required")
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("raised", "code", "shown"),
    [
        (DataError("no audio"), 2, "diffsr: error: no audio\n"),
        (KeyboardInterrupt(), 130, "\ndiffsr: stopped. What was written is kept.\n"),
        (BrokenPipeError(), 141, ""),
    ],
)
def test_exit_codes(
    raised: BaseException,
    code: int,
    shown: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail(options: object) -> int:
        raise raised

    monkeypatch.setattr(importlib.import_module("diffsr.commands.doctor"), "run", fail)
    monkeypatch.setattr("diffsr.cli.os.dup2", lambda *_: None)
    assert main(["doctor"]) == code
    assert shown in capfd.readouterr().err


AGAIN = "kept; the same command again continues."
WITHOUT = "kept; the same command without {} continues, with it starts over."


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("restore overwrite out", AGAIN),
        ("restore in out --overwrite", WITHOUT.format("--overwrite")),
        ("restore in out --over", WITHOUT.format("--over")),
        ("sample prior out", AGAIN),
        ("sample prior out --overwrite", WITHOUT.format("--overwrite")),
        ("predict --config a.yaml", AGAIN),
        ("predict --config a.yaml --model.overwrite=true", WITHOUT.format("--model.overwrite")),
        ("fit --config a.yaml", AGAIN),
        ("benchmark run --track joint", AGAIN),
        ("prepare vctk folder", AGAIN),
        ("prepare calibration prior", "kept."),
        ("prepare checkpoint file out --overwrite", "kept."),
        ("prepare", AGAIN),
        ("validate --prior prior --output=scores.md", AGAIN),
        ("validate --prior prior", "kept."),
        ("test --config a.yaml", "kept."),
        ("evaluate a b --output scores.csv", "kept."),
        ("report scene", "kept."),
        ("export a b --overwrite", "kept."),
        ("", "kept."),
    ],
)
def test_what_was_stopped_is_told_how_to_go_on(
    command: str, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(arguments: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("diffsr.cli._dispatch", stop)
    monkeypatch.setattr("diffsr.cli.os.environ", {})
    assert main(command.split()) == 130
    assert capsys.readouterr().err == f"\ndiffsr: stopped. What was written is {shown}\n"


def test_unknown_public_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'restoer'"):
        diffsr.restoer  # noqa: B018
    assert {"restore", "Restorer", "load_prior"} <= set(dir(diffsr))
